"""A caption as a chat completion, complete or in chunks."""

import asyncio
import json
import time
from typing import Any

from bridge.api.openai.chat_request import ChatCaption
from bridge.api.openai.problem import error_body
from bridge.api.sse import PING_SECONDS, Pinged, Write
from bridge.captioning import problems
from bridge.captioning.caption import caption_planned
from bridge.captioning.models import Caption, JsonObject, UsageOut
from bridge.captioning.plan import deadline
from bridge.captioning.services import Services
from bridge.errors import Cancelled
from bridge.telemetry import current

_DONE = b"data: [DONE]\n\n"


def completion(caption: Caption, chat: ChatCaption) -> JsonObject:
    """Return the caption as a complete completion object."""
    message = {"role": "assistant", "content": _content(caption, chat), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head("chat.completion", chat, caption.request_id), "choices": [choice], **_usage(caption.usage)}


def _content(caption: Caption, chat: ChatCaption) -> str:
    """Return the rendered text where the request asks for text, otherwise the JSON."""
    return caption.rendered if chat.as_text else json.dumps(caption.result, ensure_ascii=False, separators=(",", ":"))


class ChunkStream(Pinged):
    """Sends a completion in chunks: the role first, the content when it is valid.

    Partial content is not sent: a re-ask would leave two answers in one message.
    """

    def __init__(self, chat: ChatCaption, services: Services, request_id: str, ping: float = PING_SECONDS) -> None:
        super().__init__(deadline(chat.plan.options, services), ping)
        self._chat = chat
        self._resources = services
        self._request_id = request_id
        self._heading = _head("chat.completion.chunk", chat, request_id)
        self._reason: Exception = Cancelled()

    def stop(self, telling: asyncio.Future[None], reason: Exception) -> None:
        """Cancel the work, and send `reason` in place of the content."""
        self._reason = reason
        telling.cancel()

    async def tell(self, write: Write) -> None:
        """Send the chunks and `[DONE]`, or an error object."""
        await write(self._chunk({"role": "assistant", "content": ""}))
        try:
            caption = await caption_planned(self._chat.plan, None, self._resources, self._request_id)
        except asyncio.CancelledError:
            await write(self._error(self._reason))
            raise
        except Exception as error:  # noqa: BLE001 (the outermost handler of a stream: its headers have been sent)
            await write(self._error(error))
            return
        await write(self._chunk({"content": _content(caption, self._chat)}))
        await write(self._chunk({}, "stop"))
        if self._chat.include_usage and (usage := _usage(caption.usage)):
            await write(_event({**self._heading, "choices": [], **usage}))
        await write(_DONE)

    def _error(self, error: Exception) -> bytes:
        problem = problems.report(error, self._request_id)
        if account := current():
            account.code = problem.code
        return _event(error_body(problem))

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._chat.include_usage else {}
        return _event({**self._heading, "choices": [choice], **usage})


def _head(kind: str, chat: ChatCaption, request_id: str) -> JsonObject:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": chat.model}


def _usage(usage: UsageOut | None) -> JsonObject:
    """Return `usage` where both counts are known: clients require numbers, and 0 would be wrong."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return {}
    counts: JsonObject = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return {"usage": counts}


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

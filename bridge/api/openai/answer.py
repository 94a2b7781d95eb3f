"""A caption as a chat completion, whole or in chunks."""

import asyncio
import json
import time
from typing import Any

from bridge.api.openai import failure
from bridge.api.openai.chat import Asked
from bridge.api.sse import PING_SECONDS, Pinged, Write
from bridge.captioning import problems
from bridge.captioning.caption import caption_planned
from bridge.captioning.models import Caption, JsonObject, UsageOut
from bridge.captioning.plan import deadline
from bridge.captioning.services import Services
from bridge.errors import Cancelled
from bridge.telemetry import current

_DONE = b"data: [DONE]\n\n"


def completion(made: Caption, asked: Asked) -> JsonObject:
    """The caption as a whole completion."""
    message = {"role": "assistant", "content": content(made, asked), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head("chat.completion", asked, made.request_id), "choices": [choice], **_told(made.usage)}


def content(made: Caption, asked: Asked) -> str:
    """The caption's text where it was asked for, else its JSON."""
    return made.rendered if asked.as_text else json.dumps(made.result, ensure_ascii=False, separators=(",", ":"))


class ChunkStream(Pinged):
    """Tells a completion in chunks: the role at once, the content when it is known to fit.

    A model that is asked again must not leave two answers in one message, so none is shown before it is valid.
    """

    def __init__(self, asked: Asked, services: Services, request_id: str, ping: float = PING_SECONDS) -> None:
        super().__init__(deadline(asked.plan.options, services), ping)
        self._asked = asked
        self._resources = services
        self._request_id = request_id
        self._heading = _head("chat.completion.chunk", asked, request_id)
        self._reason: Exception = Cancelled()

    def stop(self, telling: asyncio.Future[None], reason: Exception) -> None:
        """Tell it in place of the content."""
        self._reason = reason
        telling.cancel()

    async def tell(self, write: Write) -> None:
        """Send the chunks, or an error object in place of what is missing; only a whole answer is [DONE]."""
        await write(self._chunk({"role": "assistant", "content": ""}))
        try:
            made = await caption_planned(self._asked.plan, None, self._resources, self._request_id)
        except asyncio.CancelledError:
            await write(self._failed(self._reason))
            raise
        except Exception as error:  # noqa: BLE001 (the outermost handler of a stream: its head has been sent)
            await write(self._failed(error))
            return
        await write(self._chunk({"content": content(made, self._asked)}))
        await write(self._chunk({}, "stop"))
        if self._asked.include_usage and (told := _told(made.usage)):
            await write(_data({**self._heading, "choices": [], **told}))
        await write(_DONE)

    def _failed(self, error: Exception) -> bytes:
        problem = problems.report(error, self._request_id)
        if account := current():
            account.code = problem.code
        return _data(failure.body(problem))

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        later = {"usage": None} if self._asked.include_usage else {}
        return _data({**self._heading, "choices": [choice], **later})


def _head(kind: str, asked: Asked, request_id: str) -> JsonObject:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": asked.model}


def _told(usage: UsageOut | None) -> JsonObject:
    """`usage` where both counts are known: clients want numbers, and zero would be one."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return {}
    told: JsonObject = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens is not None:
        told["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    return {"usage": told}


def _data(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

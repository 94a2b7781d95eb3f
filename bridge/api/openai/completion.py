"""Send a caption as a chat completion, in one piece or in chunks."""

import json
import time
from typing import Any

from bridge.api.openai.chat_request import ChatRequest
from bridge.api.openai.problem import error_body
from bridge.api.sse import EventStreamResponse
from bridge.captioning.models import Caption, ErrorEvent, Event, Result, Started, UsageOut
from bridge.captioning.stream import EventStream
from bridge.run import Run
from providers.base import JsonObject

_DONE = b"data: [DONE]\n\n"


def completion(caption: Caption, chat: ChatRequest) -> JsonObject:
    message = {"role": "assistant", "content": _content(caption, chat), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head("chat.completion", chat, caption.request_id), "choices": [choice], **_usage(caption.usage)}


def _content(caption: Caption, chat: ChatRequest) -> str:
    """Return the JSON, or the rendered text if the request asks for text."""
    return caption.rendered if chat.as_text else json.dumps(caption.result, ensure_ascii=False, separators=(",", ":"))


class ChunkStreamResponse(EventStreamResponse):
    """Sends the role, then the valid content in one chunk: with partial content, a re-ask would give two answers."""

    def __init__(self, chat: ChatRequest, events: EventStream, run: Run) -> None:
        super().__init__(events, run)
        self._chat = chat
        self._heading = _head("chat.completion.chunk", chat, run.request_id)

    def encode(self, event: Event) -> bytes:
        """Return the chunks of an event. An error is an error object. `[DONE]` follows only a complete answer."""
        if isinstance(event, Started):
            return self._chunk({"role": "assistant", "content": ""})
        if isinstance(event, ErrorEvent):
            return _event(error_body(event.problem))
        if isinstance(event, Result):
            usage = _usage(event.caption.usage) if self._chat.stream_options.include_usage else {}
            last = _event({**self._heading, "choices": [], **usage}) if usage else b""
            content = self._chunk({"content": _content(event.caption, self._chat)})
            return content + self._chunk({}, "stop") + last + _DONE
        return b""

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._chat.stream_options.include_usage else {}
        return _event({**self._heading, "choices": [choice], **usage})


def _head(kind: str, chat: ChatRequest, request_id: str) -> JsonObject:
    return {"id": f"chatcmpl-{request_id}", "object": kind, "created": int(time.time()), "model": chat.model}


def _usage(usage: UsageOut | None) -> JsonObject:
    """Return `usage`, or an empty object if a count is unknown. (Clients require numbers.)"""
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

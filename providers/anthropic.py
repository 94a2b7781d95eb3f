"""Client of Anthropic's Messages API through the `anthropic` package, for Anthropic and other servers of that API."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from providers import dialects
from providers.base import PLACEHOLDER_BASE64, JsonObject, Model, Setting, Spec, VisionRequest, usage_of
from providers.call import foreign_reply
from providers.errors import ProviderError, Refused
from providers.http_errors import classify, error_in_200
from providers.stainless import StainlessClient
from providers.text import Answer, AnswerText, mapping, model_of, whole_characters

if TYPE_CHECKING:
    import anthropic
    import httpx2

_EFFORTS = ("low", "medium", "high", "xhigh", "max")
SPEC = Spec(
    kind="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com/v1",
    key_env=("ANTHROPIC_API_KEY",),
    url_env=("ANTHROPIC_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens"}),
    options={
        "effort": Setting("how much the model writes and thinks: low, medium, high, xhigh or max", _EFFORTS),
        "thinking": Setting(
            "whether the model thinks first: adaptive or disabled (default: by model)", ("adaptive", "disabled")
        ),
        "extra_body": Setting("further fields of the request's body", (Mapping,)),
    },
    note="API version 2026-10-21, which has no temperature, top_p and seed.",
)

_API_VERSION = "2026-10-21"
_MAX_MODELS = 1000
_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Map the type of an error inside a stream to its HTTP status."""


class AnthropicClient(StainlessClient):
    """Client of one server that implements the Messages API."""

    specs = (SPEC,)
    sdk = "anthropic"
    path = "/messages"

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        listed = mapping(await self._list(request, {"limit": _MAX_MODELS})).get("data")
        if not isinstance(listed, list):
            raise foreign_reply(SPEC.title)
        rows = [row for row in map(mapping, listed) if isinstance(row.get("id"), str)]
        return tuple(model_of(row["id"], _text(row.get("display_name"))) for row in rows)

    def body(self, request: VisionRequest) -> JsonObject:
        options, limit = self._options, request.options.max_tokens
        output: JsonObject = {"effort": options["effort"].lower()} if options.get("effort") else {}
        if (schema := dialects.enforced(request, dialects.anthropic)) is not None:
            output["format"] = {"type": "json_schema", "schema": schema}
        return {
            "model": request.model,
            "max_tokens": self.profile(request.model).max_tokens if limit is None else limit,
            **({"system": request.system} if request.system.strip() else {}),
            "messages": _messages(request),
            **({"output_config": output} if output else {}),
            **(_tool(request) if _asks_for_tool(request) else {}),
            **({"thinking": {"type": options["thinking"].lower()}} if options.get("thinking") else {}),
            **(options.get("extra_body") or {}),
        }

    def _answer(self, request: VisionRequest, *, streamed: bool) -> Answer:
        return MessageAnswer(SPEC, request, streamed=streamed)

    def _error_in(self, response: object, request: VisionRequest) -> ProviderError | None:
        error = mapping(response).get("error")
        if not error:
            return None
        status = _STATUSES.get(_text(mapping(error).get("type")))
        if status is None:
            return error_in_200(error, SPEC, request)
        return classify(status, {"error": error}, {}, SPEC, request)

    def _headers(self) -> Mapping[str, str | None]:
        return {"anthropic-version": _API_VERSION}

    def _open(self, client: "httpx2.AsyncClient") -> "anthropic.AsyncAnthropic":
        import anthropic

        return anthropic.AsyncAnthropic(
            api_key="",
            webhook_key="",
            base_url=self._base_url,
            max_retries=0,
            http_client=client,
            open_telemetry=False,
        )


def _messages(request: VisionRequest) -> list[JsonObject]:
    """Build the messages. The image precedes the perspective's text, so that perspectives share a cached prefix."""
    prompt = dialects.prompt(request, shown=request.sends_schema)
    content: str | list[JsonObject] = prompt
    if request.image is not None:
        source = {"type": "base64", "media_type": request.image.media_type, "data": PLACEHOLDER_BASE64}
        # The format and the tools precede the image in the cached prefix, so perspectives share a cache entry only if
        # the request contains neither: "Changing the output_config.format parameter will invalidate any prompt cache"
        # (platform.claude.com/docs/en/build-with-claude/structured-outputs). Writing to the cache costs 25 % more.
        cached = request.image_is_shared and not request.sends_schema
        image = {"type": "image", "source": source, **({"cache_control": {"type": "ephemeral"}} if cached else {})}
        content = [image, {"type": "text", "text": prompt}]
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return [{"role": "user", "content": content}, *turns]


def _asks_for_tool(request: VisionRequest) -> bool:
    return request.schema is not None and request.output_mode == "json_object"


def _tool(request: VisionRequest) -> JsonObject:
    """Build the fields that make the model call a tool whose input is the answer.

    Used for the output mode `json_object`, because the API has no JSON mode without a schema.
    """
    tool = {"name": request.valid_schema_name, "description": "Takes the answer.", "input_schema": request.schema}
    choice = {"type": "tool", "name": request.valid_schema_name, "disable_parallel_tool_use": True}
    return {"tools": [tool], "tool_choice": choice}


class MessageAnswer(Answer):
    def __init__(self, spec: Spec, request: VisionRequest, *, streamed: bool) -> None:
        super().__init__(spec, request, streamed=streamed)
        self._prose = AnswerText(spec.title, streamed=False)
        self._counts: dict[str, int] = {}

    def __str__(self) -> str:
        return str(self._text) or str(self._prose)

    def read(self, response: Any) -> str:
        event = mapping(response)
        if not self.streamed:
            return self._read_message(event)
        match event.get("type"):
            case "message_start":
                self._read_header(mapping(event.get("message")))
            case "content_block_start":
                return self._read_block(mapping(event.get("content_block")), "")
            case "content_block_delta":
                return self._read_block(mapping(event.get("delta")), "partial_json")
            case "message_delta":
                self._read_usage(event.get("usage"))
                self.finish = _text(mapping(event.get("delta")).get("stop_reason")) or self.finish
        return ""

    def _read_message(self, message: Mapping[str, Any]) -> str:
        content = message.get("content")
        if not isinstance(content, list):
            raise foreign_reply(SPEC.title)
        self._read_header(message)
        for block in content:
            self._read_block(mapping(block), "input")
        # HTTP has checked the length of the body, so a complete response may omit the stop reason.
        self.finish = _text(message.get("stop_reason")) or "end_turn"
        return str(self)

    def _read_header(self, message: Mapping[str, Any]) -> None:
        self._model = whole_characters(_text(message.get("model")))
        self._read_usage(message.get("usage"))

    def _read_block(self, block: Mapping[str, Any], tool_input: str) -> str:
        """Read a content block or a delta of a block, and return the part of the answer that it contains.

        Thinking is ignored. If the request contains the answer tool (see `_tool`), the answer is the tool's input;
        text blocks are used only if the model does not call the tool. `tool_input`: the key of the tool's input.
        """
        if self.finish:
            return ""
        kind = _text(block.get("type"))
        self._tool_called = self._tool_called or kind == "tool_use"
        if kind in ("text", "text_delta"):
            answer = self._prose if _asks_for_tool(self._request) else self._text
            piece = answer.add(_text(block.get("text")))
            return piece if answer is self._text else ""
        if kind in ("tool_use", "input_json_delta") and _asks_for_tool(self._request):
            value = block.get(tool_input)
            return self._text.add(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else _text(value))
        return ""

    def _read_usage(self, counts: object) -> None:
        """Update the usage from cumulative counts. `input_tokens` excludes cached tokens, so they are added."""
        reported = {name: count for name, count in mapping(counts).items() if type(count) is int and count >= 0}
        self._counts |= reported
        cached = self._counts.get("cache_read_input_tokens")
        read = self._counts.get("input_tokens")
        if read is not None:
            read += (cached or 0) + self._counts.get("cache_creation_input_tokens", 0)
        self._text.usage = usage_of(read, self._counts.get("output_tokens"), cached)

    def _failure(self) -> ProviderError | None:
        match self.finish:
            case "refusal":
                return self._error(Refused, "The model declined to describe the image.")
            case "max_tokens":
                return self._truncated("Raise max_tokens; thinking counts too.")
            case "model_context_window_exceeded":
                return self._truncated("Shorten the prompt or send a smaller image.")
            case "" | "pause_turn":
                return self._unfinished()
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

"""Client of Anthropic's Messages API, for Anthropic and for other servers that implement the API.

The `anthropic` package builds the URL, applies the timeout and raises for error statuses. This module builds the
headers, because the SDK would add headers from the environment (such as ANTHROPIC_CUSTOM_HEADERS), and the body,
because the SDK would copy the body.
"""

import json
import logging
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from providers import addresses, dialects
from providers.base import BaseClient, Completion, Delta, JsonObject, Model, ProviderConfig, Spec, VisionRequest
from providers.call import Call, api_key, foreign_reply, transport_error
from providers.chat_completions import serialise
from providers.errors import BadReply, InvalidOption, ProviderError, Refused
from providers.hints import RateHints, rate_hints
from providers.http_errors import classify, error_in_200
from providers.image_body import PLACEHOLDER_BASE64
from providers.pool import Pool
from providers.profiles import Profile
from providers.text import AnswerText, truncation, whole_characters
from providers.usage import usage_of

if TYPE_CHECKING:
    import anthropic
    import httpx2

SPEC = Spec(
    kind="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com/v1",
    key_env=("ANTHROPIC_API_KEY",),
    url_env=("ANTHROPIC_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens"}),
    options={
        "effort": "how much the model writes and thinks: low, medium, high, xhigh or max",
        "thinking": "whether the model thinks first: adaptive or disabled (default: by model)",
        "extra_body": "further fields of the request's body",
    },
    values={
        "effort": frozenset({"low", "medium", "high", "xhigh", "max"}),
        "thinking": frozenset({"adaptive", "disabled"}),
        "extra_body": (Mapping,),
    },
    note="API version 2026-10-21, which has no temperature, top_p and seed.",
)

_API_VERSION = "2026-10-21"
_UNWANTED = {"authorization", "x-stainless-timeout", "x-stainless-retry-count", "x-stainless-read-timeout"}
_PAGE, _MAX_MODELS = 1000, 10_000
_TRAILER_SECONDS = 1.0
"""Seconds to wait for the end of the stream after the stop reason."""
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


class AnthropicClient(BaseClient):
    """Client of one server that implements the Messages API. The API key is part of each request, not stored here."""

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Import the SDK, which is slow. Raises ValueError for an invalid base URL."""
        self._options = config.options
        self._pool = pool
        self._base_url = addresses.base_url(SPEC, config.base_url) or SPEC.base_url
        self._sdk = _sdk(self._base_url, pool.client)

    async def complete(self, request: VisionRequest) -> Completion:
        """Send one request and return the complete answer."""
        body = self._body(request)
        response = await self._call(request).wait(self._post(request, body))
        answer = Answer(request, streamed=False)
        answer.rate = rate_hints(response.headers)
        answer.read_message(self._parse(response.content, request))
        return answer.completion()

    def written(self, request: VisionRequest) -> object:
        """Build the body of the provider request, with a placeholder for the image."""
        return self._body(request)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        answer = Answer(request, streamed=True)
        async with aclosing(self._events(request, answer)) as events:
            async for event in events:
                yield Delta(answer.read(event))
        yield answer.completion()

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the models page by page."""
        import httpx2

        sdk, call = _sdk(self._base_url, self._pool.fresh_client), self._call(request)
        models: list[Model] = []
        last: object = None
        while len(models) < _MAX_MODELS:
            query = {"limit": _PAGE, **({"after_id": last} if last else {})}
            options = self._request_options(request, query)
            response = await call.wait(sdk.get("/models", cast_to=httpx2.Response, options=options))
            page = self._parse(response.content, request)
            rows = page.get("data") if isinstance(page, Mapping) else None
            if not isinstance(page, Mapping) or not isinstance(rows, list):
                raise BadReply(f"The response is not {SPEC.title}'s list of models. Check the base URL.")
            models += [_model(row) for row in rows if isinstance(row, Mapping) and isinstance(row.get("id"), str)]
            before, last = last, page.get("last_id")
            if page.get("has_more") is not True or not isinstance(last, str) or last == before:
                break
        return tuple(models)

    def _body(self, request: VisionRequest) -> JsonObject:
        for name, value in self._options.items():
            if not SPEC.fits(name, value):
                raise InvalidOption(f"The option {name} of {SPEC.title} has an invalid value.")
        return request_body(request, self.profile(request.model), self._options)

    async def _post(self, request: VisionRequest, body: JsonObject, **streaming: Any) -> "httpx2.Response":
        import httpx2

        content = serialise(body, request.image)
        options = self._request_options(request)
        response: object = await self._sdk.post(
            "/messages", cast_to=httpx2.Response, content=content, options=options, **streaming
        )
        assert isinstance(response, httpx2.Response)
        return response

    async def _events(self, request: VisionRequest, answer: "Answer") -> AsyncGenerator[object]:
        """Yield the events of a stream. Failures after the stop reason are ignored because the answer is complete.

        The SDK's own stream is not used because `SSEDecoder` (anthropic 2.14) copies the lines of an event received so
        far each time another line arrives.
        """
        import httpx2
        from anthropic import AsyncStream

        call = self._call(request)
        body = {**self._body(request), "stream": True}
        response = await call.wait(self._post(request, body, stream=True, stream_cls=AsyncStream[object]))
        answer.rate = rate_hints(response.headers)
        events = aiter(httpx2.EventSource(response))
        complete = False
        try:
            # Read to the end: a connection with an unread response cannot be reused.
            while event := await call.wait(anext(events, None)):
                if event.data:
                    yield self._parse(event.data, request)
                if answer.stop_reason and not complete:
                    complete = True
                    call = self._call(request, _TRAILER_SECONDS)
        except ProviderError:
            if not answer.stop_reason:
                raise
        finally:
            await response.aclose()

    def _parse(self, data: str | bytes, request: VisionRequest) -> object:
        """Parse a response or an event as JSON. Raise the ProviderError for an error object inside the JSON."""
        try:
            response = json.loads(data)
        except (ValueError, RecursionError):
            response = None
        if response is None:
            raise foreign_reply(SPEC.title)
        error = response.get("error") if isinstance(response, Mapping) else None
        if error:
            raise _error_in_200(error, request)
        return response

    def _call(self, request: VisionRequest, seconds: float | None = None) -> Call:
        import anthropic
        import httpx2

        foreign = (anthropic.AnthropicError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
        return Call(seconds or request.timeout, foreign, lambda error: self._translate(error, request))

    def _translate(self, error: Exception, request: VisionRequest) -> ProviderError:
        import anthropic

        if isinstance(error, anthropic.APIStatusError):
            return classify(error.status_code, error.body, error.response.headers, SPEC, request)
        return transport_error(error, SPEC.title, self._pool.shown(self._base_url), request.timeout)

    def _request_options(self, request: VisionRequest, query: Mapping[str, Any] | None = None) -> Any:
        """Build the headers, query and timeouts of one call. The SDK's default headers are omitted."""
        from anthropic import Omit

        from providers.transport import TIMEOUT

        key = api_key(request.credentials, SPEC, self._base_url)
        sent = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": "graphcap-bridge",
            "anthropic-version": _API_VERSION,
            **request.headers,
            **({"authorization": f"Bearer {key}"} if key else {}),
        }
        # In lower case: if a header is in the dict in two spellings, the later entry overrides the earlier one.
        unwanted = {name.lower() for name in self._sdk.default_headers} | _UNWANTED
        return {
            "headers": {**dict.fromkeys(unwanted, Omit()), **sent},
            "params": query or {},
            "timeout": TIMEOUT,
        }


def _sdk(url: str, client: "httpx2.AsyncClient") -> "anthropic.AsyncAnthropic":
    """Create the SDK's client with an empty key. For None the SDK would read the environment and profile files."""
    import anthropic

    # At level DEBUG the SDK logs the key, the prompt and the image (measured with anthropic 2.14).
    # `addFilter` adds the same filter only once.
    logging.getLogger("anthropic._base_client").addFilter(_not_debug)
    return anthropic.AsyncAnthropic(
        api_key="",
        webhook_key="",
        base_url=url,
        max_retries=0,
        http_client=client,
        open_telemetry=False,
    )


def _not_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def request_body(request: VisionRequest, profile: Profile, options: Mapping[str, Any]) -> JsonObject:
    """Build the request body, with a placeholder for the image. `options`: `ProviderConfig.options`."""
    limit = request.options.max_tokens
    output: JsonObject = {"effort": options["effort"].lower()} if options.get("effort") else {}
    if (schema := _schema(request)) is not None:
        output["format"] = {"type": "json_schema", "schema": schema}
    return {
        "model": request.model,
        "max_tokens": profile.max_tokens if limit is None else limit,
        **({"system": request.system} if request.system.strip() else {}),
        "messages": _messages(request),
        **({"output_config": output} if output else {}),
        **(_tool(request) if _asks_for_tool(request) else {}),
        **({"thinking": {"type": options["thinking"].lower()}} if options.get("thinking") else {}),
        **(options.get("extra_body") or {}),
    }


def _messages(request: VisionRequest) -> list[JsonObject]:
    """Build the messages. The image precedes the perspective's text, so that perspectives share a cached prefix."""
    prompt = request.prompt
    if request.schema is not None and request.output_mode == "prompt":
        prompt = f"{prompt}\n\n{dialects.describe(request.schema)}"
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


def _schema(request: VisionRequest) -> JsonObject | None:
    if request.schema is None or request.output_mode not in ("json_schema", "json_schema_relaxed"):
        return None
    relaxed = request.output_mode == "json_schema_relaxed"
    return dialects.anthropic(dialects.relaxed(request.schema) if relaxed else request.schema)


def _asks_for_tool(request: VisionRequest) -> bool:
    return request.schema is not None and request.output_mode == "json_object"


def _tool(request: VisionRequest) -> JsonObject:
    """Build the fields that make the model call a tool whose input is the answer.

    Used for the output mode `json_object`, because the API has no JSON mode without a schema.
    """
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", request.schema_name)[:64] or "caption"
    tool = {"name": name, "description": "Takes the answer.", "input_schema": request.schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": name, "disable_parallel_tool_use": True}}


class Answer:
    """An answer, collected from one message or from the events of a stream.

    `stop_reason`: "" until the server sends the stop reason. `rate`: the rate limits in the response's headers.
    """

    def __init__(self, request: VisionRequest, *, streamed: bool) -> None:
        self.stop_reason = ""
        self.rate: RateHints | None = None
        self._request = request
        self._text = AnswerText(SPEC.title, streamed=streamed)
        self._prose = AnswerText(SPEC.title, streamed=False)
        self._counts: dict[str, int] = {}
        self._model = ""
        self._tool_called = False

    def read(self, event: object) -> str:
        """Read one event of a stream and return its text, "" for an event of an unknown type."""
        if not isinstance(event, Mapping):
            raise BadReply(f"{SPEC.title} sent an event that is not part of an answer.")
        match event.get("type"):
            case "message_start":
                self._read_header(_mapping(event.get("message")))
            case "content_block_start":
                return self._read_block(_mapping(event.get("content_block")), "")
            case "content_block_delta":
                return self._read_block(_mapping(event.get("delta")), "partial_json")
            case "message_delta":
                self._read_usage(event.get("usage"))
                self.stop_reason = _text(_mapping(event.get("delta")).get("stop_reason")) or self.stop_reason
        return ""

    def read_message(self, message: object) -> None:
        """Read the message of a response that is not streamed."""
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(message, Mapping) or not isinstance(content, list):
            raise BadReply(f"The response is not an answer of {SPEC.title}. Check the base URL.")
        self._read_header(message)
        for block in content:
            self._read_block(_mapping(block), "input")
        # HTTP checked the length of the body: a complete response needs no stop reason.
        self.stop_reason = _text(message.get("stop_reason")) or "end_turn"

    def _read_header(self, message: Mapping[str, Any]) -> None:
        self._model = whole_characters(_text(message.get("model")))
        self._read_usage(message.get("usage"))

    def _read_block(self, block: Mapping[str, Any], tool_input: str) -> str:
        """Read a content block or a delta of a block, and return the part of the answer that it contains.

        Thinking is ignored. If the request contains the answer tool (see `_tool`), the answer is the tool's input;
        text blocks are used only if the model does not call the tool. `tool_input`: the key of the tool's input.
        """
        if self.stop_reason:
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
        reported = {name: count for name, count in _mapping(counts).items() if type(count) is int and count >= 0}
        self._counts |= reported
        cached = self._counts.get("cache_read_input_tokens")
        read = self._counts.get("input_tokens")
        if read is not None:
            read += (cached or 0) + self._counts.get("cache_creation_input_tokens", 0)
        self._text.usage = usage_of(read, self._counts.get("output_tokens"), cached)

    def completion(self) -> Completion:
        """Return the Completion, or raise the error for the stop reason."""
        text, usage = str(self._text) or str(self._prose), self._text.usage
        match self.stop_reason:
            case "refusal":
                raise self._error(Refused, "The model declined to describe the image.")
            case "max_tokens":
                raise truncation(text, usage, "Raise max_tokens; thinking counts too.", rate=self.rate)
            case "model_context_window_exceeded":
                raise truncation(text, usage, "Shorten the prompt or send a smaller image.", rate=self.rate)
            case "" | "pause_turn":
                raise self._error(BadReply, f"{SPEC.title} ended its answer before it was complete.")
        if not text.strip():
            called = self._tool_called and not _asks_for_tool(self._request)
            cause = "called a tool that was not offered" if called else "sent an empty answer"
            raise self._error(BadReply, f"{SPEC.title} {cause}.")
        warnings = SPEC.unsupported(self._request.options)
        return Completion(text, self._model or self._request.model, usage, warnings, self.rate)

    def _error(self, error: type[ProviderError], message: str) -> ProviderError:
        return error(message, usage=self._text.usage, rate=self.rate)


def _error_in_200(error: object, request: VisionRequest) -> ProviderError:
    """Return the error for an error object inside a response with status 200, classified by the type of the object."""
    status = _STATUSES.get(_text(_mapping(error).get("type")))
    if status is None:
        return error_in_200(error, SPEC, request)
    return classify(status, {"error": error}, {}, SPEC, request)


def _model(row: Mapping[str, Any]) -> Model:
    name = whole_characters(row["id"])
    return Model(name, whole_characters(_text(row.get("display_name"))) or name)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

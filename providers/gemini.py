"""Client of Gemini's own protocol (`generateContent`), through the official `google-genai` package.

The SDK builds the URL and parses the response. This module sets the API key, the image and the time limit, because the
SDK would read a key from the environment, send URL-safe base64 and make further calls.
"""

import json
import logging
import re
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

from providers import dialects
from providers.base import JsonObject, Model, ProviderConfig, Setting, Spec, Usage, VisionRequest, usage_of
from providers.call import Call, api_key, foreign_reply
from providers.client import ServerClient
from providers.errors import BadReply, Blocked, InvalidOption, ProviderError, RequestRejected, UnknownModel
from providers.http_errors import classify
from providers.pool import Pool
from providers.text import Answer, mapping, model_of, whole_characters

if TYPE_CHECKING:
    import httpx2
    from google.genai import types
    from google.genai.models import AsyncModels

    from providers.transport import KeyedTransport

_SAFETY = 'a threshold by harm category, such as HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH"'
_LEVELS = ("minimal", "low", "medium", "high", "xhigh")
_SAMPLING = {"max_tokens": "max_output_tokens"}
SPEC = Spec(
    kind="gemini",
    title="Gemini",
    base_url="https://generativelanguage.googleapis.com",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    url_env=("GOOGLE_GEMINI_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed"}),
    options={
        "safety_settings": Setting(_SAFETY, (Mapping,)),
        "media_resolution": Setting("how many tokens an image becomes: low, medium or high", _LEVELS[1:4]),
        "thinking_budget": Setting("tokens for thinking: 0 is none, -1 leaves it to the model", (int,)),
        "thinking_level": Setting("how much newer models think: minimal, low, medium or high", _LEVELS),
    },
    note="Without safety_settings Google's own defaults apply.",
)

_MAX_MODELS = 1000
_MODEL_NAME = re.compile(r"[\w.@-]+(/[\w.@-]+)*", re.ASCII)  # the model name becomes part of the URL
_KEY_HEADER = "x-goog-api-key"
_NO_KEY = "no-key"  # never sent; if empty, the SDK reads a key from the environment
_NO_CONTENTS = "-"  # the SDK requires contents; `extra_body` replaces them
_BLOCK_REASONS = frozenset(
    {
        *("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII", "JAILBREAK", "MODEL_ARMOR", "ESCALATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "PUP_LIMITED_DISABLED"),
    }
)


class GeminiClient(ServerClient):
    """Client of Google's Gemini API, or of a server that implements the same protocol."""

    specs = (SPEC,)
    sdk = "google.genai"

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        super().__init__(config, pool)
        # The SDK logs the name of the key in the environment and values of responses.
        logging.getLogger("google_genai._api_client").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", "(?s).* is not a valid ", UserWarning, r"google\.genai\._common")

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the models that generate content, over a new connection. Embedding models are omitted."""
        async with self._session(request, self._pool.fresh_client) as (models, call):
            return await call.wait(_list(models))

    def body(self, request: VisionRequest) -> dict[str, Any]:
        return {
            "http_options": {
                "headers": dict(request.headers),
                "extra_body": {"contents": _contents(request), **_thinking(self._options)},
            },
            # Without these settings the SDK makes further, paid calls (measured with google-genai 3.4).
            "automatic_continuation": False,
            "automatic_function_calling": {"disable": True},
            "system_instruction": request.system if request.system.strip() else None,
            **request.options.sent(SPEC.takes, _SAMPLING),
            "response_mime_type": "application/json" if request.sends_schema else None,
            "response_json_schema": dialects.enforced(request, dialects.gemini),
            "safety_settings": _safety(self._options),
            "media_resolution": _upper("MEDIA_RESOLUTION_", self._options.get("media_resolution")),
        }

    def _answer(self, request: VisionRequest, *, streamed: bool) -> Answer:
        return GeminiAnswer(SPEC, request, streamed=streamed)

    async def _responses(self, request: VisionRequest, answer: Answer) -> AsyncGenerator[Any]:
        config = self._config(request)
        async with self._session(request, self._pool.client) as (models, call):
            generate: Any = models.generate_content_stream if answer.streamed else models.generate_content
            opening = generate(model=request.model, contents=_NO_CONTENTS, config=config)
            async with aclosing(call.responses(opening, streamed=answer.streamed)) as responses:
                async for response in responses:
                    yield response

    @asynccontextmanager
    async def _session(
        self, request: VisionRequest, shared: "httpx2.AsyncClient"
    ) -> AsyncIterator[tuple["AsyncModels", Call]]:
        """Create a lightweight SDK client for one call (0.1 ms).

        All HTTP clients are passed to the SDK: without `httpx_client` and `ssl` the SDK creates three TLS contexts,
        which takes 36 ms (measured with google-genai 3.4). The SDK's environment variables for Vertex, the URL, replay
        and the key are ignored.
        """
        import httpx2
        from google import genai
        from google.genai import errors, types
        from google.genai.client import DebugConfig

        from providers.transport import KeyedTransport

        transport = KeyedTransport(shared, _KEY_HEADER, api_key(request.credentials, SPEC, self._base_url))
        sdk = genai.Client(
            vertexai=False,
            api_key=_NO_KEY,
            debug_config=DebugConfig(client_mode=None),
            http_options=types.HttpOptions(
                base_url=self._base_url,
                api_version="v1beta",
                httpx_async_client=httpx2.AsyncClient(transport=transport, trust_env=False),
                httpx_client=httpx2.Client(transport=httpx2.BaseTransport()),
                async_client_args={"ssl": False},
            ),
        )
        call = Call(request.timeout, (errors.APIError,), lambda error: self._translate(error, request, transport))
        try:
            yield sdk.aio.models, call
        finally:
            await transport.close_responses()

    def _translate(self, error: Exception, request: VisionRequest, transport: "KeyedTransport") -> ProviderError:
        from google.genai import errors

        failed = transport.failed
        if failed and failed.is_success:
            return foreign_reply(SPEC.title)
        if isinstance(error, errors.APIError):
            return _classify(error.code, error.details, failed.headers if failed else {}, request)
        failure = self._transport_error(error, request)
        if failed and type(failure) is BadReply:
            return _classify(failed.status_code, "", failed.headers, request)
        return failure

    def _config(self, request: VisionRequest) -> "types.GenerateContentConfig":
        from google.genai import types

        if not _MODEL_NAME.fullmatch(request.model) or ".." in request.model:
            raise UnknownModel(f"Gemini does not serve the model {json.dumps(request.model, ensure_ascii=False)}.")
        return types.GenerateContentConfig(**self.body(request))


def _contents(request: VisionRequest) -> list[JsonObject]:
    """Build the messages as they are sent. The SDK (3.4) would write URL-safe base64, which some proxies ignore."""
    image = request.image
    parts = [{"inlineData": {"mimeType": image.media_type, "data": image.base64.decode()}}] if image else []
    user = {"role": "user", "parts": [*parts, {"text": dialects.prompt(request, shown=request.enforces_schema)}]}
    roles = {"assistant": "model", "user": "user"}
    return [user, *({"role": roles[turn.role], "parts": [{"text": turn.text}]} for turn in request.turns)]


def _thinking(options: Mapping[str, Any]) -> JsonObject:
    """Build the thinking options as raw JSON. The SDK (3.4) would write snake case, which only Google accepts."""
    names = {"thinkingBudget": "thinking_budget", "thinkingLevel": "thinking_level"}
    values = {name: _upper("", options[own]) for name, own in names.items() if options.get(own) is not None}
    return {"generationConfig": {"thinkingConfig": values}} if values else {}


def _upper(prefix: str, value: Any) -> Any:
    return f"{prefix}{value}".upper() if isinstance(value, str) else value


def _safety(options: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the configured thresholds. Raises InvalidOption for an unknown category or threshold."""
    from google.genai import types

    thresholds = options.get("safety_settings")
    if thresholds is None:
        return None
    known = [*types.HarmBlockThreshold]  # a list, because the values may be unhashable
    if not set(thresholds) <= set(types.HarmCategory) or not all(value in known for value in thresholds.values()):
        raise InvalidOption(f"Gemini's option safety_settings is invalid. Expected: {_SAFETY}.")
    return [{"category": category, "threshold": threshold} for category, threshold in thresholds.items()]


class GeminiAnswer(Answer):
    def read(self, response: "types.GenerateContentResponse") -> str:
        """Read a response or a part of a stream, and return its text without the model's thoughts."""
        self._text.usage = _usage(response.usage_metadata) or self._text.usage
        self._model = whole_characters(response.model_version or "") or self._model
        if response.prompt_feedback and response.prompt_feedback.block_reason:
            raise self._blocked("the request", response.prompt_feedback.block_reason.value)
        candidate = next((candidate for candidate in response.candidates or () if not candidate.index), None)
        if candidate is None:
            return ""
        self.finish = candidate.finish_reason.value if candidate.finish_reason else self.finish
        parts = candidate.content.parts if candidate.content else None
        return self._text.add("".join(part.text for part in parts or () if part.text and not part.thought))

    def _failure(self) -> ProviderError | None:
        if self.finish in ("MAX_TOKENS", "CONTINUATION"):
            return self._truncated("Raise max_tokens; thinking counts too.")
        if self.finish in _BLOCK_REASONS:
            return self._blocked("the answer", self.finish)
        return None if self.finish == "STOP" else self._unfinished()

    def _blocked(self, subject: str, reason: str) -> ProviderError:
        known = f" ({reason})" if reason in _BLOCK_REASONS else ""
        return self._error(Blocked, f"Gemini blocked {subject}{known}. Use another model, or other safety_settings.")


def _usage(counts: "types.GenerateContentResponseUsageMetadata | None") -> Usage | None:
    """Return the token counts. Thinking counts as output."""
    if counts is None:
        return None
    written = [count for count in (counts.candidates_token_count, counts.thoughts_token_count) if count is not None]
    return usage_of(counts.prompt_token_count, sum(written) if written else None, counts.cached_content_token_count)


async def _list(models: "AsyncModels") -> tuple[Model, ...]:
    from google.genai import types

    listed = (await models.list(config=types.ListModelsConfig(page_size=_MAX_MODELS))).page
    # A proxy may not report the supported actions of its models.
    vision = [model for model in listed if not model.supported_actions or "generateContent" in model.supported_actions]
    rows = [(model.name.removeprefix("models/"), model.display_name) for model in vision if model.name]
    return tuple(model_of(name, title or "") for name, title in rows)


def _classify(status: int, details: object, headers: Mapping[str, str], request: VisionRequest) -> ProviderError:
    fault = mapping(details).get("error")
    # google-gemini/gemini-cli#24641: the cause is the account's country, not the schema
    if mapping(fault).get("status") == "FAILED_PRECONDITION":
        return RequestRejected("Gemini does not serve this account, or the country it is called from.", status=status)
    # An HTML page may quote the path with the model, so a model name in it does not mean that the model is unknown.
    body = "" if status == 404 and not fault else details
    return classify(status, body, headers, SPEC, request)

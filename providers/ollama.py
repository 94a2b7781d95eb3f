"""Client of Ollama's own protocol (`/api/chat`), through the official `ollama` package.

Ollama's Chat Completions endpoint (`/v1`) cannot set `num_ctx`. Without `num_ctx`, Ollama silently drops the start of
a long prompt (odysseus-dev/odysseus#1055).
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from providers import dialects
from providers.addresses import base_url
from providers.base import (
    BaseClient,
    Completion,
    Delta,
    JsonObject,
    Model,
    ProviderConfig,
    Spec,
    VisionRequest,
)
from providers.call import Call, api_key, transport_error
from providers.errors import BadReply, ProviderError, UnknownModel
from providers.http_errors import classify, error_in_200
from providers.image_body import PLACEHOLDER
from providers.pool import Pool
from providers.text import AnswerText, truncation, whole_characters
from providers.usage import usage_of

if TYPE_CHECKING:
    import httpx2
    import ollama

_SAMPLING = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
"""Map field names of `Options` to Ollama's names."""
SPEC = Spec(
    kind="ollama",
    title="Ollama",
    base_url="http://127.0.0.1:11434",
    key_env=("OLLAMA_API_KEY",),
    url_env=("OLLAMA_HOST",),
    takes=frozenset(_SAMPLING),
    options={
        "num_ctx": "tokens of context to load the model with (default: by model family)",
        "keep_alive": 'how long the model stays loaded: seconds, or text such as "10m"',
        "think": "whether a reasoning model thinks first: true, false, low, medium or high",
    },
    values={"num_ctx": (int,), "keep_alive": (int, float, str), "think": (bool, str)},
    note="A key is needed only for ollama.com or behind a proxy.",
    pull="ollama pull",
)


class OllamaClient(BaseClient):
    """Client of one Ollama server."""

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """`config.base_url` may omit scheme and port, and may end in `/v1` or `/api`. Raises ValueError if invalid."""
        self._config = config
        self._pool = pool
        self._host = base_url(SPEC, config.base_url) or SPEC.base_url

    async def complete(self, request: VisionRequest) -> Completion:
        """Send one request and return the complete answer."""
        arguments = self._chat(request)
        response = await self._call(request).wait(self._sdk(request, self._pool.client).chat(**arguments))
        text = AnswerText(SPEC.title, streamed=False)
        text.add(response.message.content or "")
        return _completion(request, arguments, str(text), response)

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the pulled models over a new connection. Ollama does not report which of them accept images."""
        listing = await self._call(request).wait(self._sdk(request, self._pool.fresh_client).list())
        names = [whole_characters(model.model) for model in listing.models if model.model]
        return tuple(Model(id=name, name=name) for name in names)

    def written(self, request: VisionRequest) -> object:
        """Return the arguments of the SDK's `chat`."""
        return self._chat(request)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the text as it arrives, then the Completion."""
        arguments = self._chat(request)
        text = AnswerText(SPEC.title, streamed=True)
        last: ollama.ChatResponse | None = None
        opening = self._sdk(request, self._pool.client).chat(**arguments, stream=True)
        async with aclosing(self._call(request).each(opening)) as parts:
            async for last in parts:
                yield Delta(text.add(last.message.content or ""))
        yield _completion(request, arguments, str(text), last)

    def _sdk(self, request: VisionRequest, shared: "httpx2.AsyncClient") -> "ollama.AsyncClient":
        """Create a lightweight client for one call (0.04 ms), so that the key is not stored after the call."""
        import ollama

        from providers.httpx_bridge import BridgeTransport

        return ollama.AsyncClient(
            host=self._host,
            headers=dict(request.headers),
            transport=BridgeTransport(shared, api_key(request.credentials, SPEC, self._host), request.image),
            timeout=None,
            follow_redirects=False,
            trust_env=False,
        )

    def _chat(self, request: VisionRequest) -> dict[str, Any]:
        """Return the arguments of the SDK's `chat`."""
        if not request.model.strip():
            raise UnknownModel("No model is set for Ollama. Pass `model`.")
        settings = dict(self._config.options)
        context = settings.pop("num_ctx", None) or self.profile(request.model).context
        return {
            "model": request.model,
            "messages": _messages(request),
            "format": _format(request),
            "options": _options(request, context),
            **settings,
        }

    def _call(self, request: VisionRequest) -> Call:
        import httpx
        import httpx2
        import ollama

        foreign = (ollama.ResponseError, httpx.HTTPError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
        address = self._pool.shown(self._host)
        return Call(request.timeout, foreign, lambda error: _translate(error, address, request))


def _messages(request: VisionRequest) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    user: dict[str, Any] = {"role": "user", "content": _prompt(request)}
    if request.image is not None:
        # Pass bytes, because the SDK first tries to open a string as a file (measured with ollama 0.6.3).
        # Without an image no empty list is sent, because some backends reject it (datalab-to/marker#1076).
        user["images"] = [PLACEHOLDER]
    return [*system, user, *turns]


def _prompt(request: VisionRequest) -> str:
    """Return the prompt with the schema appended. Ollama does not show the schema to the model (ollama/ollama#8162)."""
    if request.schema is None:
        return request.prompt
    sent = _format(request)
    return f"{request.prompt}\n\n{dialects.describe(sent if isinstance(sent, dict) else request.schema)}"


def _format(request: VisionRequest) -> JsonObject | str | None:
    """Return the value of the top-level field `format`: a schema, "json" or None.

    Ollama ignores `format` inside `options` (browser-use/browser-use#5023). The schema is in llama.cpp's dialect,
    because Ollama uses llama.cpp's converter from schema to grammar.
    """
    if request.schema is None or request.output_mode == "prompt":
        return None
    if request.output_mode == "json_object":
        return "json"
    relaxed = request.output_mode == "json_schema_relaxed"
    return dialects.llamacpp(dialects.relaxed(request.schema) if relaxed else request.schema)


def _options(request: VisionRequest, context: int | None) -> dict[str, Any]:
    options = {_SAMPLING[name]: value for name, value in request.options.present().items() if name in _SAMPLING}
    return options if context is None else {"num_ctx": context, **options}


def _completion(
    request: VisionRequest, arguments: Mapping[str, Any], text: str, last: "ollama.ChatResponse | None"
) -> Completion:
    """Return the Completion if the last message marks the answer as complete; otherwise raise the error."""
    if last is None or not last.done:
        raise BadReply("Ollama ended its answer before it was complete.")
    usage = usage_of(last.prompt_eval_count, last.eval_count)
    if last.done_reason == "length":
        raise truncation(text, usage, "Raise max_tokens, or num_ctx of Ollama.")
    if not text.strip():
        raise BadReply("Ollama sent an empty answer.", usage=usage)
    warnings = _warnings(last, arguments["options"].get("num_ctx"))
    return Completion(text, whole_characters(last.model or request.model), usage, warnings)


def _warnings(last: "ollama.ChatResponse", context: int | None) -> tuple[str, ...]:
    """Return a warning if the context is full, because Ollama silently drops the start of a prompt.

    haoxiang-xu/PuPu#227. `context`: tokens of context.
    """
    used = (last.prompt_eval_count or 0) + (last.eval_count or 0)
    if context is None or used < context:
        return ()
    return (
        f"The request filled Ollama's {context} tokens of context (num_ctx), so the start of the prompt was probably "
        "dropped. Raise num_ctx or send a smaller image.",
    )


def _translate(error: Exception, address: str, request: VisionRequest) -> ProviderError:
    import httpx2
    import ollama

    if isinstance(error, httpx2.HTTPStatusError):
        response = error.response
        return classify(response.status_code, response.text, response.headers, SPEC, request)
    if isinstance(error, ollama.ResponseError):  # an error inside a stream
        return error_in_200({"error": error.error}, SPEC, request)
    return transport_error(error, SPEC.title, address, request.timeout)

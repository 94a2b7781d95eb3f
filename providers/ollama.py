"""Ollama in its own protocol (`/api/chat`), through the official `ollama` package.

Its `/v1` surface cannot set `num_ctx`, and without that Ollama drops the front of a long prompt in silence
(odysseus-dev/odysseus#1055): this is why the native one is spoken.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from providers import dialects
from providers.addresses import base_url
from providers.base import (
    NO_HEADERS,
    BaseClient,
    Completion,
    Credentials,
    Delta,
    Image,
    JsonObject,
    Model,
    Profile,
    ProviderConfig,
    Spec,
    VisionRequest,
)
from providers.classify import api_key, classify
from providers.errors import (
    BadReply,
    ProviderError,
    RequestRejected,
    SchemaRejected,
    Truncated,
    UnknownModel,
    Unreachable,
)
from providers.exchange import Exchange, bought, chain, timed_out, unreachable
from providers.picture import PLACE, with_picture
from providers.pool import Pool
from providers.profiles import profile
from providers.text import Text, whole_characters
from providers.usage import counted

if TYPE_CHECKING:
    import httpx
    import ollama

# Our name for a sampling option -> Ollama's.
_SAMPLING = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
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
)
_CONNECT_SECONDS = 10.0
# datalab-to/marker#984 (a 500), ollama/ollama#12422 (inside a 200): what Ollama says of a schema it cannot use
_SCHEMA_WORDS = ("schema in format", "required for format", "invalid format", "grammar")


class OllamaClient(BaseClient):
    """One Ollama server."""

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Imports httpx. `config.base_url`: with or without scheme, port, `/v1` or `/api`; ValueError for none."""
        self._config = config
        self._transport = pool.httpx_transport()
        self._host = base_url(SPEC, config.base_url) or SPEC.base_url
        self._told_url = pool.told(self._host)

    async def complete(self, request: VisionRequest) -> Completion:
        """Ask once and wait for the whole answer."""
        asked = self._chat(request)
        last = await self._exchange(request).wait(self._sdk(request).chat(**asked))
        text = Text(SPEC.title)
        text.add(last.message.content or "")
        return _completion(request, asked, str(text), last)

    @bought
    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Ask once and yield the text as it comes, then the Completion."""
        asked = self._chat(request)
        text = Text(SPEC.title)
        last: ollama.ChatResponse | None = None
        async with aclosing(self._exchange(request).each(self._sdk(request).chat(**asked, stream=True))) as parts:
            async for last in parts:
                if piece := text.add(last.message.content or ""):
                    yield Delta(piece)
        yield _completion(request, asked, str(text), last)

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """List what is pulled. Ollama does not tell which models see, so all are listed."""
        request = VisionRequest(model="", prompt="", timeout=timeout, credentials=credentials, headers=headers)
        listed = await self._exchange(request).wait(self._sdk(request).list())
        names = [whole_characters(each.model) for each in listed.models if each.model]
        return tuple(Model(id=name, name=name) for name in names)

    def profile(self, model: str) -> Profile:
        """What the model's family takes."""
        return profile("ollama", model)

    def written(self, request: VisionRequest) -> object:
        """The arguments of the SDK's `chat`."""
        return self._chat(request)

    def _sdk(self, request: VisionRequest) -> "ollama.AsyncClient":
        """A light client of one call (0.04 ms on a shared transport), so that no key outlives its call."""
        import httpx
        import ollama

        key = api_key(request.credentials, SPEC, self._host)

        def complete(call: httpx.Request) -> httpx.Request:
            # Without a key the SDK puts $OLLAMA_API_KEY there, for whatever address (measured with ollama 0.6.3).
            call.headers.pop("Authorization", None)
            if key:
                call.headers["Authorization"] = f"Bearer {key}"
            return call if request.image is None else _with_picture(call, request.image)

        return ollama.AsyncClient(
            host=self._host,
            headers=dict(request.headers),
            auth=complete,
            transport=self._transport,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    def _chat(self, request: VisionRequest) -> dict[str, Any]:
        """The arguments of the SDK's `chat`."""
        if not request.model.strip():
            raise UnknownModel("Ollama was not told which model to ask. Name one.")
        settings = self._settings()
        context = settings.pop("num_ctx", None) or self.profile(request.model).context
        return {
            "model": request.model,
            "messages": _messages(request),
            "format": _format(request),
            "options": _options(request, context),
            **settings,
        }

    def _settings(self) -> dict[str, Any]:
        given = {name: value for name, value in self._config.options.items() if name in SPEC.options}
        for name, value in given.items():
            if not SPEC.fits(name, value):
                raise RequestRejected(f"Ollama's option {name} has a value it cannot have: {SPEC.options[name]}.")
        return given

    def _exchange(self, request: VisionRequest) -> Exchange:
        import httpx
        import ollama

        foreign = (ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
        return Exchange(request.timeout, foreign, lambda error: _translated(error, self._told_url, request))


def _messages(request: VisionRequest) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    user: dict[str, Any] = {"role": "user", "content": _prompt(request)}
    if request.image is not None:
        # Bytes, never text: the SDK takes a text for a file's path first (measured with ollama 0.6.3).
        # No empty list either: some backends break on it (datalab-to/marker#1076).
        user["images"] = [PLACE]
    return [*system, user, *turns]


def _with_picture(call: "httpx.Request", image: Image) -> "httpx.Request":
    """The call with the picture in its place. The SDK would encode the same bytes anew in each call (ollama 0.6.3)."""
    import httpx

    headers = {name: value for name, value in call.headers.items() if name != "content-length"}
    body = with_picture(call.content, image)
    return httpx.Request(call.method, call.url, headers=headers, content=body, extensions=call.extensions)


def _prompt(request: VisionRequest) -> str:
    """The schema as text too: Ollama makes a grammar of it and does not show it to the model (ollama/ollama#8162)."""
    if request.schema is None:
        return request.prompt
    sent = _format(request)
    return f"{request.prompt}\n\n{dialects.describe(sent if isinstance(sent, dict) else request.schema)}"


def _format(request: VisionRequest) -> JsonObject | str | None:
    """Top level: inside `options` it is ignored (browser-use/browser-use#5023)."""
    if request.schema is None or request.output_mode == "prompt":
        return None
    if request.output_mode == "json_object":
        return "json"
    relaxed = request.output_mode == "json_schema_relaxed"
    return dialects.ollama(dialects.relaxed(request.schema) if relaxed else request.schema)


def _options(request: VisionRequest, context: int | None) -> dict[str, Any]:
    asked = {_SAMPLING[name]: value for name, value in request.options.asked().items()}
    return asked if context is None else {"num_ctx": context, **asked}


def _completion(
    request: VisionRequest, asked: Mapping[str, Any], text: str, last: "ollama.ChatResponse | None"
) -> Completion:
    """The answer, if the last message of the reply says that it is whole."""
    if last is None or not last.done:
        raise BadReply("Ollama's answer broke off before it was whole.")
    usage = counted(last.prompt_eval_count, last.eval_count)
    if last.done_reason == "length":
        raise Truncated(
            "The answer reached the token limit before it was whole. Raise max_tokens, or num_ctx of Ollama.",
            usage=usage,
        )
    if not text.strip():
        raise BadReply("Ollama sent an empty answer.", usage=usage)
    return Completion(
        text, whole_characters(last.model or request.model), usage, _warnings(last, asked["options"].get("num_ctx"))
    )


def _warnings(last: "ollama.ChatResponse", context: int | None) -> tuple[str, ...]:
    """Ollama says nothing when it drops the front of a prompt (haoxiang-xu/PuPu#227): a full context does."""
    used = (last.prompt_eval_count or 0) + (last.eval_count or 0)
    if context is None or used < context:
        return ()
    return (
        f"The request filled the {context} tokens of context Ollama was given (num_ctx): the beginning of the "
        "prompt was probably dropped. Raise num_ctx or send a smaller picture.",
    )


def _translated(error: Exception, host: str, request: VisionRequest) -> ProviderError:
    """What an exception of the SDK, of httpx or of the clock means."""
    import httpx
    import ollama

    if isinstance(error, ollama.ResponseError) and _blames_schema(error, request):
        return SchemaRejected("Ollama cannot hold the model to this schema.", status=max(error.status_code, 0) or None)
    # The SDK raises "from None" and keeps no header; the reply is still in the context (ollama 0.6.3).
    reply = next((cause.response for cause in chain(error) if isinstance(cause, httpx.HTTPStatusError)), None)
    if reply is not None:
        return _classified(reply, request)
    if isinstance(error, ollama.ResponseError):
        return BadReply("Ollama failed in the middle of its answer.")
    if isinstance(error, ConnectionError | httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return unreachable(SPEC.title, host, error)
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return timed_out(SPEC.title, request.timeout)
    if isinstance(error, OSError | httpx.HTTPError | httpx.InvalidURL):
        return Unreachable("The connection to Ollama broke before it answered.")
    return BadReply("What came back is not an answer of Ollama's. Check the base URL.")


def _classified(reply: "httpx.Response", request: VisionRequest) -> ProviderError:
    return classify(
        reply.status_code,
        reply.text,
        reply.headers,
        schema_sent=_format(request) is not None,
        title=SPEC.title,
        model=request.model,
        key_env=SPEC.key_env[0],
        key_sent=bool(request.credentials.api_key.strip()),
    )


def _blames_schema(error: "ollama.ResponseError", request: VisionRequest) -> bool:
    """-1 is the status of an error inside a stream."""
    if _format(request) is None or error.status_code not in (-1, 500):
        return False
    return any(word in str(error.error) for word in _SCHEMA_WORDS)

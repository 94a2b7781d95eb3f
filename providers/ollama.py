"""Ollama in its own protocol (`/api/chat`), through the official `ollama` package.

Its `/v1` surface cannot set `num_ctx`, and without that Ollama drops the front of a long prompt in silence
(odysseus-dev/odysseus#1055): this is why the native one is spoken.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from providers import dialect
from providers.addresses import base_url
from providers.base import (
    BaseClient,
    Check,
    Completion,
    Credentials,
    Delta,
    JsonObject,
    Model,
    Profile,
    ProviderConfig,
    Spec,
    VisionRequest,
)
from providers.check import check
from providers.classify import api_key, classify
from providers.errors import (
    BadReply,
    CallTimeout,
    ProviderError,
    RequestRejected,
    SchemaRejected,
    Truncated,
    Unreachable,
)
from providers.pacing import paced
from providers.pool import Pool
from providers.profiles import profile
from providers.usage import Usage

if TYPE_CHECKING:
    import httpx
    import ollama

SPEC = Spec(
    kind="ollama",
    title="Ollama",
    base_url="http://127.0.0.1:11434",
    key_env=("OLLAMA_API_KEY",),
    url_env=("OLLAMA_HOST",),
    takes=frozenset({"max_tokens", "temperature", "top_p", "repetition_penalty", "seed"}),
    options={
        "num_ctx": "tokens of context to load the model with (default: by model family)",
        "keep_alive": 'how long the model stays loaded: seconds, or text such as "10m"',
        "think": "whether a reasoning model thinks first: true, false, low, medium or high",
    },
    note="A key is needed only for ollama.com or behind a proxy.",
)
_OPTION_TYPES: Mapping[str, tuple[type, ...]] = {
    "num_ctx": (int,),
    "keep_alive": (int, float, str),
    "think": (bool, str),
}
# Our name for a sampling option -> Ollama's.
_SAMPLING = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "repetition_penalty": "repeat_penalty",
    "seed": "seed",
}
_CONNECT_SECONDS = 10.0
# datalab-to/marker#984 (a 500), ollama/ollama#12422 (inside a 200): what Ollama says of a schema it cannot use
_SCHEMA_WORDS = ("schema in format", "required for format", "invalid format", "grammar")
# What the SDK lets through when a reply is JSON of another shape, or none.
_MALFORMED = (ValueError, TypeError, AttributeError, RecursionError)


class OllamaClient(BaseClient):
    """One Ollama server."""

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """`config.base_url`: with or without scheme, port, `/v1` or `/api`. Raises ValueError for none."""
        self._config = config
        self._pool = pool
        self._host = base_url(SPEC, config.base_url) or SPEC.base_url

    async def complete(self, request: VisionRequest) -> Completion:
        """Ask once and wait for the whole answer."""
        asked = self._chat(request)
        with self._translated(request, request.timeout):
            async with asyncio.timeout(request.timeout):
                last = await self._sdk(request.credentials, request.headers).chat(**asked)
        return _completion(request, asked, last.message.content or "", last)

    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Ask once and yield the text as it comes, then the Completion."""
        asked = self._chat(request)
        texts: list[str] = []
        last: ollama.ChatResponse | None = None
        with self._translated(request, request.timeout):
            sdk = self._sdk(request.credentials, request.headers)
            async with aclosing(paced(sdk.chat(**asked, stream=True), request.timeout)) as parts:
                async for last in parts:
                    if last.message.content:
                        texts.append(last.message.content)
                        yield Delta(last.message.content)
        yield _completion(request, asked, "".join(texts), last)

    async def models(self, credentials: Credentials, timeout: float) -> tuple[Model, ...]:
        """List what is pulled. Ollama does not tell which models see, so all are listed."""
        with self._translated(None, timeout):
            async with asyncio.timeout(timeout):
                listed = await self._sdk(credentials, {}).list()
        return tuple(Model(id=each.model, name=each.model) for each in listed.models if each.model)

    async def check(self, credentials: Credentials, timeout: float, model: str = "") -> Check:
        """Really connect: list the models, then one short completion when a model is named."""
        return await check(self, credentials, timeout, model)

    def profile(self, model: str) -> Profile:
        """What the model's family takes."""
        return profile("ollama", model)

    def _sdk(self, credentials: Credentials, headers: Mapping[str, str]) -> "ollama.AsyncClient":
        """A light client of one call (0.04 ms on a shared transport), so that no key outlives its call."""
        import httpx
        import ollama

        key = api_key(credentials, title=SPEC.title, key_env=SPEC.key_env[0])

        def authorise(request: httpx.Request) -> httpx.Request:
            # Without a key the SDK puts $OLLAMA_API_KEY there, for whatever address (measured with ollama 0.6.3).
            request.headers.pop("Authorization", None)
            if key:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        return ollama.AsyncClient(
            host=self._host,
            headers=dict(headers),
            auth=authorise,
            transport=self._pool.httpx_transport,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    def _chat(self, request: VisionRequest) -> dict[str, Any]:
        """The arguments of the SDK's `chat`."""
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
        given = {name: value for name, value in self._config.options.items() if name in _OPTION_TYPES}
        for name, value in given.items():
            if not isinstance(value, _OPTION_TYPES[name]):
                raise RequestRejected(f"Ollama's option {name} has a value it cannot have: {SPEC.options[name]}.")
        return given

    @contextmanager
    def _translated(self, request: VisionRequest | None, timeout: float) -> Iterator[None]:
        """Turn what the SDK and httpx raise into `providers.errors`."""
        import httpx
        import ollama

        try:
            yield
        except ProviderError:
            raise
        except ollama.ResponseError as error:
            raise _replied(error, request) from None
        except (ConnectionError, httpx.ConnectTimeout):
            raise Unreachable("Could not connect to Ollama. Check that it runs and its base URL.") from None
        except (TimeoutError, httpx.TimeoutException):
            raise CallTimeout(
                f"Ollama did not answer within {timeout:g} seconds. A model that has to be loaded takes longer."
            ) from None
        except (OSError, httpx.HTTPError, httpx.InvalidURL):
            raise Unreachable("The connection to Ollama broke. Check that it runs and its base URL.") from None
        except _MALFORMED:
            raise BadReply("What came back is not an answer of Ollama's. Check the base URL.") from None


def _messages(request: VisionRequest) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    user: dict[str, Any] = {"role": "user", "content": _prompt(request)}
    if request.image is not None:
        # Bytes, never text: the SDK takes a text for a file's path first (measured with ollama 0.6.3).
        # No empty list either: some backends break on it (datalab-to/marker#1076).
        user["images"] = [request.image.data]
    return [*system, user, *turns]


def _prompt(request: VisionRequest) -> str:
    if request.schema is None or request.output_mode in ("json_schema", "json_schema_relaxed"):
        return request.prompt
    return f"{request.prompt}\n\n{dialect.describe(request.schema)}"


def _format(request: VisionRequest) -> JsonObject | str | None:
    """Top level: inside `options` it is ignored (browser-use/browser-use#5023)."""
    if request.schema is None or request.output_mode == "prompt":
        return None
    if request.output_mode == "json_object":
        return "json"
    relaxed = request.output_mode == "json_schema_relaxed"
    return dialect.ollama(dialect.relaxed(request.schema) if relaxed else request.schema)


def _options(request: VisionRequest, context: int | None) -> dict[str, Any]:
    asked = {theirs: getattr(request.options, ours) for ours, theirs in _SAMPLING.items()}
    return {name: value for name, value in {"num_ctx": context, **asked}.items() if value is not None}


def _completion(
    request: VisionRequest, asked: Mapping[str, Any], text: str, last: "ollama.ChatResponse | None"
) -> Completion:
    """The answer, if the last message of the reply says that it is whole."""
    if last is None or not last.done:
        raise BadReply("Ollama's answer broke off before it was whole.")
    usage = _usage(last)
    if last.done_reason == "length":
        raise Truncated(
            "The answer reached the token limit before it was whole. Raise max_tokens, or num_ctx of Ollama.",
            usage=usage,
        )
    if not text.strip():
        raise BadReply("Ollama sent an empty answer.", usage=usage)
    return Completion(text, last.model or request.model, usage, _warnings(last, asked["options"].get("num_ctx")))


def _usage(last: "ollama.ChatResponse") -> Usage | None:
    if last.prompt_eval_count is None and last.eval_count is None:
        return None
    return Usage(input_tokens=last.prompt_eval_count, output_tokens=last.eval_count)


def _warnings(last: "ollama.ChatResponse", context: int | None) -> tuple[str, ...]:
    """Ollama says nothing when it drops the front of a prompt (haoxiang-xu/PuPu#227): a full context does."""
    used = (last.prompt_eval_count or 0) + (last.eval_count or 0)
    if context is None or used < context:
        return ()
    return (
        f"The request filled the {context} tokens of context Ollama was given (num_ctx): the beginning of the "
        "prompt was probably dropped. Raise num_ctx or send a smaller picture.",
    )


def _replied(error: "ollama.ResponseError", request: VisionRequest | None) -> ProviderError:
    """What an error reply stands for; -1 is the status of an error line inside a stream."""
    schema_sent = request is not None and _format(request) is not None
    if schema_sent and error.status_code in (-1, 500) and _blames_schema(error):
        return SchemaRejected("Ollama cannot hold the model to this schema.", status=_status(error))
    if error.status_code < 0:
        return BadReply("Ollama failed in the middle of its answer.")
    # The SDK raises "from None" and keeps no header: the reply is still in the context (ollama 0.6.3).
    response: httpx.Response | None = getattr(error.__context__, "response", None)
    return classify(
        error.status_code,
        error.error,
        response.headers if response is not None else {},
        schema_sent=schema_sent,
        title=SPEC.title,
        model=request.model if request else "",
        key_env=SPEC.key_env[0],
    )


def _blames_schema(error: "ollama.ResponseError") -> bool:
    return any(word in str(error.error) for word in _SCHEMA_WORDS)


def _status(error: "ollama.ResponseError") -> int | None:
    return error.status_code if error.status_code > 0 else None

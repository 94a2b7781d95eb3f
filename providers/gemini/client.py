"""The client: one light SDK object a call."""

import json
import logging
import re
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from providers.addresses import base_url
from providers.base import (
    NO_HEADERS,
    BaseClient,
    Completion,
    Credentials,
    Delta,
    Model,
    Profile,
    ProviderConfig,
    VisionRequest,
)
from providers.classify import api_key
from providers.errors import UnknownModel
from providers.exchange import Exchange, bought
from providers.gemini.reply import Answer, answering, translated
from providers.gemini.request import generation
from providers.gemini.spec import SPEC
from providers.pool import Pool
from providers.profiles import profile

if TYPE_CHECKING:
    from google.genai import types
    from google.genai.models import AsyncModels

_CONNECT_SECONDS = 10.0
_PAGE = 1000
_MAX_MODELS = 2000
# The name becomes a part of the URL.
_MODEL_NAME = re.compile(r"[\w.@-]+(/[\w.@-]+)*", re.ASCII)
_OPENAI_PATH = re.compile(r"/openai/*\s*$")
_UNKNOWN_WORD = re.compile("(?s).* is not a valid ", re.IGNORECASE)
_UNKNOWN_WORD_FROM = re.compile(r"google\.genai\._common")
# Never sent: something the SDK insists on, so that it does not look for a key in the environment.
_NO_KEY = "no-key"
# The SDK refuses to be given no contents; `extra_body` replaces them.
_REPLACED = "-"
_KEY_HEADER = "x-goog-api-key"


class GeminiClient(BaseClient):
    """Google's Gemini API, or a server that speaks its protocol."""

    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """`config.base_url`: with or without scheme, version or Google's `/openai`. Raises ValueError for none."""
        self._options = config.options
        self._pool = pool
        self._base_url = base_url(SPEC, _OPENAI_PATH.sub("", config.base_url)) or SPEC.base_url
        self._told_url = pool.told(self._base_url)

    async def complete(self, request: VisionRequest) -> Completion:
        """Ask once and wait for the whole answer."""
        answer = Answer()
        config = self._asked(request)
        async with self._call(request) as (models, exchange):
            asking = models.generate_content(model=request.model, contents=_REPLACED, config=config)
            answer.take(await exchange.wait(asking))
        return answer.completion(request)

    @bought
    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Ask once and yield the text as it comes, then the Completion."""
        answer = Answer()
        config = self._asked(request)
        async with self._call(request) as (models, exchange):
            opening = models.generate_content_stream(model=request.model, contents=_REPLACED, config=config)
            async with aclosing(exchange.each(opening)) as parts:
                async for part in parts:
                    if text := answer.take(part):
                        yield Delta(text)
        yield answer.completion(request)

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """List the models that can answer; embedding and other models are left out."""
        request = VisionRequest(model="", prompt="", timeout=timeout, credentials=credentials, headers=headers)
        async with self._call(request) as (models, exchange):
            return await exchange.wait(_listed(models))

    def profile(self, model: str) -> Profile:
        """What the model's family takes."""
        return profile("gemini", model)

    def written(self, request: VisionRequest) -> object:
        """The fields of the SDK's configuration, the messages among them."""
        return generation(request, self._options)

    @asynccontextmanager
    async def _call(self, request: VisionRequest) -> AsyncIterator[tuple["AsyncModels", Exchange]]:
        """A light client of one call: 0.1 ms, because it is given every connection it would open itself.

        Without `httpx_client` and `ssl` it builds three TLS contexts, 36 ms (measured with google-genai 3.4).
        Environment variables for Vertex, the base URL, replays and the key are all passed over.
        """
        import httpx2
        from google import genai
        from google.genai import errors, types
        from google.genai.client import DebugConfig

        key = api_key(request.credentials, SPEC, self._base_url)
        _hush()
        transport = _keyed_transport()(self._pool.httpx2_client, key)
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
        exchange = Exchange(
            request.timeout,
            (errors.APIError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError),
            lambda error: translated(error, self._told_url, request, transport.failed),
        )
        try:
            yield sdk.aio.models, exchange
        finally:
            await transport.hang_up()

    def _asked(self, request: VisionRequest) -> "types.GenerateContentConfig":
        from google.genai import types

        if not _MODEL_NAME.fullmatch(request.model) or ".." in request.model:
            raise UnknownModel(f"Gemini does not serve the model {json.dumps(request.model, ensure_ascii=False)}.")
        return types.GenerateContentConfig(**generation(request, self._options))


async def _listed(models: "AsyncModels") -> tuple[Model, ...]:
    from google.genai import types

    found: list[Model] = []
    async for each in await models.list(config=types.ListModelsConfig(page_size=_PAGE)):
        found += answering(each)
        if len(found) >= _MAX_MODELS:
            break
    return tuple(found)


@cache
def _keyed_transport() -> type[Any]:
    import httpx2

    class Keyed(httpx2.AsyncBaseTransport):
        """The way of one call into the shared client: it sends exactly this key, or none; the SDK never sees it."""

        def __init__(self, shared: httpx2.AsyncClient, key: str) -> None:
            self._shared = shared
            self._key = key
            self._replies: list[httpx2.Response] = []

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            request.headers.pop(_KEY_HEADER, None)
            if self._key:
                request.headers[_KEY_HEADER] = self._key
            # The SDK switches every timeout off; our own covers the call, but a dead host should be told apart.
            request.extensions["timeout"] = httpx2.Timeout(None, connect=_CONNECT_SECONDS).as_dict()
            self._replies.append(await self._shared.send(request, stream=True, follow_redirects=False))
            return self._replies[-1]

        @property
        def failed(self) -> httpx2.Response | None:
            """The reply, if its status is not 200: for some bodies the SDK forgets the status."""
            return next((reply for reply in self._replies if reply.status_code != 200), None)

        async def hang_up(self) -> None:
            """Close what is still open: the SDK keeps a stream that is left early in a reference cycle (3.4)."""
            for reply in self._replies:
                await reply.aclose()

    return Keyed


def _hush() -> None:
    """Keep two things off the operator's screen; each is done once, however often it is asked for.

    The SDK warns of a word it does not know with that word, and it is a stranger's text.
    """
    logging.getLogger("google_genai._api_client").addFilter(_about_our_key)
    unknown_word = ("ignore", _UNKNOWN_WORD, UserWarning, _UNKNOWN_WORD_FROM, 0)
    if unknown_word not in warnings.filters:
        warnings.filterwarnings("ignore", _UNKNOWN_WORD.pattern, UserWarning, _UNKNOWN_WORD_FROM.pattern)


def _about_our_key(record: logging.LogRecord) -> bool:
    """Drop the SDK's line on which of two variables it reads the key from: it reads neither here."""
    return "are set. Using" not in str(record.msg)

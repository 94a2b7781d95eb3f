"""OpenAI's Chat Completions through the official `openai` package; vLLM and the gateways stand on the same client.

The SDK carries the call: the address, the connection pool, the time limits, the stream's events. Which headers
leave, which body, and what a reply means is settled here, because the SDK fills both from the environment.
"""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from providers import addresses, chat, dialects
from providers.base import (
    NO_HEADERS,
    BaseClient,
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
from providers.chat import Flavour
from providers.classify import api_key
from providers.errors import ProviderError, RequestRejected
from providers.exchange import Exchange, bought
from providers.hints import rate_hints
from providers.pool import Pool
from providers.profiles import profile
from providers.translation import foreign, foreign_reply, told, translated

if TYPE_CHECKING:
    import httpx2
    import openai
    from openai._types import RequestOptions

SPEC = Spec(
    kind="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    key_env=("OPENAI_API_KEY",),
    url_env=("OPENAI_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed"}),
    options={
        "detail": "how closely the model looks at the picture: low, high or auto",
        "reasoning_effort": "how much a reasoning model thinks first, such as minimal or low",
        "organization": "the organization that is billed",
        "project": "the project that is billed",
        "extra_body": "further fields of the request's body",
    },
    values={
        "detail": frozenset({"low", "high", "auto"}),
        "reasoning_effort": (str,),
        "organization": (str,),
        "project": (str,),
        "extra_body": (Mapping,),
    },
    note="Reasoning models take no temperature and no top_p.",
)
FLAVOUR = Flavour(
    SPEC, schema=dialects.openai_strict, strict=True, shows_schema=True, max_tokens="max_completion_tokens"
)

_CHAT = "/chat/completions"
_CONNECT_SECONDS = 10.0
# How long the usage and the end mark may take once the answer itself is whole.
_AFTERMATH_SECONDS = 1.0


class OpenAIClient(BaseClient):
    """One server that speaks Chat Completions. Holds no key: that comes with each call."""

    flavour = FLAVOUR

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Imports the SDK: not for the event loop. Raises ValueError for a base URL that is missing or none."""
        self.spec = self.flavour.spec
        self._options = config.options
        url = addresses.base_url(self.spec, config.base_url) or self.spec.base_url
        if not url:
            raise ValueError(f"{self.spec.title} needs a base_url.")
        self._base_url = url
        self._told_url = pool.told(url)
        self._sdk = _sdk(url, pool)

    async def complete(self, request: VisionRequest) -> Completion:
        """Ask once and wait for the whole answer."""
        asked = self._body(request)
        reply = await self._exchange(request, request.timeout).wait(self._fetch(request, _CHAT, asked))
        read, rate = self._read(reply.content, request), rate_hints(reply.headers)
        return chat.completion(read, request, self._warnings(request), self.spec.title, rate)

    @bought
    async def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Ask once and yield the text as it comes, then the Completion."""
        answer = chat.Answer(self.spec.title)
        async with aclosing(self._events(request, answer)) as events:
            async for event in events:
                text = answer.read(event, "delta")
                if text:
                    yield Delta(text)
        yield answer.completion(request, self._warnings(request))

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """List what the server serves."""
        request = VisionRequest(model="", prompt="", timeout=timeout, credentials=credentials, headers=headers)
        reply = await self._exchange(request, timeout).wait(self._fetch(request, "/models"))
        return chat.models(self._read(reply.content, request), self.spec.title)

    def profile(self, model: str) -> Profile:
        """What the model's family takes."""
        return profile(self.spec.kind, model)

    def written(self, request: VisionRequest) -> object:
        """The request's JSON."""
        return self._body(request)

    def _body(self, request: VisionRequest) -> JsonObject:
        for name, value in self._options.items():
            if not self.spec.fits(name, value):
                raise RequestRejected(f"The option {name} of {self.spec.title} has a value that it cannot have.")
        return chat.body(request, self.flavour, self.profile(request.model), self._options)

    def _warnings(self, request: VisionRequest) -> tuple[str, ...]:
        return chat.warnings(request, self.flavour, self.profile(request.model))

    async def _fetch(self, request: VisionRequest, path: str, asked: JsonObject | None = None) -> "httpx2.Response":
        import httpx2

        options = self._call(request)
        if asked is None:
            return await self._sdk.get(path, cast_to=httpx2.Response, options=options)
        content = chat.written(asked, request.image)
        return await self._sdk.post(path, cast_to=httpx2.Response, content=content, options=options)

    async def _open(self, request: VisionRequest, asked: JsonObject) -> "httpx2.Response":
        """The reply as it comes, and not the SDK's stream.

        That copies all it has of an event at each of its lines: a megabyte of short ones takes minutes of CPU
        (openai 3.3, `SSEDecoder`).
        """
        import httpx2
        from openai import AsyncStream

        opened: object = await self._sdk.post(
            _CHAT,
            cast_to=httpx2.Response,
            content=chat.written(chat.streamed(asked), request.image),
            options=self._call(request),
            stream=True,
            stream_cls=AsyncStream[object],
        )
        assert isinstance(opened, httpx2.Response)
        return opened

    async def _events(self, request: VisionRequest, answer: chat.Answer) -> AsyncGenerator[object]:
        """The stream's events within the call's time; what goes wrong once the answer is whole is let go."""
        import httpx2

        exchange = self._exchange(request, request.timeout)
        response = await exchange.wait(self._open(request, self._body(request)))
        answer.rate = rate_hints(response.headers)
        events = aiter(httpx2.EventSource(response))
        whole = False
        try:
            # Read to the end, the end mark's too: a reply that is left unread costs its connection.
            while sent := await exchange.wait(anext(events, None)):
                done = sent.data.startswith("[DONE]")
                if sent.data and not done:
                    yield self._read(sent.data, request)
                if not whole and (done or answer.finish):
                    whole = True
                    exchange = self._exchange(request, _AFTERMATH_SECONDS)
        except ProviderError:
            if not answer.finish:
                raise
        finally:
            await response.aclose()

    def _read(self, data: str | bytes, request: VisionRequest) -> object:
        """A reply or an event as JSON; an error in its place is raised."""
        try:
            reply = json.loads(data)
        except (ValueError, RecursionError):
            reply = None
        if reply is None:
            raise foreign_reply(self.spec)
        error = chat.error_in(reply)
        if error:
            raise told(error, self.spec, request)
        return reply

    def _exchange(self, request: VisionRequest, seconds: float) -> Exchange:
        return Exchange(seconds, foreign(), lambda error: translated(error, self.spec, self._told_url, request))

    def _call(self, request: VisionRequest) -> "RequestOptions":
        """One call's headers and time limits. Only headers named here leave: the SDK would add the environment's."""
        import httpx2
        from openai import Omit

        key = api_key(request.credentials, self.spec, self._base_url)
        unsaid = (*self._sdk.default_headers, "Authorization", "x-stainless-retry-count", "x-stainless-read-timeout")
        own = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "graphcap-bridge",
            "OpenAI-Organization": self._options.get("organization"),
            "OpenAI-Project": self._options.get("project"),
            **request.headers,
            "Authorization": f"Bearer {key}" if key else None,
        }
        said = {name: value for name, value in own.items() if value}
        return {
            "headers": {**dict.fromkeys(unsaid, Omit()), **said},
            # The Exchange keeps the time of the whole call: two limits of one length would race for how it ends.
            "timeout": httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        }


def _sdk(url: str, pool: Pool) -> "openai.AsyncOpenAI":
    """The SDK's client without a key. "" and not None: for None it reads OPENAI_API_KEY, OPENAI_ADMIN_KEY and so on."""
    import openai

    # At DEBUG it logs whole requests, prompt and picture included (measured with openai 3.3).
    log = logging.getLogger("openai")
    log.setLevel(max(log.level, logging.WARNING))
    return openai.AsyncOpenAI(
        api_key="",
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=url,
        max_retries=0,
        http_client=pool.httpx2_client,
    )

"""Client of OpenAI's Chat Completions API through the `openai` package. Gateways use it with other flavours.

The SDK builds the URL, applies the timeout and raises for error statuses. This module builds the headers and the body,
because the SDK would add values from the environment to both.
"""

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from providers import addresses, chat_completions, dialects
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
from providers.call import Call, api_key, foreign_reply, transport_error
from providers.chat_completions import Flavour
from providers.errors import ProviderError, UnparsableOutput
from providers.hints import rate_hints
from providers.http_errors import classify, error_in_200
from providers.pool import Pool

if TYPE_CHECKING:
    import httpx2
    import openai

COMMON_OPTIONS: Mapping[str, str] = {
    "detail": "resolution at which the model reads the image: low, high or auto",
    "reasoning_effort": "how much a reasoning model thinks first, such as minimal or low",
    "extra_body": "further fields of the request's body",
}
COMMON_VALUES: Mapping[str, tuple[type, ...] | frozenset[str]] = {
    "detail": frozenset({"low", "high", "auto"}),
    "reasoning_effort": (str,),
    "extra_body": (Mapping,),
}
SPEC = Spec(
    kind="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    key_env=("OPENAI_API_KEY",),
    url_env=("OPENAI_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed"}),
    options={
        **COMMON_OPTIONS,
        "organization": "the organization that is billed",
        "project": "the project that is billed",
    },
    values={**COMMON_VALUES, "organization": (str,), "project": (str,)},
    note="Reasoning models accept no temperature and no top_p.",
)
FLAVOUR = Flavour(
    SPEC, schema=dialects.openai_strict, strict=True, shows_schema=True, max_tokens="max_completion_tokens"
)

_CHAT = "/chat/completions"
_TRAILER_SECONDS = 1.0
"""Seconds to wait for the usage and the end mark after the finish reason."""


class OpenAIClient(BaseClient):
    """Client of one server that implements Chat Completions. The API key is part of each request, not stored here."""

    flavour = FLAVOUR

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Import the SDK, which is slow. Raises ValueError for a missing or invalid base URL."""
        self.spec = self.flavour.spec
        self._options = config.options
        self._pool = pool
        url = addresses.base_url(self.spec, config.base_url) or self.spec.base_url
        if not url:
            raise ValueError(f"{self.spec.title} needs a base_url.")
        self._base_url = url
        self._sdk = _sdk(url, pool.client)

    async def complete(self, request: VisionRequest) -> Completion:
        """Send one request and return the complete answer."""
        body = self._body(request)
        response = await self._call(request).wait(self._post(request, body))
        answer, rate = self._parse(response.content, request), rate_hints(response.headers)
        return chat_completions.completion(answer, request, self._warnings(request), self.spec.title, rate)

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the server's models over a new connection."""
        import httpx2

        sdk = _sdk(self._base_url, self._pool.fresh_client)
        listing = sdk.get("/models", cast_to=httpx2.Response, options=self._request_options(request))
        response = await self._call(request).wait(listing)
        return chat_completions.models(self._parse(response.content, request), self.spec.title)

    def written(self, request: VisionRequest) -> object:
        """Build the body of the provider request, with a placeholder for the image."""
        return self._body(request)

    def _body(self, request: VisionRequest) -> JsonObject:
        return chat_completions.request_body(request, self.flavour, self.profile(request.model), self._options)

    def _warnings(self, request: VisionRequest) -> tuple[str, ...]:
        return chat_completions.warnings(request, self.flavour, self.profile(request.model))

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the text as it arrives, then the Completion."""
        answer = chat_completions.Answer(self.spec.title, streamed=True)
        try:
            async with aclosing(self._events(request, answer)) as events:
                async for event in events:
                    yield Delta(answer.read(event, "delta"))
        except UnparsableOutput as error:
            error.raw_text = answer.text
            raise
        yield answer.completion(request.model, self._warnings(request))

    async def _post(self, request: VisionRequest, body: JsonObject, **streaming: Any) -> "httpx2.Response":
        import httpx2

        content = chat_completions.serialise(body, request.image)
        options = self._request_options(request)
        response: object = await self._sdk.post(
            _CHAT, cast_to=httpx2.Response, content=content, options=options, **streaming
        )
        assert isinstance(response, httpx2.Response)
        return response

    async def _events(self, request: VisionRequest, answer: chat_completions.Answer) -> AsyncGenerator[object]:
        """Yield the events of a stream. Failures after the finish reason are ignored because the answer is complete.

        The SDK's own stream is not used because `SSEDecoder` (openai 3.3) copies the lines of an event received so far
        each time another line arrives. An event of 1 MB in short lines takes minutes of CPU time.
        """
        import httpx2
        from openai import AsyncStream

        call = self._call(request)
        body = chat_completions.streamed(self._body(request), self.flavour)
        response = await call.wait(self._post(request, body, stream=True, stream_cls=AsyncStream[object]))
        answer.rate = rate_hints(response.headers)
        events = aiter(httpx2.EventSource(response))
        complete = False
        try:
            # Read to the end, including the end mark, because a connection with an unread response cannot be reused.
            while event := await call.wait(anext(events, None)):
                done = event.data.startswith("[DONE]")
                if event.data and not done:
                    yield self._parse(event.data, request)
                if not complete and (done or answer.finish):
                    complete = True
                    call = self._call(request, _TRAILER_SECONDS)
        except ProviderError:
            if not answer.finish:
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
            raise foreign_reply(self.spec.title)
        error = chat_completions.error_in(response)
        if error:
            raise error_in_200(error, self.spec, request)
        return response

    def _call(self, request: VisionRequest, seconds: float | None = None) -> Call:
        import httpx2
        import openai

        foreign = (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)
        return Call(seconds or request.timeout, foreign, lambda error: self._translate(error, request))

    def _translate(self, error: Exception, request: VisionRequest) -> ProviderError:
        import openai

        if isinstance(error, openai.APIStatusError):
            return classify(error.status_code, error.body, error.response.headers, self.spec, request)
        return transport_error(error, self.spec.title, self._pool.shown(self._base_url), request.timeout)

    def _request_options(self, request: VisionRequest) -> Any:
        """Build the headers and timeouts of one call. The SDK's default headers are omitted."""
        from openai import Omit

        from providers.transport import TIMEOUT

        key = api_key(request.credentials, self.spec, self._base_url)
        unwanted = (*self._sdk.default_headers, "Authorization", "x-stainless-retry-count", "x-stainless-read-timeout")
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "graphcap-bridge",
            "OpenAI-Organization": self._options.get("organization"),
            "OpenAI-Project": self._options.get("project"),
            **request.headers,
            "Authorization": f"Bearer {key}" if key else None,
        }
        sent = {name: value for name, value in headers.items() if value}
        return {"headers": {**dict.fromkeys(unwanted, Omit()), **sent}, "timeout": TIMEOUT}


def _sdk(url: str, client: "httpx2.AsyncClient") -> "openai.AsyncOpenAI":
    """Create the SDK's client with an empty key. For None the SDK would read OPENAI_API_KEY and other variables."""
    import openai

    # At level DEBUG the SDK logs complete requests, with prompt and image (measured with openai 3.3).
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
        http_client=client,
    )

"""The base class of the clients of model servers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from providers import errors
from providers.addresses import base_url
from providers.base import LADDER, Completion, Credentials, Delta, Model, ProviderConfig, Spec, VisionRequest
from providers.call import transport_error
from providers.errors import ProviderError
from providers.pool import Pool
from providers.profiles import Profile, profile
from providers.text import Answer

_RETRIED = (errors.Unreachable, errors.RateLimited, errors.Unavailable, errors.ServerFailed, errors.SchemaRejected)


class BaseClient(ABC):
    """Base class of all clients. Methods that call a server raise only ProviderErrors.

    `specs`: the kinds of provider that the class serves. `sdk`: the package that it imports, "" for none.
    """

    specs: tuple[Spec, ...]
    sdk = ""

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Check the configuration. Raises ValueError for a missing or invalid base URL."""
        self.spec = next(spec for spec in self.specs if spec.kind == config.kind)
        self._options = config.options
        self._pool = pool
        self._base_url = base_url(self.spec, config.base_url) or self.spec.base_url
        if self.spec.is_remote and not self._base_url:
            raise ValueError(f"{self.spec.title} needs a base_url.")

    @abstractmethod
    async def complete(self, request: VisionRequest) -> Completion:
        """Send one request and return the complete answer."""

    async def stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Send one request and yield the text as it arrives. The last item is a Completion if the answer is complete.

        An error after the first text has `begun` set. A temporary error becomes a BadReply then, because a retry would
        pay for the same text again.
        """
        begun = False
        try:
            async with aclosing(self._stream(request)) as chunks:
                async for chunk in chunks:
                    begun = begun or isinstance(chunk, Completion) or bool(chunk.text)
                    yield chunk
        except ProviderError as error:
            error.begun = begun
            if not begun or not isinstance(error, _RETRIED) or isinstance(error, errors.EngineFailed):
                raise
            message = f"{self.spec.title} failed in the middle of its answer."
            failure = errors.BadReply(message, status=error.status, usage=error.usage, rate=error.rate)
            failure.begun, failure.provider_message = True, error.provider_message
            raise failure from None

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[Model, ...]:
        """List the server's models over a new connection, because a pooled one may be stale. `timeout`: in seconds."""
        return await self._models(VisionRequest("", "", timeout, credentials=credentials, headers=headers or {}))

    @abstractmethod
    def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield the same items as `stream`, but raise errors unchanged."""

    @abstractmethod
    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the models. Only the key, the headers and the timeout of `request` are used."""

    async def is_loaded(self, model: str) -> bool:
        """Return False if a call is known to wait until the model is loaded."""
        return True

    async def load(self, model: str, timeout: float) -> None:  # noqa: B027 (only one client runs models)
        """Load the model within `timeout` seconds if this client runs the model itself."""

    def profile(self, model: str) -> Profile:
        """Return the properties of a model's family, without any I/O."""
        return profile(self.spec.kind, model)

    def lower(self, request: VisionRequest) -> VisionRequest | None:
        """Return the request in the next less strict output mode that changes its body, or None if there is none."""
        for mode in LADDER[LADDER.index(request.output_mode) + 1 :]:
            lowered = replace(request, output_mode=mode)
            if self.body(lowered) != self.body(request):
                return lowered
        return None

    def body(self, request: VisionRequest) -> Any:
        """Build the body of the provider request, with a placeholder for the image."""
        return request

    def _transport_error(self, error: Exception, request: VisionRequest) -> ProviderError:
        """Translate an exception of the connection, of a timeout or of a parser."""
        return transport_error(error, self.spec.title, self._pool.shown(self._base_url), request.timeout)


class ServerClient(BaseClient):
    """Base class of the clients that call a server through its SDK."""

    @abstractmethod
    def _answer(self, request: VisionRequest, *, streamed: bool) -> Answer:
        """Create the object that collects the answer."""

    @abstractmethod
    def _responses(self, request: VisionRequest, answer: Answer) -> AsyncGenerator[Any]:
        """Send the request, and yield the events of the stream, or the response if the answer is not streamed."""

    async def complete(self, request: VisionRequest) -> Completion:
        answer = self._answer(request, streamed=False)
        async with aclosing(self._responses(request, answer)) as responses:
            async for response in responses:
                answer.read(response)
        return answer.completion()

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        answer = self._answer(request, streamed=True)
        try:
            async with aclosing(self._responses(request, answer)) as events:
                async for event in events:
                    yield Delta(answer.read(event))
        except errors.UnparsableOutput as error:
            error.raw_text = str(answer)
            raise
        yield answer.completion()

"""Calls to providers: which endpoint, when, how often. Transport retries and failover, within a request's budget."""

import asyncio
import hmac
import random
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import cast

from bridge.config import BreakerSettings, Configured, EndpointSettings, ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.clients import Clients, OutputModes, schema_digest
from bridge.dispatch.endpoint import Admission, Clock, Endpoint, Result, outcome
from bridge.dispatch.lru import LruDict
from bridge.dispatch.queue import ProviderQueue, ProviderReport, Route
from bridge.dispatch.targets import Target
from bridge.errors import CircuitBreakerOpen, ProviderUnavailable, QueueFull
from bridge.network import AddressRefused
from bridge.run import Attempt, Reason, Run
from bridge.telemetry import tracing
from providers.base import (
    LADDER,
    NO_HEADERS,
    BaseClient,
    Check,
    Completion,
    Delta,
    Model,
    Profile,
    ProviderConfig,
    VisionRequest,
    lowest,
)
from providers.errors import (
    BadReply,
    CallTimeout,
    ProviderError,
    RateLimited,
    Refused,
    ResponseInterrupted,
    ServerFailed,
    Truncated,
    Unavailable,
    UnparsableOutput,
    Unreachable,
)
from providers.pool import Pool

Chunks = AsyncGenerator[Delta | Completion]
OTHER = "other"
MAX_CALLER_ADDRESSES = 1024
_RETRIES = 2
_FIRST_BACKOFF = 0.25
_TOO_LATE = 0.05  # seconds in which no call can finish
_PATIENCE = 10.0  # seconds after which a timeout is evidence against a server without a configured limit
_FAILOVER = (Unreachable, RateLimited, Unavailable, ServerFailed, CallTimeout, BadReply)
_ACCEPTED = (Completion, Truncated, Refused, UnparsableOutput, BadReply)
_NO_BREAKER = BreakerSettings(failures=2**31)


@dataclass(slots=True)
class _Retries:
    """The failures of one `call`: where, and how often the same endpoints were called again."""

    failed: list[Endpoint] = field(default_factory=list)
    error: ProviderError | None = None
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class _Timeouts:
    """Seconds of one provider call: `whole`, and `silence` (None: as long as `whole`) without any byte."""

    whole: float
    silence: float | None
    patient: bool


class Dispatcher:
    """Owns the provider clients, their connections, and the state of every endpoint."""

    def __init__(
        self,
        configured: Configured,
        *,
        configured_pool: Pool,
        caller_pool: Pool,
        max_queue: int,
        provider_timeout: float = 0,
        attempt_timeout: float = 0,
        default_model: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        """`configured_pool`: connections to configured addresses. `caller_pool`: to caller-supplied ones, checked.

        `max_queue`: calls that may wait for one provider. `provider_timeout`: seconds of one call, 0: what remains of
        the deadline. `attempt_timeout`: seconds without any byte while another endpoint or a fallback can be called,
        0: half of what remains. `default_model`: the model that the settings name.
        """
        self.configured = configured
        self._clients = Clients(configured_pool, caller_pool)
        self._modes = OutputModes(clock)
        self._max_queue = max_queue
        self._provider_timeout = provider_timeout
        self._attempt_timeout = attempt_timeout
        self._default_model = default_model
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._queues = {name: ProviderQueue(name, fleet, max_queue, clock) for name, fleet in configured.fleets.items()}
        self._caller_queues: LruDict[tuple[str, str, str], ProviderQueue] = LruDict(MAX_CALLER_ADDRESSES)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._clients.aclose()

    def queue(self, provider: str) -> ProviderQueue:
        """Return the endpoints and the queue of a configured provider."""
        return self._queues[provider]

    def report(self) -> list[ProviderReport]:
        """Return the state of every configured provider."""
        return [queue.report() for queue in self._queues.values()]

    async def profile(self, target: Target, run: Run | None = None) -> Profile:
        """Return what the target's model accepts. The first use of a kind of provider imports its SDK."""
        client = await self._clients.open(target.config, target.trusted, run)
        return client.profile(target.model)

    async def call(
        self, target: Target, request: VisionRequest, run: Run, *, reserve: int = 0, has_fallback: bool = False
    ) -> Chunks:
        """Yield the chunks of the model's answer; the last one is the Completion.

        Without `run.streaming` the Completion is all there is. Transport failures are retried, at another endpoint
        first, as long as nothing was yielded and `run.attempts.left` exceeds `reserve`, the calls left for fallbacks.
        `has_fallback`: another target is called when this one fails. Each provider call is recorded in `run.attempts`.
        Raises ProviderError, DeadlineExceeded and ProviderUnavailable.
        """
        route = self._route(target)
        retries = _Retries()
        while True:
            admission = await self._enter(route, run, retries)
            try:
                async with aclosing(
                    self._attempt(admission, route, target, request, run, retries, reserve, has_fallback)
                ) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except _FAILOVER as error:
                failure = error
            await self._before_retry(failure, admission.endpoint, request, route, run, retries, reserve)

    async def lower(self, target: Target, request: VisionRequest, run: Run) -> VisionRequest | None:
        """Return the request in the next less strict output mode than the last attempt's; None below the last."""
        client = await self._clients.open(target.config, target.trusted, run)
        mode = run.attempts.made[-1].output_mode if run.attempts.made else request.output_mode
        return client.lower(replace(request, output_mode=mode))

    async def list_models(
        self, target: Target, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """Return the models that the provider lists. Raises ProviderError."""
        route = self._route(target)
        endpoint = route.likeliest()
        client = await self._client_at(endpoint, target)
        return await client.models(route.credentials(endpoint), timeout, headers)

    async def probe(self, endpoint: Endpoint, timeout: float) -> None:
        """List the models of a configured endpoint. Raises ProviderError."""
        client = await self._clients.open(endpoint.config, trusted=True)
        await client.models(endpoint.credentials, timeout)

    async def check(self, target: Target, model: str, run: Run) -> AsyncIterator[tuple[str, Check]]:
        """Test the connection of each endpoint of a target: list models, then one completion when `model` is set.

        Yield the endpoint's name and what the test found. The completion waits for a slot, and is recorded in
        `run.attempts`, like any other call; the run's deadline bounds each endpoint's test.
        """
        for endpoint in self._route(target).endpoints:
            yield endpoint.name, await self.check_endpoint(endpoint, target, model, run)

    async def check_likeliest(self, target: Target, model: str, run: Run) -> Check:
        """Test the connection of the endpoint that is likeliest to respond."""
        return await self.check_endpoint(self._route(target).likeliest(), target, model, run)

    async def check_endpoint(self, endpoint: Endpoint, target: Target, model: str, run: Run) -> Check:
        """Test the connection of one endpoint."""
        client = await self._client_at(endpoint, target, run)
        route = replace(self._route(target), endpoints=(endpoint,))
        target = replace(target, model=model)

        async def complete(request: VisionRequest) -> Completion:
            return await self._complete_once(route, target, request, run)

        credentials = route.credentials(endpoint)
        return await client.check(credentials, run.deadline.seconds, model, run.trace_headers, complete)

    async def _complete_once(self, route: Route, target: Target, request: VisionRequest, run: Run) -> Completion:
        """Call one endpoint without a retry, even while its circuit breaker is open: the operator wants to know."""
        run = replace(run, deadline=Deadline(request.timeout), streaming=False)
        try:
            admission = await self._enter(route, run, _Retries())
        except CircuitBreakerOpen:
            admission = Admission.start(route.endpoints[0], route.key_id)
        except ProviderUnavailable as error:
            raise Unavailable(str(error), retry_after=error.retry_after) from None
        except DeadlineExceeded as error:
            raise CallTimeout(str(error)) from None
        chunks = self._attempt(admission, route, target, request, run, _Retries(), run.attempts.limit, False)
        async with aclosing(chunks):
            return cast("Completion", await anext(chunks))

    async def _client_at(self, endpoint: Endpoint, target: Target, run: Run | None = None) -> BaseClient:
        return await self._clients.open(_config(endpoint, target), target.trusted, run)

    def _route(self, target: Target) -> Route:
        """Return where a target's calls may go. A caller-supplied address has a queue of its own, for each key."""
        key_id = self._key_id(target.credentials.api_key) if target.own_key else ""
        queue = self._queues.get(target.provider)
        if queue is None:
            place = target.config.kind, target.config.base_url, key_id
            queue = self._caller_queues.get(place)
            if queue is None:
                fleet = ProviderSettings((EndpointSettings(target.netloc, target.config),), breaker=_NO_BREAKER)
                queue = self._caller_queues.set(place, ProviderQueue(target.label, fleet, self._max_queue, self._clock))
        endpoints = queue.endpoints
        if target.endpoint:
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint.name == target.endpoint)
        return Route(queue, endpoints, target.credentials if target.own_key else None, key_id)

    def _key_id(self, key: str) -> str:
        """Return an identifier of a caller's key that means nothing outside this process."""
        return hmac.digest(self._secret, key.encode(), "sha256").hex()

    async def _enter(self, route: Route, run: Run, retries: _Retries) -> Admission:
        """Wait for a slot. When there is none after a failed call, the failure is raised: it says more."""
        try:
            waiter = route.queue.join(route, run.caller, run.deadline, tuple(retries.failed))
            if isinstance(waiter, Admission):
                return waiter
            run.stage("queued")
            with run.timings.measure("queue"):
                return await route.queue.wait(waiter)
        except (CircuitBreakerOpen, QueueFull, RateLimited) as error:
            if retries.error is None:
                raise
            retries.error.retry_after = retries.error.retry_after or error.retry_after
            raise retries.error from None

    async def _attempt(
        self,
        admission: Admission,
        route: Route,
        target: Target,
        request: VisionRequest,
        run: Run,
        retries: _Retries,
        reserve: int,
        has_fallback: bool,
    ) -> Chunks:
        """Make one provider call at the admitted endpoint and record it."""
        endpoint = admission.endpoint
        config = _config(endpoint, target)
        result: Completion | ProviderError | None = None
        patient = True
        try:
            client = await self._clients.open(config, target.trusted, run)
            timeouts = self._timeouts(endpoint, route, run, retries, reserve, has_fallback)
            patient = timeouts.patient
            request = replace(
                request,
                timeout=timeouts.whole,
                credentials=route.credentials(endpoint),
                output_mode=lowest(request.output_mode, self._modes.first(config, request)),
            )
            attempt = self._begin(endpoint, config, target, request, run)
            async with aclosing(_recorded(client, request, attempt, run, timeouts)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        result = chunk
                    yield chunk
        except ProviderError as error:
            result = error
            raise
        finally:
            if isinstance(result, _ACCEPTED):
                self._remember(config, request, run)
            digests = _digests(request) if isinstance(result, ServerFailed) else (b"", b"")
            route.queue.end(admission, Result(result, patient, digests))

    def _timeouts(
        self, endpoint: Endpoint, route: Route, run: Run, retries: _Retries, reserve: int, has_fallback: bool
    ) -> _Timeouts:
        """Return the time limits of a call: while another one could follow, silence must not use up the deadline."""
        left = run.deadline.require("waiting for the model")
        limit = endpoint.settings.timeout or self._provider_timeout
        whole = min(left, limit or left)
        silence = None
        calls_left = run.attempts.left - 1
        elsewhere = calls_left > reserve and route.is_available([*retries.failed, endpoint])
        if elsewhere or (has_fallback and calls_left > 0):
            silence = self._attempt_timeout or left / 2
            if silence >= whole:
                silence = None
        patience = limit or self._attempt_timeout or _PATIENCE
        return _Timeouts(whole, silence, (silence or whole) >= min(patience, _PATIENCE))

    def _begin(
        self, endpoint: Endpoint, config: ProviderConfig, target: Target, request: VisionRequest, run: Run
    ) -> Attempt:
        provider, model = self._metric_names(target)
        attempt = Attempt(
            provider=target.label,
            endpoint=endpoint.name,
            model=request.model,
            output_mode=request.output_mode,
            reason=_reason(target, request, run),
            kind=config.kind,
            metric_provider=provider,
            metric_model=model,
            address=config.base_url,
            sent_bytes=len(request.image.data) if request.image and config.base_url else 0,
        )
        run.attempts.made.append(attempt)
        return attempt

    def _metric_names(self, target: Target) -> tuple[str, str]:
        """Return provider and model as bounded label values: kind and `other` where a caller chose the names."""
        config = self.configured.providers.get(target.provider)
        if config is None:
            return target.config.kind, OTHER
        fallbacks = (fallback for fleet in self.configured.fleets.values() for fallback in fleet.fallbacks)
        models = {fallback.model for fallback in fallbacks if fallback.provider == target.provider}
        models |= {config.default_model, *config.models, self._default_model}
        return target.provider, target.model if target.model in models else OTHER

    def _remember(self, config: ProviderConfig, request: VisionRequest, run: Run) -> None:
        """Remember a mode that the endpoint accepted after it had rejected a stricter one in this run."""
        rank, endpoint = LADDER.index(request.output_mode), run.attempts.made[-1].endpoint
        rejected = any(
            attempt.endpoint == endpoint and attempt.status and LADDER.index(attempt.output_mode) < rank
            for attempt in run.attempts.made[:-1]
            if attempt.outcome != "ok" and attempt.model == request.model
        )
        if rejected:
            self._modes.accepted(config, request)

    async def _before_retry(
        self,
        error: ProviderError,
        endpoint: Endpoint,
        request: VisionRequest,
        route: Route,
        run: Run,
        retries: _Retries,
        reserve: int,
    ) -> None:
        """Wait until the call may be retried, at another endpoint at once. Raise the error when it may not."""
        retries.error = error
        retries.failed.append(endpoint)
        # A refused address stays refused, and resolving it again would give DNS rebinding another chance.
        refused = isinstance(error.__cause__, AddressRefused)
        if refused or error.begun or run.attempts.left <= reserve or run.deadline.left() < _TOO_LATE:
            raise error
        wait = 0.0
        if not route.is_available(retries.failed):
            retries.repeats += 1
            wait = _backoff(error, retries.repeats)
            if retries.repeats > _retries(error) or wait >= run.deadline.left():
                raise error
            retries.failed.clear()
        run.reset("retry", error.message, error.message)
        if wait:
            await asyncio.sleep(wait)


def _config(endpoint: Endpoint, target: Target) -> ProviderConfig:
    """Return the endpoint's configuration, or the target's where the request brought the base URL."""
    return target.config if target.endpoint or not target.provider else endpoint.config


def _reason(target: Target, request: VisionRequest, run: Run) -> Reason:
    """Return why the next call follows the last one."""
    if not run.attempts.made:
        return ""
    last = run.attempts.made[-1]
    if (last.provider, last.model) != (target.label, target.model):
        return "fallback"
    if last.outcome == "ok":
        return "reask"
    return "retry" if last.output_mode == request.output_mode else "schema"


def _retries(error: ProviderError) -> int:
    """Return how often a call that failed so may be repeated at the same endpoint."""
    if isinstance(error, ServerFailed) and error.status == 500:
        return 0 if error.may_be_schema else 1
    if isinstance(error, BadReply):
        return 1 if isinstance(error, ResponseInterrupted) else 0
    return 0 if isinstance(error, CallTimeout) else _RETRIES


def _backoff(error: ProviderError, repeat: int) -> float:
    """Return the seconds before a repeat: the server's hint, else exponential with jitter. Pauses are for the queue."""
    if isinstance(error, RateLimited):
        return 0.0
    if error.retry_after:
        return error.retry_after
    return _FIRST_BACKOFF * float(2 ** (repeat - 1)) * random.uniform(0.8, 1.2)  # noqa: S311 (jitter, not a secret)


def _digests(request: VisionRequest) -> tuple[bytes, bytes]:
    image = sha256(request.image.data).digest() if request.image else b""
    return image, schema_digest(request).encode()


async def _recorded(
    client: BaseClient, request: VisionRequest, attempt: Attempt, run: Run, timeouts: _Timeouts
) -> Chunks:
    """Yield the chunks of one provider call; write its end into `attempt`, and its span."""
    start = time.perf_counter()
    with tracing.call_span(request, attempt, run) as headers:
        request = replace(request, headers={**request.headers, **headers})
        try:
            chunks = _stream(client, request, timeouts) if run.streaming else _complete(client, request, timeouts)
            async with aclosing(chunks):
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        attempt.outcome, attempt.usage, attempt.response_model = "ok", chunk.usage, chunk.model
                        attempt.seconds = time.perf_counter() - start
                        run.attempts.warn(*chunk.warnings)
                    yield chunk
        except ProviderError as error:
            attempt.outcome, attempt.usage, attempt.status = outcome(error), error.usage, error.status
            attempt.provider_message = error.provider_message
            raise
        finally:
            attempt.seconds = attempt.seconds or time.perf_counter() - start


async def _complete(client: BaseClient, request: VisionRequest, timeouts: _Timeouts) -> Chunks:
    yield await client.complete(replace(request, timeout=timeouts.silence or timeouts.whole))


async def _stream(client: BaseClient, request: VisionRequest, timeouts: _Timeouts) -> Chunks:
    """Yield the chunks of a streamed call. Raises CallTimeout when none comes for `timeouts.silence` seconds."""
    begun = False
    async with aclosing(cast("Chunks", client.stream(request))) as chunks:
        while True:
            try:
                async with asyncio.timeout(timeouts.silence):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                failure = CallTimeout(f"{client.spec.title} sent nothing for {timeouts.silence:.3g} seconds.")
                failure.begun = begun
                raise failure from None
            if chunk is None:
                raise BadReply(f"{client.spec.title} ended its answer before it was complete.")
            if isinstance(chunk, Completion) or chunk.text:
                begun = True
                yield chunk
            if isinstance(chunk, Completion):
                return

"""Calls to providers: the Dispatcher owns the clients, and the state of every endpoint."""

import hmac
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from typing import cast

from bridge.config import BreakerSettings, Configured, EndpointSettings, ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.attempt import Chunks, Timeouts, make_attempt
from bridge.dispatch.clients import Clients, OutputModes, schema_digest
from bridge.dispatch.endpoint import Admission, Clock, Endpoint, Result
from bridge.dispatch.lru import LruDict
from bridge.dispatch.queue import ProviderQueue, ProviderReport, Route
from bridge.dispatch.retry import FAILOVER_ERRORS, Retries
from bridge.dispatch.targets import Target
from bridge.errors import CircuitBreakerOpen, ProviderUnavailable
from bridge.run import Attempt, Run
from providers import checks
from providers.base import LADDER, NO_HEADERS, Completion, Model, ProviderConfig, VisionRequest, lowest
from providers.checks import Check
from providers.errors import (
    BadReply,
    CallTimeout,
    ProviderError,
    Refused,
    ServerFailed,
    Truncated,
    Unavailable,
    UnparsableOutput,
)
from providers.pool import Pool
from providers.profiles import Profile

OTHER = "other"
_MAX_CALLER_ADDRESSES = 1024
_ACCEPTED = (Completion, Truncated, Refused, UnparsableOutput, BadReply)
_NO_BREAKER = BreakerSettings(failures=2**31)


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
        self._queues = {
            name: ProviderQueue(name, settings, max_queue, clock) for name, settings in configured.fleets.items()
        }
        self._caller_queues: LruDict[tuple[str, str, str], ProviderQueue] = LruDict(_MAX_CALLER_ADDRESSES)

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
        retries = Retries(self._route(target), run, reserve, has_fallback)
        while True:
            admission = await retries.enter()
            try:
                async with aclosing(self._attempt(admission, target, request, retries)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except FAILOVER_ERRORS as error:
                failure = error
            await retries.wait(failure, admission.endpoint)

    async def lower(self, target: Target, request: VisionRequest, run: Run) -> VisionRequest | None:
        """Return the request in the next less strict output mode than the last attempt's; None below the last."""
        client = await self._clients.open(target.config, target.trusted, run)
        mode = run.attempts.made[-1].output_mode if run.attempts.made else request.output_mode
        return client.lower(replace(request, output_mode=mode))

    async def list_models(
        self, target: Target, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """Return the models that the provider lists, within `timeout` seconds. Raises ProviderError."""
        route = self._route(target)
        endpoint = route.likeliest()
        client = await self._clients.open(_config(endpoint, target), target.trusted)
        return await client.models(route.credentials(endpoint), timeout, headers)

    async def probe(self, endpoint: Endpoint, timeout: float) -> None:
        """List the models of a configured endpoint. Raises ProviderError."""
        client = await self._clients.open(endpoint.config, trusted=True)
        await client.models(endpoint.credentials, timeout)

    async def check(self, target: Target, model: str, run: Run) -> AsyncIterator[tuple[str, Check]]:
        """Test the connection of each endpoint of a target, and yield its name with what the test found.

        A test lists the models and makes one completion when `model` is set. The completion waits for a slot, and is
        recorded in `run.attempts`, like any other call. The run's deadline bounds each test.
        """
        for endpoint in self._route(target).endpoints:
            yield endpoint.name, await self._check(endpoint, target, model, run)

    async def check_likeliest(self, target: Target, model: str, run: Run) -> Check:
        """Test the connection of the endpoint that is likeliest to respond."""
        return await self._check(self._route(target).likeliest(), target, model, run)

    async def _check(self, endpoint: Endpoint, target: Target, model: str, run: Run) -> Check:
        client = await self._clients.open(_config(endpoint, target), target.trusted, run)
        retries = Retries(replace(self._route(target), endpoints=(endpoint,)), replace(run, streaming=False))
        retries.run.deadline = Deadline(run.deadline.seconds)
        credentials = retries.route.credentials(endpoint)
        listing = await checks.list_models(client, credentials, run.deadline.seconds, run.trace_headers)
        if not model or listing.is_final:
            return checks.judge(client, listing)
        request = checks.make_request(client, model, retries.run.deadline.left(), credentials)
        while True:
            outcome = await self._complete_once(replace(target, model=model), request, retries)
            lowered = checks.simpler(client, request, outcome) if isinstance(outcome, ProviderError) else None
            if lowered is None:
                return checks.judge(client, listing, request, outcome)
            request = lowered

    async def _complete_once(
        self, target: Target, request: VisionRequest, retries: Retries
    ) -> Completion | ProviderError:
        """Call one endpoint without a retry, even while its circuit breaker is open: the operator wants to know."""
        try:
            try:
                admission = await retries.enter()
            except CircuitBreakerOpen:
                admission = Admission.start(retries.route.endpoints[0], retries.route.key_id)
            async with aclosing(self._attempt(admission, target, request, retries)) as chunks:
                return cast("Completion", await anext(chunks))
        except ProviderError as error:
            return error
        except ProviderUnavailable as error:
            return Unavailable(str(error), retry_after=error.retry_after)
        except DeadlineExceeded as error:
            return CallTimeout(str(error))

    def _route(self, target: Target) -> Route:
        """Return the endpoints of a target. A caller-supplied address has its own queue for each key."""
        key_id = self._key_id(target.credentials.api_key) if target.own_key else ""
        queue = self._queues[target.provider] if target.provider else self._caller_queue(target, key_id)
        endpoints = queue.endpoints
        if target.endpoint:
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint.name == target.endpoint)
        return Route(queue, endpoints, target.credentials if target.own_key else None, key_id)

    def _caller_queue(self, target: Target, key_id: str) -> ProviderQueue:
        place = target.config.kind, target.config.base_url, key_id
        queue = self._caller_queues.get(place)
        if queue is None:
            settings = ProviderSettings((EndpointSettings(target.netloc, target.config),), breaker=_NO_BREAKER)
            queue = ProviderQueue(target.label, settings, self._max_queue, self._clock)
            self._caller_queues.set(place, queue)
        return queue

    def _key_id(self, key: str) -> str:
        """Return an identifier of a caller's key that means nothing outside this process."""
        return hmac.digest(self._secret, key.encode(), "sha256").hex()

    async def _attempt(self, admission: Admission, target: Target, request: VisionRequest, retries: Retries) -> Chunks:
        """Make one provider call at the admitted endpoint, and update the endpoint's state."""
        endpoint, route, run = admission.endpoint, retries.route, retries.run
        config = _config(endpoint, target)
        result: Completion | ProviderError | None = None
        timeouts = Timeouts(0)
        try:
            client = await self._clients.open(config, target.trusted, run)
            timeouts = self._timeouts(endpoint, retries)
            request = replace(
                request,
                credentials=route.credentials(endpoint),
                output_mode=lowest(request.output_mode, self._modes.first(config.kind, config.base_url, request)),
            )
            attempt = self._new_attempt(endpoint, config, target, request, retries)
            async with aclosing(make_attempt(client, request, attempt, run, timeouts)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        result = chunk
                    yield chunk
        except ProviderError as error:
            result = error
            raise
        finally:
            if isinstance(result, _ACCEPTED):
                self._remember_mode(config, request, run)
            digests = _digests(request) if isinstance(result, ServerFailed) else (b"", b"")
            route.queue.end(admission, Result(result, timeouts.patient, digests))

    def _timeouts(self, endpoint: Endpoint, retries: Retries) -> Timeouts:
        """Return the time limits of a call: while another one could follow, silence must not use up the deadline."""
        left = retries.run.deadline.require("waiting for the model")
        limit = endpoint.settings.timeout or self._provider_timeout
        whole = min(left, limit or left)
        if not retries.has_alternative(endpoint):
            return Timeouts(whole, None, limit)
        configured = endpoint.settings.attempt_timeout or self._attempt_timeout
        return Timeouts(whole, min(configured or left / 2, whole), configured or limit)

    def _new_attempt(
        self, endpoint: Endpoint, config: ProviderConfig, target: Target, request: VisionRequest, retries: Retries
    ) -> Attempt:
        provider, model = self._metric_names(target)
        return Attempt(
            provider=target.label,
            endpoint=endpoint.name,
            model=request.model,
            output_mode=request.output_mode,
            reason=retries.reason(target.label, request.model, request.output_mode),
            kind=config.kind,
            metric_provider=provider,
            metric_model=model,
            address=config.base_url,
            sent_bytes=len(request.image.data) if request.image and config.base_url else 0,
        )

    def _metric_names(self, target: Target) -> tuple[str, str]:
        """Return provider and model as bounded label values: kind and `other` where a caller chose the names."""
        config = self.configured.providers.get(target.provider)
        if config is None:
            return target.config.kind, OTHER
        fallbacks = (fallback for settings in self.configured.fleets.values() for fallback in settings.fallbacks)
        models = {fallback.model for fallback in fallbacks if fallback.provider == target.provider}
        models |= {config.default_model, *config.models, self._default_model}
        return target.provider, target.model if target.model in models else OTHER

    def _remember_mode(self, config: ProviderConfig, request: VisionRequest, run: Run) -> None:
        """Remember the accepted output mode for every endpoint that rejected a stricter one in this run.

        An unexplained 500 counts as a rejection where the same endpoint accepted the less strict mode.
        """
        rank = LADDER.index(request.output_mode)
        for attempt in run.attempts.made:
            failed = attempt.status == 500 and attempt.address == config.base_url
            rejected = attempt.outcome == "schema_rejected" or failed
            if rejected and attempt.model == request.model and LADDER.index(attempt.output_mode) < rank:
                self._modes.remember(attempt.kind, attempt.address, request)


def _config(endpoint: Endpoint, target: Target) -> ProviderConfig:
    """Return the endpoint's configuration, or the target's where the request brought the base URL."""
    return target.config if target.endpoint or not target.provider else endpoint.config


def _digests(request: VisionRequest) -> tuple[bytes, bytes]:
    image = sha256(request.image.data).digest() if request.image else b""
    return image, schema_digest(request).encode()

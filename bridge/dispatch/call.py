"""Calls to providers. The Dispatcher owns the clients and the state of every endpoint."""

import hmac
import secrets
import time
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from bridge.config.models import BreakerSettings, Configured, EndpointSettings, ProviderSettings
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.attempts import FAILOVER_ERRORS, Chunks, Retries, Timeouts, make_attempt
from bridge.dispatch.clients import Clients, OutputModes
from bridge.dispatch.endpoint import Admission, Clock, Endpoint
from bridge.dispatch.queue import ProviderQueue, Route
from bridge.dispatch.targets import Target
from bridge.errors import CircuitBreakerOpen, ProviderUnavailable
from bridge.run import INVALID_ANSWER, Attempt, Reason, Run
from bridge.settings import Settings
from providers import checks, errors
from providers.base import Completion, Model, ProviderConfig, VisionRequest, lowest
from providers.checks import Check
from providers.errors import ProviderError
from providers.pool import Pool
from providers.profiles import Profile

_MAX_CALLER_ADDRESSES = 1024
_HINT_SECONDS = 2.0
_ACCEPTED = (Completion, errors.Truncated, errors.Refused, errors.UnparsableOutput, errors.BadReply)
_ANSWERED = ("ok", INVALID_ANSWER, "unparsable_output")
_NO_BREAKER = BreakerSettings(failures=0)


class Dispatcher:
    """Owns the provider clients, their connections, and the state of every endpoint."""

    def __init__(
        self,
        configured: Configured,
        settings: Settings,
        *,
        configured_pool: Pool,
        caller_pool: Pool,
        max_concurrency: int | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Create the queues of the configured providers.

        `caller_pool`: connections to addresses that callers supply, which are checked on connecting.
        `max_concurrency`: the most concurrent calls to one server. `clock`: returns the time in seconds.
        """
        self._settings = settings
        self._max_concurrency = max_concurrency
        self._clock = clock
        self.queues = {name: self._queue(name, provider) for name, provider in configured.fleets.items()}
        self._caller_queue = lru_cache(_MAX_CALLER_ADDRESSES)(self._new_caller_queue)
        self._clients = Clients(configured_pool, caller_pool)
        self._modes = {trusted: OutputModes(clock) for trusted in (True, False)}  # callers' addresses have their own
        self._known_models = _known_models(configured, settings.model)
        self._secret = secrets.token_bytes(32)

    async def aclose(self) -> None:
        await self._clients.aclose()

    async def profile(self, target: Target, run: Run | None = None) -> Profile:
        """Return the profile of the target's model. The first use of a kind of provider imports its SDK."""
        client = await self._clients.open(target.config, target.trusted, run)
        return client.profile(target.model)

    async def call(self, target: Target, request: VisionRequest, run: Run) -> Chunks:
        """Call the target and yield the chunks of the model's answer; the last chunk is the Completion.

        If `run.streaming` is false, only the Completion is yielded. A call that fails before anything was yielded is
        retried, if possible at another endpoint, while `run.attempts` allows it. Each provider call is recorded there.
        Raises ProviderError, DeadlineExceeded and ProviderUnavailable.
        """
        limits = self._settings.provider_timeout, self._settings.attempt_timeout
        retries = Retries(self._route(target), run, self._modes[target.trusted], *limits)
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
        """Return the request in the next output mode that is less strict than the last attempt's, or None."""
        client = await self._clients.open(target.config, target.trusted, run)
        return client.lower(replace(request, output_mode=run.attempts.calls[-1].output_mode))

    def without_keys(self, target: Target, text: str) -> str:
        """Mask the keys of the target's endpoints in an answer. A server may repeat the headers of its request."""
        route = self._route(target)
        for key in {route.credentials(endpoint).api_key for endpoint in route.endpoints} - {""}:
            text = text.replace(key, "[key]")
        return text

    async def list_models(self, target: Target, run: Run) -> tuple[Model, ...]:
        """Return the models that the provider lists. Raises ProviderError or DeadlineExceeded."""
        route = self._route(target)
        endpoint = route.likeliest()
        client = await self._clients.open(_config(endpoint, target), target.trusted, run)
        return await client.models(route.credentials(endpoint), run.deadline.left(), run.trace_headers)

    async def known_models(self, target: Target) -> tuple[str, ...]:
        """Return the names of the provider's models for an error message, or () if it is busy or does not respond."""
        route = self._route(target)
        if (admission := route.queue.try_enter(route)) is None:
            return ()
        try:
            client = await self._clients.open(_config(admission.endpoint, target), target.trusted)
            models = await client.models(route.credentials(admission.endpoint), _HINT_SECONDS)
        except ProviderError:
            return ()
        finally:
            admission.end(None)
            route.queue.advance()
        return tuple(model.id for model in models)

    async def probe(self, endpoint: Endpoint, timeout: float) -> None:
        """Check that a configured endpoint responds, by listing its models. Raises ProviderError."""
        client = await self._clients.open(endpoint.config, trusted=True)
        await client.models(endpoint.credentials, timeout)

    async def check(self, target: Target, model: str, run: Run, *, every_endpoint: bool = False) -> dict[str, Check]:
        """Test the connection to one endpoint or all endpoints of a target. Return the results by endpoint name."""
        route = self._route(target)
        endpoints = route.endpoints if every_endpoint else (route.likeliest(),)
        return {endpoint.name: await self._check(endpoint, target, model, run) for endpoint in endpoints}

    async def _check(self, endpoint: Endpoint, target: Target, model: str, run: Run) -> Check:
        run = replace(run, streaming=False, deadline=Deadline(run.deadline.seconds))
        route = replace(self._route(target), endpoints=(endpoint,))
        client = await self._clients.open(_config(endpoint, target), target.trusted, run)
        credentials, seconds = route.credentials(endpoint), run.deadline.seconds

        async def send(request: VisionRequest) -> Completion | ProviderError:
            return await self._complete_once(replace(target, model=model), request, Retries(route, run))

        show = run.provider_messages == "show"
        return await checks.check(
            client, model, credentials, seconds, send, run.trace_headers, show_provider_messages=show
        )

    async def _complete_once(
        self, target: Target, request: VisionRequest, retries: Retries
    ) -> Completion | ProviderError:
        """Call one endpoint once, even if its circuit breaker is open. Return errors instead of raising them."""
        try:
            try:
                admission = await retries.enter()
            except CircuitBreakerOpen:
                admission = retries.route.endpoints[0].start(retries.route.key_id)
            async with aclosing(self._attempt(admission, target, request, retries)) as chunks:
                return cast("Completion", await anext(chunks))
        except ProviderError as error:
            return error
        except ProviderUnavailable as error:
            return errors.Unavailable(str(error), retry_after=error.retry_after)
        except DeadlineExceeded as error:
            return errors.CallTimeout(str(error))

    def _route(self, target: Target) -> Route:
        """Return the endpoints of a target.

        If the caller sent a key, also return the key, and an HMAC of the key under which its limits are kept.
        """
        config = target.config
        queue = self.queues.get(target.provider) or self._caller_queue(config.kind, config.base_url)
        endpoints = queue.endpoints
        if target.endpoint:
            endpoints = tuple(endpoint for endpoint in endpoints if endpoint.name == target.endpoint)
        if not target.own_key:
            return Route(queue, endpoints)
        key_id = hmac.digest(self._secret, target.credentials.api_key.encode("utf-8", "surrogatepass"), "sha256").hex()
        return Route(queue, endpoints, target.credentials, key_id)

    def _new_caller_queue(self, kind: str, base_url: str) -> ProviderQueue:
        """Create the queue of a caller-supplied address, with limits for each key but no circuit breaker."""
        endpoint = EndpointSettings(urlsplit(base_url).netloc, ProviderConfig("", kind, base_url))
        return self._queue("", ProviderSettings((endpoint,), breaker=_NO_BREAKER))

    def _queue(self, name: str, provider: ProviderSettings) -> ProviderQueue:
        return ProviderQueue(name, provider.limited(self._max_concurrency), self._settings.max_queue, self._clock)

    async def _attempt(self, admission: Admission, target: Target, request: VisionRequest, retries: Retries) -> Chunks:
        """Make one provider call at the admitted endpoint, and update the endpoint's state."""
        endpoint, route, run = admission.endpoint, retries.route, retries.run
        config = _config(endpoint, target)
        result: Completion | ProviderError | None = None
        timeouts = Timeouts()
        try:
            client = await self._clients.open(config, target.trusted, run)
            timeouts = retries.timeouts(endpoint)
            request = replace(request, credentials=route.credentials(endpoint))
            if retries.modes is not None:
                first_mode = retries.modes.first(config.kind, config.base_url, request)
                request = replace(request, output_mode=lowest(request.output_mode, first_mode))
            attempt = self._new_attempt(endpoint, config, target, request, run)
            async with aclosing(make_attempt(client, request, attempt, run, timeouts)) as chunks:
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        result = chunk
                    yield chunk
        except ProviderError as error:
            result = error
            raise
        finally:
            if retries.modes is not None and isinstance(result, _ACCEPTED):
                _remember_mode(retries.modes, request, run)
            admission.end(result, request, patient=timeouts.patient)
            route.queue.advance()

    def _new_attempt(
        self, endpoint: Endpoint, config: ProviderConfig, target: Target, request: VisionRequest, run: Run
    ) -> Attempt:
        """Create the record of a call. In metrics, names that callers supply are replaced by fixed words."""
        is_known = target.model in self._known_models.get(target.provider, ())
        return Attempt(
            provider=target.label,
            endpoint=endpoint.name,
            model=request.model,
            output_mode=request.output_mode,
            reason=_reason(run, target.label, request),
            kind=config.kind,
            metric_provider=target.provider or config.kind,
            metric_model=target.model if is_known else "other",
            address=config.base_url,
            sent_bytes=len(request.image.data) if request.image and config.base_url else 0,
        )


def _config(endpoint: Endpoint, target: Target) -> ProviderConfig:
    """Return the configuration for the call. A request may give another path at the configured origin."""
    return target.config if target.endpoint else endpoint.config


def _remember_mode(modes: OutputModes, request: VisionRequest, run: Run) -> None:
    """Remember the accepted output mode for each endpoint that rejected the schema in this run."""
    for attempt in run.attempts.calls:
        if attempt.outcome == "schema_rejected" and attempt.model == request.model:
            modes.remember(attempt.kind, attempt.address, request)


def _known_models(configured: Configured, default_model: str) -> dict[str, set[str]]:
    known = {
        name: {default_model, config.default_model, *config.models} for name, config in configured.providers.items()
    }
    for settings in configured.fleets.values():
        for fallback in settings.fallbacks:
            known[fallback.provider].add(fallback.model or "")
    return known


def _reason(run: Run, label: str, request: VisionRequest) -> Reason:
    """Return the reason for the next call of the run, "" for the first one."""
    if not run.attempts.calls:
        return "fallback" if run.is_fallback else ""
    last = run.attempts.calls[-1]
    if (last.provider, last.model) != (label, request.model):
        return "fallback"
    if last.outcome in _ANSWERED:
        return "reask"
    return "retry" if last.output_mode == request.output_mode else "schema"

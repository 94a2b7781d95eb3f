"""Health probes: list the models of each endpoint. One that does not respond gets no calls until a probe succeeds."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.dispatch.call import Dispatcher
from bridge.dispatch.endpoint import Endpoint, outcome, verdict
from bridge.dispatch.queue import ProviderQueue
from providers.addresses import shown
from providers.errors import ProviderError

log = logging.getLogger("graphcap")
MIN_TIMEOUT, MAX_TIMEOUT = 1.0, 5.0  # of a probe, in seconds; between them it is the endpoint's interval
RETURN_INTERVAL = 5.0  # maximum seconds between probes of an endpoint that is down


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The last probe of an endpoint. `error` is "" if the probe succeeded. `down`: the endpoint gets no calls."""

    checked_at: str = ""
    error: str = ""
    down: bool = False


class Probes:
    """Probes endpoints and stores the last result of each."""

    def __init__(self, dispatcher: Dispatcher, providers: tuple[str, ...]) -> None:
        """`providers`: the names of the configured providers to probe."""
        self._dispatcher = dispatcher
        self._queues = tuple(dispatcher.queues[name] for name in providers)
        self._results: dict[Endpoint, ProbeResult] = {}

    async def run(self) -> None:
        """Probe every endpoint immediately, then at its interval, until this task is cancelled."""
        endpoints = [(queue, endpoint) for queue in self._queues for endpoint in queue.endpoints]
        await asyncio.gather(*(self._watch(*pair) for pair in endpoints if pair[1].settings.probe_interval))

    def report(self) -> list[dict[str, Any]]:
        """Return one entry per provider. `status`: "up" if any endpoint is up, "down", or "unknown" if not probed."""
        return [self._provider(queue) for queue in self._queues]

    def _provider(self, queue: ProviderQueue) -> dict[str, Any]:
        endpoints = [self._endpoint(endpoint) for endpoint in queue.endpoints]
        endpoints += [{"name": name, "status": "disabled"} for name in queue.disabled]
        states = [endpoint["status"] for endpoint in endpoints]
        status = next((state for state in ("up", "down") if state in states), "unknown")
        decisive = next((endpoint for endpoint in endpoints if endpoint["status"] == status), endpoints[0])
        return {
            "name": queue.name,
            "kind": queue.endpoints[0].config.kind,
            "status": status,
            **{key: decisive[key] for key in ("checked_at", "error") if key in decisive},
            "queued": queue.queued,
            "endpoints": endpoints,
        }

    def _endpoint(self, endpoint: Endpoint) -> dict[str, Any]:
        entry = {"name": endpoint.name, "breaker": endpoint.breaker.state}
        result = self._results.get(endpoint)
        if result is None:  # the built-in provider runs in this process and needs no probe
            return {**entry, "status": "up" if endpoint.config.kind == "builtin" else "unknown"}
        error = {"error": result.error} if result.error else {}
        return {**entry, "status": "down" if error else "up", "checked_at": result.checked_at, **error}

    async def _watch(self, queue: ProviderQueue, endpoint: Endpoint) -> None:
        interval = endpoint.settings.probe_interval
        while True:
            try:
                await self._probe(queue, endpoint)
            except Exception:
                log.exception("bug in a probe")
            result = self._results.get(endpoint)
            await asyncio.sleep(interval if result and not result.error else min(interval, RETURN_INTERVAL))

    async def _probe(self, queue: ProviderQueue, endpoint: Endpoint) -> None:
        before = self._results.get(endpoint, ProbeResult())
        checked_at, since = datetime.now(UTC).isoformat(timespec="seconds"), queue.clock()
        down, responds, name = False, True, ""
        try:
            await self._dispatcher.probe(endpoint, min(max(endpoint.settings.probe_interval, MIN_TIMEOUT), MAX_TIMEOUT))
        except ProviderError as error:
            name = outcome(error)
            if before.error != name:
                # The message may contain an internal address, so it is logged and not shown by /health.
                where = endpoint.name, queue.name, shown(endpoint.config.base_url)
                log.warning("probe of endpoint %s of provider %s at %s: %s", *where, error.message)
            responds = verdict(error, patient=True) != "down"
        if responds:
            endpoint.breaker.probe_succeeded()
        else:
            down = endpoint.breaker.probe_failed(since)
        if down != before.down:
            change = "does not respond to probes and gets no calls" if down else "responds to probes again"
            log.warning("endpoint %s of provider %s %s", endpoint.name, queue.name, change)
        self._results[endpoint] = ProbeResult(checked_at, name, down)
        queue.advance()

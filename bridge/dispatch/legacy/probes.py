"""Whether endpoints answer, those of `providers.toml` asked in the background, by the protocol's free route.

What a probe finds also steers the traffic: a dead endpoint gets no call until a probe finds it alive.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bridge.dispatch.legacy.endpoint import Endpoint, outcome, verdict
from bridge.dispatch.legacy.endpoints import Endpoints
from providers.addresses import shown
from providers.base import BaseClient
from providers.errors import ProviderError

log = logging.getLogger("graphcap")
SHORTEST, LONGEST = 1.0, 5.0
"""Seconds that a probe waits for its answer; between them, as long as its endpoint's interval."""
RETURN_INTERVAL = 5.0
"""A dead endpoint is asked this often at least: what came back should not wait long for its traffic."""


def _unasked(endpoint: Endpoint) -> str:
    """What is known of an endpoint that was not probed: one in this process is there."""
    return "up" if endpoint.config.kind == "builtin" else "unknown"


@dataclass
class Probes:
    """The last finding per endpoint; lost at a restart without anyone noticing.

    `client` opens an endpoint's client, off the event loop when its SDK is cold.
    """

    providers: tuple[Endpoints, ...]
    client: Callable[[Endpoint], Awaitable[BaseClient]]
    found: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    dead: set[tuple[str, str]] = field(default_factory=set)

    async def run(self) -> None:
        """Probe every endpoint now and then at its interval, until cancelled."""
        watched = ((provider, one) for provider in self.providers for one in provider.all)
        await asyncio.gather(*(self._watch(*pair) for pair in watched if pair[1].settings.probe_interval))

    def report(self) -> list[dict[str, Any]]:
        """One entry a provider; `status` is up (one endpoint is enough), down or unknown (not asked yet)."""
        return [self._told(one) for one in self.providers]

    def _told(self, provider: Endpoints) -> dict[str, Any]:
        endpoints: list[dict[str, Any]] = [
            {
                "name": one.name,
                "breaker": one.breaker.state,
                **self.found.get((provider.name, one.name), {"status": _unasked(one)}),
            }
            for one in provider.all
        ]
        endpoints += [{"name": name, "status": "disabled"} for name in provider.disabled]
        states = [one["status"] for one in endpoints]
        status = next((state for state in ("up", "down") if state in states), "unknown")
        telling = next((one for one in endpoints if one["status"] == status), endpoints[0])
        last: dict[str, Any] = {key: telling[key] for key in ("checked_at", "error") if key in telling}
        kind = provider.all[0].config.kind
        queued = provider.report().queued
        return {"name": provider.name, "kind": kind, "status": status, **last, "queued": queued, "endpoints": endpoints}

    async def _watch(self, provider: Endpoints, endpoint: Endpoint) -> None:
        while True:
            (end,) = await asyncio.gather(self._probe(provider, endpoint), return_exceptions=True)
            if isinstance(end, Exception):
                log.error("bug in a probe", exc_info=end)
            await asyncio.sleep(self._interval(provider, endpoint))

    def _interval(self, provider: Endpoints, endpoint: Endpoint) -> float:
        interval = endpoint.settings.probe_interval
        is_up = self.found.get((provider.name, endpoint.name), {}).get("status") == "up"
        return interval if is_up else min(interval, RETURN_INTERVAL)

    async def _probe(self, provider: Endpoints, endpoint: Endpoint) -> None:
        when, since = datetime.now(UTC).isoformat(timespec="seconds"), provider.clock()
        place = provider.name, endpoint.name
        try:
            timeout = min(max(endpoint.settings.probe_interval, SHORTEST), LONGEST)
            await (await self.client(endpoint)).models(endpoint.credentials, timeout)
        except ProviderError as error:
            found = outcome(error)
            if self.found.get(place, {}).get("error") != found:
                where = endpoint.name, provider.name, shown(endpoint.config.base_url)
                log.warning("probe of endpoint %s of provider %s at %s: %s", *where, error.message)
            # Everybody may read /health, and the sentence may name an inner address: that is for the log.
            self.found[place] = {"status": "down", "checked_at": when, "error": found}
            _, dead = verdict(error, patient=True)
        else:
            self.found[place] = {"status": "up", "checked_at": when}
            dead = False
        self._steer(provider, endpoint, dead=dead, since=since)

    def _steer(self, provider: Endpoints, endpoint: Endpoint, *, dead: bool, since: float) -> None:
        """Take it out of the traffic, or let it try again. One that answers with an error is not dead."""
        place = provider.name, endpoint.name
        if dead and not endpoint.breaker.probe_failed(since, self._interval(provider, endpoint)):
            return  # a call was answered meanwhile
        if dead != (place in self.dead):
            found = "does not answer its probe, and gets no calls until it does" if dead else "answers its probe again"
            log.warning("endpoint %s of provider %s %s", endpoint.name, provider.name, found)
        if dead:
            self.dead.add(place)
        else:
            self.dead.discard(place)
            endpoint.breaker.probe_answered()
        provider.advance(everybody=True)

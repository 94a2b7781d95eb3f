"""Whether the providers of `providers.toml` answer: asked in the background, by the protocol's free route."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from providers.base import BaseClient, Credentials
from providers.errors import ProviderError

log = logging.getLogger("graphcap")
INTERVAL = 30.0
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Who is asked. `client` opens the client, off the event loop when its SDK is cold."""

    name: str
    kind: str
    client: Callable[[], Awaitable[BaseClient]]
    credentials: Credentials


@dataclass
class Probes:
    """The last finding per provider; lost at a restart without anyone noticing."""

    probes: tuple[Probe, ...]
    interval: float = INTERVAL
    found: dict[str, dict[str, str]] = field(default_factory=dict)

    async def run(self) -> None:
        """Probe every provider now and then every `interval` seconds, until cancelled."""
        while self.probes:
            for end in await asyncio.gather(*(self._probe(one) for one in self.probes), return_exceptions=True):
                if isinstance(end, Exception):
                    log.error("bug in a probe", exc_info=end)
            await asyncio.sleep(self.interval)

    def report(self) -> list[dict[str, str]]:
        """One entry a provider; `status` is up, down or unknown (not asked yet)."""
        return [
            {"name": one.name, "kind": one.kind, **self.found.get(one.name, {"status": "unknown"})}
            for one in self.probes
        ]

    async def _probe(self, probe: Probe) -> None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            await (await probe.client()).models(probe.credentials, TIMEOUT)
        except ProviderError as error:
            self.found[probe.name] = {"status": "down", "checked_at": when, "error": error.message}
        else:
            self.found[probe.name] = {"status": "up", "checked_at": when}

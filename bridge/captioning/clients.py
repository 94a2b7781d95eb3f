"""The clients of model servers: one for each address, and the output mode that last worked there."""

import asyncio
import time
from collections import OrderedDict
from typing import TypeVar

from bridge.dispatch.legacy.endpoint import Endpoint
from bridge.dispatch.targets import Target
from providers import factory
from providers.base import BaseClient, OutputMode, ProviderConfig
from providers.pool import Pool

K = TypeVar("K")
V = TypeVar("V")
_REMEMBERED = 512
_REMEMBERED_SECONDS = 600.0  # then the best mode is tried again: one odd schema must not cost everybody for ever
_FIRST: tuple[OutputMode, float] = ("json_schema", float("-inf"))


class Clients:
    """One client per address, without its key, and the output mode that last worked there. Both can be lost."""

    def __init__(self, configured: Pool, brought: Pool) -> None:
        """`configured`: connections to addresses of this deployment. `brought`: to addresses of callers, guarded."""
        self._pools = {True: configured, False: brought}
        self._clients: OrderedDict[tuple[object, ...], BaseClient] = OrderedDict()
        self._modes: OrderedDict[tuple[str, str, str], tuple[OutputMode, float]] = OrderedDict()

    async def get(self, target: Target) -> BaseClient:
        """The client for a target. The first of its kind imports an SDK (0.5 to 0.9 s), so it is made in a thread."""
        return await self._open(target.config, target.trusted)

    async def at(self, endpoint: Endpoint, target: Target | None = None) -> BaseClient:
        """The client for one endpoint; that of `target`, where it names the address itself."""
        if target is not None and (target.endpoint or not target.provider):
            return await self.get(target)
        return await self._open(endpoint.config, trusted=True)

    async def _open(self, config: ProviderConfig, trusted: bool) -> BaseClient:
        key = (config.kind, config.base_url, repr(sorted(config.options.items())), trusted)
        if key not in self._clients:
            self._clients[key] = await asyncio.to_thread(factory.client, config, self._pools[trusted])
        _keep(self._clients, key)
        return self._clients[key]

    def mode(self, endpoint: Endpoint, model: str) -> OutputMode:
        """The output mode to begin with at an endpoint."""
        mode, since = self._modes.get(_place(endpoint, model), _FIRST)
        return mode if time.monotonic() - since < _REMEMBERED_SECONDS else "json_schema"

    def remember(self, endpoint: Endpoint, model: str, mode: OutputMode) -> None:
        """Begin with this mode there next time: it worked, and one above it was rejected."""
        key = _place(endpoint, model)
        self._modes[key] = mode, time.monotonic()
        _keep(self._modes, key)


def _place(endpoint: Endpoint, model: str) -> tuple[str, str, str]:
    return endpoint.config.kind, endpoint.config.base_url, model


def _keep(memory: OrderedDict[K, V], key: K) -> None:
    memory.move_to_end(key)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)

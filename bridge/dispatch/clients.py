"""The clients of model servers, and the output modes that the servers accepted."""

import asyncio
import json
import time
from collections.abc import Callable
from hashlib import blake2b

from bridge.dispatch.lru import LruDict
from bridge.run import Run
from providers import registry
from providers.base import LADDER, BaseClient, JsonObject, OutputMode, ProviderConfig, VisionRequest
from providers.pool import Pool

MAX_CLIENTS = 512
MAX_MODES = 1024
MODE_SECONDS = 600.0

ClientKey = tuple[str, str, str, bool]


class Clients:
    """One client per base URL and options, without a key."""

    def __init__(self, configured_pool: Pool, caller_pool: Pool) -> None:
        """`configured_pool`: connections to configured addresses. `caller_pool`: to caller-supplied ones, checked."""
        self._pools = {True: configured_pool, False: caller_pool}
        self._clients: LruDict[ClientKey, BaseClient] = LruDict(MAX_CLIENTS)
        self._imported: set[str] = set()

    async def open(self, config: ProviderConfig, trusted: bool, run: Run | None = None) -> BaseClient:
        """Return the client. The first of its kind imports an SDK (0.5 to 0.9 s): in a thread, reported to `run`."""
        key = config.kind, config.base_url, repr(sorted(config.options.items())), trusted
        client = self._clients.get(key)
        if client is None:
            if run is not None and config.base_url and config.kind not in self._imported:
                run.stage("import", config.kind)
            client = await asyncio.to_thread(registry.client, config, self._pools[trusted])
            self._imported.add(config.kind)
            client = self._clients.get(key) or self._clients.set(key, client)
        return client

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


class OutputModes:
    """The output mode that a server accepted after it had rejected a stricter one, for each model and schema."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds: after 10 minutes the strictest mode is tried again."""
        self._clock = clock
        self._modes: LruDict[tuple[str, str, str, str], tuple[OutputMode, float]] = LruDict(MAX_MODES)

    def first(self, kind: str, address: str, request: VisionRequest) -> OutputMode:
        """Return the mode to begin with."""
        if not len(self._modes) or request.schema is None:
            return LADDER[0]
        known = self._modes.get((kind, address, request.model, schema_digest(request)))
        return known[0] if known and self._clock() - known[1] < MODE_SECONDS else LADDER[0]

    def remember(self, kind: str, address: str, request: VisionRequest) -> None:
        """Begin with the request's output mode there, for its model and schema."""
        place = kind, address, request.model, schema_digest(request)
        self._modes.set(place, (request.output_mode, self._clock()))


def schema_digest(request: VisionRequest) -> str:
    """Return the request's `schema_digest`, computed when it has none; "" without a schema."""
    return request.schema_digest or (_digest(request.schema) if request.schema is not None else "")


def _digest(schema: JsonObject) -> str:
    return blake2b(json.dumps(schema, sort_keys=True).encode(), digest_size=16).hexdigest()

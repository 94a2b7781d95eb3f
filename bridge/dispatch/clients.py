"""The clients that call model servers, and the output modes that the servers accept."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from bridge.deadline import Deadline
from bridge.run import Run
from providers import registry
from providers.base import LADDER, OutputMode, ProviderConfig, VisionRequest
from providers.client import BaseClient
from providers.pool import Pool

MAX_CLIENTS = 512
MAX_MODES = 1024
MODE_SECONDS = 600.0
_IMPORT_SECONDS = 60.0


class Clients:
    """Creates one client for each combination of kind, base URL and options. Clients store no key."""

    def __init__(self, configured_pool: Pool, caller_pool: Pool) -> None:
        """`configured_pool`: connections to configured addresses. `caller_pool`: connections to callers' addresses."""
        self._pools = {True: configured_pool, False: caller_pool}
        self._imported: set[str] = set()
        self._client = lru_cache(MAX_CLIENTS)(self._create)

    async def open(self, config: ProviderConfig, trusted: bool, run: Run | None = None) -> BaseClient:
        """Return the client for a configuration. The first client of a kind imports an SDK (0.9 s) in a thread."""
        # Options as JSON, because those of `extra_body` and others are tables, which cannot be the key of a cache.
        arguments = config.kind, config.base_url, json.dumps(config.options, sort_keys=True, default=str), trusted
        if config.kind not in self._imported:
            if run is None or not config.base_url:  # not reported for the providers in this process
                run = Run(Deadline(_IMPORT_SECONDS))
            run.stage("import", config.kind)
            with run.timings.measure("import"):
                async with run.deadline.within("importing the SDK of the provider"):
                    await asyncio.to_thread(self._client, *arguments)
            self._imported.add(config.kind)
        return self._client(*arguments)

    def _create(self, kind: str, base_url: str, options: str, trusted: bool) -> BaseClient:
        return registry.client(ProviderConfig(kind, kind, base_url, options=json.loads(options)), self._pools[trusted])

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()


class OutputModes:
    """Remembers the output mode to use if a server has rejected a stricter mode for a model and schema."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: returns seconds. After 10 minutes, an entry expires, so the strictest mode is tried again."""
        self._clock = clock
        self._modes: OrderedDict[tuple[str, str, str, bytes], tuple[OutputMode, float]] = OrderedDict()

    def first(self, kind: str, address: str, request: VisionRequest) -> OutputMode:
        """Return the output mode to try first."""
        place = kind, address, request.model, schema_digest(request) if self._modes else b""
        mode, since = self._modes.get(place, (LADDER[0], 0.0))
        return mode if self._clock() - since < MODE_SECONDS else LADDER[0]

    def remember(self, kind: str, address: str, request: VisionRequest) -> None:
        """Remember the request's output mode for later calls with the same server, model and schema."""
        place = kind, address, request.model, schema_digest(request)
        self._modes[place] = request.output_mode, self._clock()
        self._modes.move_to_end(place)
        if len(self._modes) > MAX_MODES:
            self._modes.popitem(last=False)


def schema_digest(request: VisionRequest) -> bytes:
    return blake2b(json.dumps(request.schema, sort_keys=True).encode(), digest_size=16).digest()

"""The embedded engine: llama.cpp runs a small vision model in a child process of the bridge.

`local_supervisor` starts the process, `local_models` finds the files of the model. The process speaks Chat Completions.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import ClassVar

from providers import chat_completions, dialects, local_models
from providers.base import Completion, Credentials, Delta, Model, ProviderConfig, Setting, Spec, VisionRequest
from providers.chat_completions import Flavour
from providers.client import BaseClient
from providers.errors import BadReply, EngineFailed, UnknownModel, Unreachable
from providers.local_engine import Options
from providers.local_supervisor import Lease
from providers.openai import OpenAIClient
from providers.profiles import Profile

INSTALL = "Run pip install '.[local]' in the project's directory."
SPEC = Spec(
    kind="local",
    title="Embedded engine",
    is_remote=False,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed", "repetition_penalty"}),
    options={
        "mmproj": Setting("path of the vision projector, if it is not beside the model", (str,)),
        "context": Setting("tokens of image, prompt and answer of one request", (int,)),
    },
    default_model="smolvlm-500m",
    max_concurrency=1,
    note="llama.cpp in a child process of the bridge. Needs no server, no key and, once a model is there, no network.",
)
FLAVOUR = Flavour(SPEC, schema=dialects.llamacpp, names={"repetition_penalty": "repeat_penalty"}, object_schema=True)


class _Server(OpenAIClient):
    """Client of a running engine."""

    specs = (SPEC,)
    flavours: ClassVar = {SPEC.kind: FLAVOUR}


class LocalClient(BaseClient):
    """Client of the embedded engine. Each call leases an engine of the pool, which starts if it does not run.

    The option `max_concurrency` limits concurrent calls. Calls raise EngineFailed, with a remedy, if the engine cannot
    start or dies.
    """

    specs = (SPEC,)
    sdk = "openai"

    async def complete(self, request: VisionRequest) -> Completion:
        async with self._call(request) as (server, request):
            return await server.complete(request)

    async def is_loaded(self, model: str) -> bool:
        return await self._pool.engines.is_ready(await self._engine_options(model))

    async def load(self, model: str, timeout: float) -> None:
        """Start the engine of the model, which then runs until its idle time has passed."""
        async with self._pool.engines.lease(await self._engine_options(model), timeout):
            pass

    def profile(self, model: str) -> Profile:
        """Return the properties of the model. The image size comes from `local_models.toml`."""
        properties, row = super().profile(model), local_models.known_models().get(model)
        if row is None:
            return properties
        return replace(properties, image=replace(properties.image, size=row.image_side))

    def body(self, request: VisionRequest) -> object:
        """Build the body of the request, with a placeholder for the image."""
        return chat_completions.request_body(request, FLAVOUR, {})

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        async with self._call(request) as (server, request), aclosing(server.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """Return the models that have been downloaded. The engine is not started."""
        require_packages()
        rows = local_models.known_models().values()
        present = await asyncio.to_thread(lambda: [row for row in rows if local_models.downloaded(row)])
        return tuple(Model(row.name, row.name) for row in present)

    @asynccontextmanager
    async def _call(self, request: VisionRequest) -> AsyncIterator[tuple[OpenAIClient, VisionRequest]]:
        """Lease the engine of the request's model, and yield its client and the request to send to it."""
        end = time.monotonic() + request.timeout
        async with self._pool.engines.lease(await self._engine_options(request.model), request.timeout) as lease:
            address = lease.address
            server = _Server(ProviderConfig(SPEC.kind, SPEC.kind, address.url), self._pool)
            left = max(end - time.monotonic(), 0.001)
            try:
                yield server, replace(request, credentials=Credentials(address.key), timeout=left)
            except (Unreachable, BadReply) as error:
                raise await _cause(error, lease, request.model) from None

    async def _engine_options(self, name: str) -> Options:
        """Return the options of the model's engine. Raises UnknownModel and EngineFailed."""
        require_packages()
        paths = self._pool.engines.paths
        if paths is not None and name not in local_models.known_models() and name not in paths:
            shown, names = json.dumps(name, ensure_ascii=False), ", ".join(local_models.known_models())
            raise UnknownModel(
                f"This service does not serve the model {shown}. Choose one of {names}. "
                "Other models must be those of a provider in providers.toml."
            )
        weights = await asyncio.to_thread(local_models.find, name, str(self._options.get("mmproj", "")))
        return Options(
            model=str(weights.model),
            mmproj=str(weights.mmproj),
            name=weights.name,
            key="",
            context=int(self._options.get("context", weights.context)),
            parallel=int(self._options.get("max_concurrency", SPEC.max_concurrency or 1)),
        )


async def _cause(error: Unreachable | BadReply, lease: Lease, model: str) -> Exception:
    """Return EngineFailed if the engine died during the call, otherwise the error itself."""
    code = await lease.death()
    if code is None:
        return error
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    failure = EngineFailed(
        f"The engine of the model '{model}' ended with {how} during the request. The next request starts it again. "
        "If memory is short, choose a smaller model."
    )
    failure.usage, failure.begun = error.usage, error.begun
    return failure


def require_packages() -> None:
    """Raise EngineFailed if a package of the extra `local` is not installed."""
    for package in ("xllamacpp", "huggingface_hub"):
        if find_spec(package) is None:
            raise EngineFailed(f"The embedded engine needs the package {package}. {INSTALL}")

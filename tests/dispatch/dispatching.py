"""A Dispatcher with model servers on loopback, without the HTTP service."""

import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

from bridge.config.models import BreakerSettings, Configured, EndpointSettings, ProviderSettings
from bridge.deadline import Deadline
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.targets import Target
from bridge.run import Attempt, Run
from bridge.settings import Settings
from providers.base import Completion, Credentials, Delta, Image, ProviderConfig, VisionRequest
from providers.pool import Pool
from tests.dispatch.gateway import PIXEL
from tests.servers import OpenAIServer

MODEL = "tiny-vision"
PNG = b64decode(PIXEL.partition(",")[2])
SCHEMA = {"type": "object", "properties": {"caption": {"type": "string"}}, "required": ["caption"]}
REQUEST = VisionRequest(MODEL, "Describe the image.", 0, schema=SCHEMA, image=Image(PNG, "image/png", 32, 32))
TARGET = Target("p", ProviderConfig("p", "vllm"), MODEL, Credentials(), True, provider="p")


class Clock:
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def endpoint(name: str, url: str = "http://gpu/v1", key: str = "", **settings: Any) -> EndpointSettings:
    return EndpointSettings(name, ProviderConfig("p", "vllm", url, key, MODEL), **settings)


def provider(*endpoints: EndpointSettings, failures: int = 5, seconds: float = 30, **settings: Any) -> ProviderSettings:
    return ProviderSettings(endpoints, breaker=BreakerSettings(failures, seconds), **settings)


@asynccontextmanager
async def dispatching(
    *endpoints: EndpointSettings,
    attempt_timeout: float = 0,
    clock: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> AsyncIterator[Dispatcher]:
    """Yield a Dispatcher for the provider `p`, with its client already imported."""
    configured = Configured({"p": endpoints[0].config}, fleets={"p": provider(*endpoints, **settings)})
    options = Settings(attempt_timeout=attempt_timeout)
    dispatcher = Dispatcher(configured, options, configured_pool=Pool(), caller_pool=Pool(), clock=clock)
    await dispatcher.profile(replace(TARGET, config=endpoints[0].config))
    try:
        yield dispatcher
    finally:
        await dispatcher.aclose()


def endpoints_of(*servers: OpenAIServer, **settings: Any) -> list[EndpointSettings]:
    """Return the endpoints a, b, c …, one for each server."""
    return [endpoint("abcdef"[index], server.url, **settings) for index, server in enumerate(servers)]


def new_run(seconds: float = 20, **fields: Any) -> Run:
    return Run(Deadline(seconds), **fields)


async def ask(
    dispatcher: Dispatcher, run: Run | None = None, request: VisionRequest = REQUEST, target: Target = TARGET
) -> tuple[Completion, list[str]]:
    """Return the completion of one call, and the text pieces before it."""
    pieces: list[str] = []
    async with aclosing(dispatcher.call(target, request, run or new_run())) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Completion):
                return chunk, pieces
            assert isinstance(chunk, Delta)
            pieces.append(chunk.text)
    raise AssertionError("the call ended without a completion")


def outcomes(run: Run) -> list[tuple[str, str]]:
    """Return the endpoint and the outcome of each attempt."""
    return [(attempt.endpoint, attempt.outcome) for attempt in run.attempts.calls]


def attempts(run: Run, field: Callable[[Attempt], Any]) -> list[Any]:
    return [field(attempt) for attempt in run.attempts.calls]

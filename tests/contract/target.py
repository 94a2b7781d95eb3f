"""A client with its test server, and a valid request for both."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from providers import checks, registry
from providers.base import Completion, Credentials, Delta, Image, Options, ProviderConfig, VisionRequest
from providers.checks import Check
from providers.client import BaseClient
from providers.errors import ProviderError
from providers.pool import Pool
from tests.contract.kinds import Kind
from tests.guard import GUARD
from tests.servers import WireServer

EVERYTHING = Options(max_tokens=256, temperature=0.2, top_p=0.9, repetition_penalty=1.1, seed=7)
PHOTO = Image((Path(__file__).parent / "photo.jpg").read_bytes(), "image/jpeg", 64, 48)


@dataclass(frozen=True)
class Target:
    """A client of `server`. Keyword arguments of the methods replace fields of the request."""

    kind: Kind
    server: WireServer
    client: BaseClient

    def request(self, **changes: Any) -> VisionRequest:
        plain = VisionRequest(
            model=self.server.models[0],
            prompt="Describe the picture.",
            timeout=GUARD,
            image=PHOTO,
            credentials=Credentials(self.server.key),
        )
        return replace(plain, **changes)

    async def complete(self, **changes: Any) -> Completion:
        with anyio.fail_after(GUARD):
            return await self.client.complete(self.request(**changes))

    async def stream(self, **changes: Any) -> list[Delta | Completion]:
        with anyio.fail_after(GUARD):
            return [event async for event in self.client.stream(self.request(**changes))]

    async def ask(self, streamed: bool, **changes: Any) -> Completion:
        """Return the completion of a call, streamed or not."""
        if not streamed:
            return await self.complete(**changes)
        last = (await self.stream(**changes))[-1]
        assert isinstance(last, Completion)
        return last

    async def failure(self, streamed: bool = False, **changes: Any) -> ProviderError:
        """Return the error of a call that must fail, and must not have returned a Completion before."""
        events: list[Delta | Completion] = []
        try:
            with anyio.fail_after(GUARD):
                if streamed:
                    async for event in self.client.stream(self.request(**changes)):
                        events.append(event)
                else:
                    events.append(await self.client.complete(self.request(**changes)))
        except ProviderError as error:
            assert not [event for event in events if isinstance(event, Completion)]
            return error
        raise AssertionError(f"no error, but {events}")


def make_target(kind: Kind, server: WireServer, pool: Pool, **config: Any) -> Target:
    settings = {"name": kind.kind, "kind": kind.kind, "base_url": server.url, **config}
    return Target(kind, server, registry.client(ProviderConfig(**settings), pool))


async def check(client: BaseClient, credentials: Credentials, timeout: float, model: str = "") -> Check:
    """Run the steps of a connection check as the bridge does."""

    async def send(request: VisionRequest) -> Completion | ProviderError:
        try:
            return await client.complete(request)
        except ProviderError as error:
            return error

    return await checks.check(client, model, credentials, timeout, send)

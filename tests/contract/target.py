"""A client and the server it speaks to, with a request that is right for both."""

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
from tests.servers import WireServer

EVERYTHING = Options(max_tokens=256, temperature=0.2, top_p=0.9, repetition_penalty=1.1, seed=7)
GUARD = 60.0  # no call may take longer, whatever its own timeout
PHOTO = Image((Path(__file__).parent / "photo.jpg").read_bytes(), "image/jpeg", 64, 48)


@dataclass(frozen=True)
class Target:
    """`client` reaches `server`; every method takes changes to the request as names of its fields."""

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
            return [each async for each in self.client.stream(self.request(**changes))]

    async def ask(self, streamed: bool, **changes: Any) -> Completion:
        """The completion, by either door."""
        if not streamed:
            return await self.complete(**changes)
        last = (await self.stream(**changes))[-1]
        assert isinstance(last, Completion)
        return last

    async def failure(self, streamed: bool = False, **changes: Any) -> ProviderError:
        """The error a call ends in; a stream must not have told a Completion before it."""
        seen: list[Delta | Completion] = []
        try:
            with anyio.fail_after(GUARD):
                if streamed:
                    async for each in self.client.stream(self.request(**changes)):
                        seen.append(each)
                else:
                    seen.append(await self.client.complete(self.request(**changes)))
        except ProviderError as error:
            assert not [each for each in seen if isinstance(each, Completion)]
            return error
        raise AssertionError(f"no error, but {seen}")


def target(kind: Kind, server: WireServer, pool: Pool, **config: Any) -> Target:
    named = {"name": kind.kind, "kind": kind.kind, "base_url": server.url, **config}
    return Target(kind, server, registry.client(ProviderConfig(**named), pool))


async def check(client: BaseClient, credentials: Credentials, timeout: float, model: str = "") -> Check:
    """Run the steps of a connection check as the bridge does."""

    async def send(request: VisionRequest) -> Completion | ProviderError:
        try:
            return await client.complete(request)
        except ProviderError as error:
            return error

    return await checks.check(client, model, credentials, timeout, send)

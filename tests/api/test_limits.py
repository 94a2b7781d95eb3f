"""A full worker refuses at once, and says when to come back."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import websockets

from tests.contract.kinds import OF_KIND
from tests.servers import WireServer
from tests.servers import behaviours as b
from tests.service import Service


@pytest.fixture
def full() -> Iterator[tuple[Service, WireServer]]:
    """A service that carries two requests, and a provider that holds what it is asked."""
    with Service(GRAPHCAP_MAX_IN_FLIGHT="2") as service, OF_KIND["vllm"].server() as server:
        server.default = b.Hold()
        yield service, server


def fields(server: WireServer) -> dict[str, Any]:
    config = {"kind": "vllm", "base_url": server.url}
    return {
        "perspective": "alt_text",
        "image": {"path": "datasets/samples/coffee.jpg"},
        "provider_config": config,
        "model": server.models[0],
    }


async def test_what_is_over_the_limit_is_refused_and_the_rest_is_served(full: tuple[Service, WireServer]) -> None:
    service, server = full
    async with httpx.AsyncClient(base_url=service.url, timeout=30, trust_env=False) as client:
        held = [asyncio.create_task(client.post("/perspectives/caption", json=fields(server))) for _ in range(2)]
        await asyncio.to_thread(server.wait_for_calls, 2)
        refused = await client.post("/perspectives/caption", json=fields(server))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/health")).status_code == 200
        server.release()
        assert [(await one).status_code for one in held] == [200, 200]
        server.default = b.Answer()
        assert (await client.post("/perspectives/caption", json=fields(server))).status_code == 200


async def test_a_socket_shares_the_limit_and_a_new_one_is_sent_away(full: tuple[Service, WireServer]) -> None:
    service, server = full
    address = service.url.replace("http", "ws") + "/perspectives/stream"
    async with websockets.connect(address) as socket:
        for name in ("1", "2", "3"):
            await socket.send(json.dumps({"type": "caption", "id": name, **fields(server)}))
        async for frame in socket:
            told = json.loads(frame)
            if told["type"] == "error":
                break
        assert (told["id"], told["problem"]["code"]) == ("3", "overloaded")
        async with websockets.connect(address) as second:
            assert json.loads(await second.recv())["problem"]["code"] == "overloaded"
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await second.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
        server.release()
        ends = 0
        async for frame in socket:
            ends += json.loads(frame)["type"] == "done"
            if ends == 2:
                break

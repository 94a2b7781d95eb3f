"""What stands around every request: its path below the root path, and its line in the log."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from bridge.api.frame import Frame
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import HANG_GUARD, SAMPLE, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

KEY = "our-own-key-12345"
SHOWN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def below() -> Iterator[Service]:
    """A service below a root path, with a key."""
    with Service("--root-path", "cap/", GRAPHCAP_API_KEYS=KEY) as running:
        yield running


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return httpx.get(service.url + path, headers=headers, timeout=HANG_GUARD, trust_env=False)


PATHS = {
    "": {"/": "/", "//a": "/a", "///a//b": "/a//b", "": "/"},
    "/cap": {
        "/a": "/cap/a",
        "/cap": "/cap/",
        "/cap/a": "/cap/a",
        "//cap/a": "/cap/a",
        "/cap//a": "/cap/a",
        "//cap///a": "/cap/a",
        "//a": "/cap/a",
        "/capital": "/cap/capital",
    },
}


@pytest.mark.parametrize("type", ["http", "websocket"])
@pytest.mark.parametrize(("root", "path"), [(root, path) for root, paths in PATHS.items() for path in paths])
async def test_a_path_is_the_root_path_and_one_slash(type: str, root: str, path: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*message: Any) -> Any:
        raise AssertionError

    scope = {"type": type, "path": path, "method": "GET", "headers": []}
    await Frame(app, root)(scope, nothing, nothing)
    assert (seen[0]["root_path"], seen[0]["path"]) == (root, PATHS[root][path])


@pytest.mark.parametrize("path", ["/health", "/cap/health", "//cap//health", "/cap//api/v1/health", "//api/v1/health"])
def test_health_is_open_at_every_address(below: Service, path: str) -> None:
    assert get(below, path).status_code == 200


@pytest.mark.parametrize("path", ["/v1/models", "/cap/v1/models", "//cap//v1/models", "//v1/models"])
def test_openais_shape_at_every_address(below: Service, path: str) -> None:
    assert get(below, path, **SHOWN).json()["object"] == "list"
    assert get(below, path).json()["error"]["code"] == "unauthorized"
    assert get(below, f"{path}/none", **SHOWN).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/cap", "//cap/", "//cap//api/v1", ""])
def test_a_socket_at_every_address(below: Service, path: str) -> None:
    with socket(below, f"{path}/perspectives/stream", additional_headers=SHOWN) as one:
        one.send("caption", "a1", perspective="alt_text", image={"path": SAMPLE})
        one.story("a1", "alt_text")


def test_no_socket_elsewhere(below: Service) -> None:
    with pytest.raises(InvalidStatus), socket(below, "/capital/perspectives/stream"):
        pass


# The line in the log.


def lines(log: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in log.splitlines()]
    return [one for one in told if one["message"] == "request"]


def test_the_log_says_what_was_asked_and_what_failed(vllm_server: OpenAIServer) -> None:
    asked = streams.caption(vllm_server)
    with Service(GRAPHCAP_LOG="json") as service:
        streams.post(service, "/caption", asked)
        vllm_server.reply(b.Status(401), b.Status(401))
        streams.post(service, "/caption", asked)
        list(streams.streamed(service, "/caption", asked))
        streams.post(service, "/analyze", streams.analysis(vllm_server, inline("p1"), inline("p2")))
        streams.post(service, "/caption", {"perspective": "alt_txt"})
    told = lines(service.log)
    by = {"perspective": "mine", "provider": "vllm", "model": vllm_server.models[0]}
    assert told[0].items() >= {**by, "status": 200}.items()
    assert "code" not in told[0]
    assert told[1].items() >= {**by, "status": 502, "code": "provider_auth"}.items()
    assert told[2].items() >= {**by, "status": 200, "code": "provider_auth"}.items()
    assert told[3].items() >= {"perspective": "p1,p2", "provider": "vllm", "status": 200}.items()
    assert told[4].items() >= {"status": 404, "code": "unknown_perspective"}.items()
    assert streams.KEY not in service.log

"""The outermost middleware: the path below the root path, the record of a request, the response to a bug."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from bridge.api.middleware.request_context import RequestContextMiddleware
from tests.api.conftest import API_KEYS
from tests.api.sockets import rejection, socket
from tests.api.streams import SAMPLE
from tests.service import Service

AUTHORIZED = {"Authorization": f"Bearer {API_KEYS[0]}"}


async def nothing(*_: Any) -> Any:
    raise AssertionError


def test_every_spelling_of_a_path_is_served(keyed: Service) -> None:
    for path in ("/health", "/bridge/health", "//bridge/api/v1/health", "//api/v1/health"):
        assert keyed.get(path).status_code == 200, path
    for path in ("/v1/models", "/bridge/v1/models", "//bridge/v1/models", "//v1/models"):
        assert keyed.get(path, **AUTHORIZED).json()["object"] == "list", path
        assert keyed.get(path).json()["error"]["code"] == "unauthorized", path
        assert keyed.get(f"{path}/none", **AUTHORIZED).json()["error"]["code"] == "model_not_found", path
    for path in ("/bridge", "//bridge/api/v1", ""):
        with socket(keyed, f"{path}/perspectives/stream", additional_headers=AUTHORIZED) as client:
            client.send("caption", "a1", perspective="alt_text", image={"path": SAMPLE})
            client.all_events("a1", "alt_text")
    assert rejection(keyed, "/bridges/perspectives/stream").status_code == 404


async def test_a_bug_is_logged_and_reported_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("PRIVATE")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-request-id", b"mine-1")]}
    await RequestContextMiddleware(app, "")(scope, nothing, send)
    start, body = sent
    headers = dict(start["headers"])
    assert (start["status"], headers[b"x-request-id"]) == (500, b"mine-1")
    assert b"internal_error" in body["body"]
    assert b"PRIVATE" not in body["body"]
    assert "PRIVATE" in caplog.text

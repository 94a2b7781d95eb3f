"""The same requests to one bridge and to three behind nginx get the same responses."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import streams
from tests.api.sockets import socket
from tests.deploy.fleet import BODY, CAPTION, ELSEWHERE, PAGE, client, fleet, without_times
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

pytestmark = pytest.mark.slow


def plain(service: Any, server: OpenAIServer) -> Iterator[Any]:
    """Send one caption to every route, and bad requests."""
    image_bytes = streams.PHOTO.read_bytes()
    chat = {
        "model": "alt_text",
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(image_bytes).decode()},
                    }
                ],
            }
        ],
    }
    with client(service.url, headers={"Origin": PAGE}) as caller:
        requests: list[Callable[[], httpx.Response]] = [
            lambda: caller.get("/api/v1/perspectives/list"),
            lambda: caller.get("//api/v1//perspectives/alt_text"),
            lambda: caller.post(CAPTION, json=BODY),
            lambda: caller.post(CAPTION, json=streams.caption(server)),
            lambda: caller.post(CAPTION, json=streams.caption(server), headers={"Accept": "text/plain"}),
            lambda: caller.post(
                "/perspectives/alt_text/caption", files={"image": ("a.jpg", image_bytes, "image/jpeg")}
            ),
            lambda: caller.post(
                "/api/v1/perspectives/analyze", json=streams.analysis(server, "alt_text", "art_critic")
            ),
            lambda: caller.post("/v1/chat/completions", json=chat),
            lambda: caller.post(CAPTION, json={**BODY, "perspective": "absent"}),
            lambda: caller.post(CAPTION, content=b"{", headers={"Content-Type": "application/json"}),
            lambda: caller.post(CAPTION, json=BODY, headers={"Origin": ELSEWHERE}),
            lambda: caller.options(CAPTION, headers={"Access-Control-Request-Method": "POST"}),
            lambda: caller.get("/absent"),
            lambda: caller.delete(CAPTION),
        ]
        for call in requests:
            response = call()
            text = response.headers.get("content-type", "").startswith("text/plain")
            yield response.status_code, kept(response), response.text if text else without_times(response.json())


def kept(response: httpx.Response) -> dict[str, str]:
    """Return the headers without those of one connection or moment."""
    changing = {"date", "server", "connection", "x-request-id", "server-timing", "content-length", "transfer-encoding"}
    return {name: value for name, value in response.headers.items() if name not in changing}


def streamed(service: Any, server: OpenAIServer) -> Iterator[Any]:
    """Return the start and end of streams; partials depend on timing."""
    for path, body in (
        ("/caption", streams.caption(server)),
        ("/analyze", streams.analysis(server, streams.inline("one"), streams.inline("two"))),
    ):
        data = streams.streamed(service, path, body)
        kept = [without_times(item) for item in data if streams.is_end(item) or item["type"] in ("started", "done")]
        yield sorted(kept, key=lambda item: (item["type"], item.get("perspective", "")))
    server.reply(b.Status(500), b.Status(500), b.Status(500), b.Status(500))
    yield without_times(streams.of_type(streams.streamed(service, "/caption", streams.caption(server)), "error"))
    with socket(service) as item:
        item.send("caption", "a", **streams.caption(server))
        yield [without_times(event) for event in item.story("a", "mine") if streams.is_end(event)]
        item.send("caption", "b", perspective="absent", image={"path": streams.SAMPLE})
        yield without_times(item.problem("b"))


def test_three_bridges_respond_as_one(tmp_path: Path, vllm_server: OpenAIServer) -> None:
    with Service() as item:
        expected = [*plain(item, vllm_server), *streamed(item, vllm_server)]
    with fleet(tmp_path) as bridges:
        result = [*plain(bridges, vllm_server), *streamed(bridges, vllm_server)]
        for alone, together in zip(expected, result, strict=True):
            assert together == alone
        with client(bridges.url) as caller:
            assert len(bridges.nginx.asked(caller.get("/livez"))) == 3

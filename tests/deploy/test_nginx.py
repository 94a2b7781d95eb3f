"""nginx in front of three bridges: requests, retries, errors in the format of the bridge, restarts under load."""

import re
import socket as socketlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bridge.api.middleware.auth import EXPOSED_HEADERS
from bridge.captioning.problems import Problem
from tests.api import streams
from tests.api.sockets import socket
from tests.api.test_captions import disconnecting
from tests.deploy.fleet import BODY, CAPTION, ELSEWHERE, PAGE, Fleet, Nginx, client, fleet
from tests.deploy.load import Load, Outcome
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

pytestmark = pytest.mark.slow
CALLERS = 6


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


def test_events_pass_immediately(bridges: Fleet, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Hold())
    with streams.streaming(bridges, "/caption", json=streams.caption(vllm_server)) as response:
        data = streams.events(response)
        seen = [next(data)]
        while seen[-1].get("stage") != "model":  # small events, received before the provider answers
            seen.append(next(data))
        vllm_server.wait_for_calls(1)
        vllm_server.release()
        streams.check_event_order([*seen, *data], ["mine"])


def test_a_disconnect_cancels_the_provider_call(bridges: Fleet, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    with streams.streaming(bridges, "/caption", json=streams.caption(vllm_server)) as response:
        data = streams.events(response)
        assert next(data)["type"] == "started"
        vllm_server.wait_for_calls(1)
    vllm_server.wait_for_hang_ups(1)
    with disconnecting(bridges.url, CAPTION, streams.caption(vllm_server)):
        vllm_server.wait_for_calls(2)
    vllm_server.wait_for_hang_ups(2)
    with socket(bridges) as item:
        item.send("caption", "a", **streams.caption(vllm_server))
        vllm_server.wait_for_calls(3)
    vllm_server.wait_for_hang_ups(3)


def test_clients_cannot_forge_their_address(tmp_path: Path) -> None:
    with fleet(tmp_path, count=1, GRAPHCAP_RATE_LIMIT="1/month") as bridges:
        for location in ("127.0.0.2", "127.0.0.3"):
            claims = {"X-Forwarded-For": "192.0.2.7"}
            with client(bridges.url, transport=httpx.HTTPTransport(local_address=location)) as item:
                codes = [item.post(CAPTION, json=BODY, headers=claims).status_code for _ in range(2)]
                assert codes == [200, 429]


def test_only_requests_that_have_not_begun_are_retried(tmp_path: Path, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    held = streams.caption(vllm_server)
    with fleet(tmp_path, count=2, GRAPHCAP_MAX_IN_FLIGHT="1") as bridges, ThreadPoolExecutor(2) as threads:
        requests = [
            threads.submit(httpx.post, bridges.url + CAPTION, json=held, timeout=60, trust_env=False) for _ in "ab"
        ]
        vllm_server.wait_for_calls(2)  # one at each bridge, so every further request reaches a full one
        with client(bridges.url) as item:
            full = item.post(CAPTION, json=BODY)
        assert (full.status_code, full.json()["code"], full.headers["x-request-begun"]) == (503, "overloaded", "no")
        vllm_server.release()
        assert [item.result(GUARD).status_code for item in requests] == [200, 200]
        assert 'attempts="503 : 503"' in bridges.nginx.line(full)  # each bridge was tried once
        vllm_server.default = b.Status(503)
        with client(bridges.url) as item:
            begun = item.post(CAPTION, json={**held, "timeout": 2})
        assert (begun.status_code, begun.json()["code"]) == (503, "provider_unavailable")
        assert begun.json()["provider"] == "vllm"
        assert 'attempts="503"' in bridges.nginx.line(begun)


def check_problem(response: httpx.Response, status: int, code: str, *, retryable: bool) -> None:
    problem = Problem.model_validate(response.json())
    assert (response.status_code, problem.status, problem.code, problem.retryable) == (status, status, code, retryable)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-expose-headers"] == ", ".join(EXPOSED_HEADERS)
    assert response.headers["vary"] == "Origin"
    assert response.headers["x-request-id"] == problem.instance
    assert re.fullmatch(r"total;dur=\d+", response.headers["server-timing"])
    assert response.json().keys() == problem.model_dump().keys()
    assert problem.type == f"urn:graphcap:problem:{code}"
    assert problem.message == problem.detail


@pytest.fixture(scope="module")
def nginx_without_bridges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Run nginx without bridges."""
    with ExitStack() as held:  # bound but not listening, so that no other process gets the ports
        places = [held.enter_context(socketlib.socket()) for _ in "abc"]
        for item in places:
            item.bind(("127.0.0.1", 0))
        with Nginx(tmp_path_factory.mktemp("no-bridges"), [item.getsockname()[1] for item in places]) as running:
            yield running


def test_errors_if_no_bridge_runs(nginx_without_bridges: Nginx) -> None:
    with client(nginx_without_bridges.url, headers={"Origin": PAGE}) as item:
        for _ in range(3):
            refused = item.post(CAPTION, json=BODY)
            check_problem(refused, 503, "bridge_unreachable", retryable=True)
            assert (refused.headers["retry-after"], refused.headers["x-request-begun"]) == ("1", "no")
            preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            granted = item.options(CAPTION, headers=preflight)
            assert (granted.status_code, granted.headers["access-control-allow-headers"]) == (204, "content-type")
            assert granted.headers["access-control-allow-methods"] == "GET, POST"
            assert granted.headers["access-control-allow-origin"] == PAGE
        response = item.post(CAPTION, json=BODY, headers={"Origin": ELSEWHERE})
        assert "access-control-allow-origin" not in response.headers
        assert item.options(CAPTION, headers={"Origin": ELSEWHERE}).status_code == 503


def test_errors_of_malformed_requests(nginx_without_bridges: Nginx) -> None:
    with client(nginx_without_bridges.url, headers={"Origin": PAGE}) as item:
        check_problem(item.get("/metrics"), 404, "not_found", retryable=False)
        check_problem(item.get("/", headers={"X-Long": "x" * 70_000}), 400, "invalid_request", retryable=False)
        assert item.get("/" + "x" * 20_000).json()["code"] == "invalid_request"
        check_problem(item.request("TRACE", "/"), 405, "method_not_allowed", retryable=False)
    for odd in (b"GET / HTTP/3.0\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n"):
        with socketlib.create_connection(("127.0.0.1", nginx_without_bridges.port)) as raw:
            raw.sendall(odd + b"Host: a\r\n\r\n")
            assert b'"code":"invalid_request"' in raw.recv(10_000)


def test_errors_of_a_slow_or_broken_bridge(tmp_path: Path) -> None:
    silent, broken = OpenAIServer("vllm"), OpenAIServer("vllm")
    silent.default, broken.default = b.Hang("connect"), b.Reset()
    body = {"model": "tiny-vision", "messages": [{"role": "user", "content": "x"}]}
    quick = {"proxy_read_timeout 150s;": "proxy_read_timeout 300ms;"}
    for server, status, code, changes in ((silent, 504, "timeout", quick), (broken, 502, "bridge_lost", {})):
        (folder := tmp_path / code).mkdir()
        with (
            server,
            Nginx(folder, [server.port], **changes) as nginx,
            client(nginx.url, headers={"Origin": PAGE}) as item,
        ):
            response = item.post("/v1/chat/completions", json=body)
            check_problem(response, status, code, retryable=True)
            assert "x-request-begun" not in response.headers
            server.wait_for_calls(1)
            assert len(server.calls) == 1  # and not retried


@pytest.fixture
def servers() -> Iterator[list[OpenAIServer]]:
    """Run three slow providers."""
    with ExitStack() as running:
        created = [running.enter_context(OpenAIServer("vllm")) for _ in range(3)]
        for item in created:
            item.default = b.Drip(interval=0.05, size=120)
        yield created


def test_a_rolling_restart_fails_no_request_and_repeats_no_call(bridges: Fleet, servers: list[OpenAIServer]) -> None:
    with Load(bridges.url, servers, CALLERS) as calling:
        for number in range(3):
            bridges.restart(number)
            calling.wait_for(12)
        outcomes = calling.stop()
        assert [item for item in outcomes if item.end != "ok"] == [], bridges.nginx.log
        assert {item.kind for item in outcomes} == {"post", "stream"}
        check_paid_once(calling)


def test_a_killed_bridge_fails_only_its_own_requests(bridges: Fleet, servers: list[OpenAIServer]) -> None:
    with Load(bridges.url, servers, CALLERS) as calling:
        before = len(calling.outcomes)
        bridges.kill(0)
        calling.wait_for(4 * CALLERS)
        outcomes = calling.stop()
        lost = [item for item in outcomes if item.end != "ok"]
        assert all(is_expected_failure(item) for item in lost), lost
        assert all(item in outcomes[: before + 2 * CALLERS] for item in lost)
        assert len(lost) <= CALLERS
        check_paid_once(calling)


def is_expected_failure(lost: Outcome) -> bool:
    """Return whether the failure is typed and retryable, or an interrupted stream."""
    if lost.problem is None:
        return lost.kind == "stream" and lost.end.startswith("cut")
    return lost.problem["code"] == "bridge_lost" and lost.problem["retryable"] is True


def check_paid_once(calling: Load) -> None:
    """Assert that every prompt reached a provider at most once, and every success exactly once."""
    prompts = calling.prompts()
    assert [prompt for prompt, count in prompts.items() if count > 1] == []
    assert {item.prompt for item in calling.outcomes if item.end == "ok"} <= prompts.keys()

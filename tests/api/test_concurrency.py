"""A worker at capacity rejects requests immediately."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api import streams
from tests.api.sockets import socket
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service


@pytest.fixture(scope="module")
def full() -> Iterator[Service]:
    """Start a service that accepts two concurrent requests."""
    with Service(GRAPHCAP_MAX_IN_FLIGHT="2") as service:
        yield service


def test_requests_over_the_limit_are_rejected(full: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    body = streams.caption(vllm_server)
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(streams.post, full, "/caption", body) for _ in range(2)]
        vllm_server.wait_for_calls(2)
        rejected = streams.post(full, "/caption", body)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert (rejected.headers["retry-after"], rejected.headers["x-request-begun"]) == ("1", "no")
        assert full.get("/health").status_code == 200
        vllm_server.release()
        assert [response.result().status_code for response in held] == [200, 200]
    vllm_server.default = b.Answer(streams.GOOD)
    assert streams.post(full, "/caption", body).status_code == 200


def test_open_websockets_are_limited_before_they_send_anything(full: Service) -> None:
    with socket(full), socket(full), socket(full) as third:
        assert third.problem()["code"] == "overloaded"
        assert third.close_code() == 1013


def test_websockets_share_the_limit(full: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    body = streams.caption(vllm_server)
    with socket(full) as client:
        for name in "abc":
            client.send("caption", name, **body)
        assert client.problem("c")["code"] == "overloaded"
        with socket(full) as second:
            assert second.problem()["code"] == "overloaded"
            assert second.close_code() == 1013
        vllm_server.release()
        for name in "ab":
            client.all_events(name, "mine")

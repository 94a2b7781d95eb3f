"""Graceful shutdown: readiness, new and running requests, and exit codes."""

import base64
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import streams
from tests.api.sockets import Socket, rejection, socket
from tests.api.streams import SAMPLE, is_end
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service, until
from tests.telemetry.figures import studio, workspace
from tests.tools import children_of, read_process

pytestmark = pytest.mark.slow

CAPTION = "/api/v1/perspectives/caption"
LONG, SHORT = "300", "0.3"


@pytest.fixture
def slow_provider(vllm_server: OpenAIServer) -> OpenAIServer:
    """Return a provider that responds when it is released."""
    vllm_server.default = b.Hold()
    return vllm_server


def wait_for_drain(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=GUARD, trust_env=False) as client:

        def refuses() -> bool:
            with suppress(httpx.TransportError):  # an idle worker may exit just after it accepted a connection
                return client.get("/readyz").status_code == 503
            return False

        until(refuses)


def terminate(service: Service) -> None:
    """Send SIGTERM, and wait until new requests are rejected."""
    service.process.send_signal(signal.SIGTERM)
    wait_for_drain(service)


@contextmanager
def running(send: Callable[[], httpx.Response], server: OpenAIServer) -> Iterator[Future[httpx.Response]]:
    """Start a request that waits for the provider."""
    with ThreadPoolExecutor(1) as threads:
        response = threads.submit(send)
        server.wait_for_calls(1)
        yield response


def caption(service: Service, server: OpenAIServer) -> Callable[[], httpx.Response]:
    return partial(streams.post, service, "/caption", streams.caption(server))


def test_running_requests_finish_and_new_ones_are_rejected(slow_provider: OpenAIServer) -> None:
    with (
        Service(GRAPHCAP_GRACE=LONG) as service,
        socket(service) as busy,
        socket(service) as idle,
        running(caption(service, slow_provider), slow_provider) as response,
    ):
        busy.send("caption", "a", **streams.caption(slow_provider))
        slow_provider.wait_for_calls(2)
        terminate(service)
        assert service.get("/livez").status_code == 200
        assert service.get("/health").json()["status"] == "healthy"
        refused = streams.post(service, "/caption", {"perspective": "alt_text", "image": {"path": SAMPLE}})
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["retryable"]) == (503, "shutting_down", True)
        names = ("retry-after", "x-request-begun", "connection", "x-request-id")
        assert [refused.headers[name] for name in names] == ["1", "no", "close", problem["instance"]]
        check_websockets(service, busy, idle, streams.caption(slow_provider))
        slow_provider.release()
        assert response.result(GUARD).status_code == 200
        assert response.result().headers["connection"] == "close"
        busy.all_events("a", "mine")
        assert busy.close_code() == 1012
        assert service.stop() == 0
    assert "Traceback" not in service.log


def check_websockets(service: Service, busy: Socket, idle: Socket, body: dict[str, Any]) -> None:
    """Check that an idle WebSocket is closed, a new one rejected, and a busy one accepts no further request."""
    assert idle.close_code() == 1012
    refused = rejection(service)
    assert (refused.status_code, refused.headers["X-Request-Begun"]) == (503, "no")
    assert json.loads(refused.body or "")["code"] == "shutting_down"
    busy.send("caption", "b", **body)
    assert busy.problem("b")["code"] == "shutting_down"


def test_sigint_stops_the_service_even_if_its_parent_ignored_it() -> None:
    """A shell without job control starts background processes with SIGINT ignored; they inherit it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        service = Service(GRAPHCAP_GRACE=LONG)
        service.__enter__()
    finally:
        signal.signal(signal.SIGINT, before)
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(GUARD) == 130
    service.stop()
    assert "Traceback" not in service.log


def test_sigint_during_the_grace_period_ends_it(slow_provider: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=LONG) as service, running(caption(service, slow_provider), slow_provider) as response:
        terminate(service)
        service.process.send_signal(signal.SIGINT)
        assert response.result(GUARD).json()["code"] == "shutting_down"
        assert service.process.wait(GUARD) == 0
    assert "Traceback" not in service.log


def test_unfinished_requests_end_with_a_typed_error(slow_provider: OpenAIServer, tmp_path: Path) -> None:
    """Concurrent responses of every kind: JSON, events, chat stream, WebSocket and requests about providers."""
    workspace(tmp_path, studio(slow_provider.url, slow_provider.models, api_key=f'"{streams.KEY}"', probe_interval=0))
    image = base64.b64encode(streams.PHOTO.read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{image}"}}]
    chat = {"model": "alt_text@studio", "messages": [{"role": "user", "content": content}], "stream": True}
    pair = streams.analysis(slow_provider, streams.inline("one"), streams.inline("two"), image={"base64": image})
    single = streams.caption(slow_provider, image={"base64": image})
    config = {"name": "x", "default_model": slow_provider.models[0], **pair["provider_config"]}
    slow_provider.reply_to_listing(b.Hang("connect"))

    with ExitStack() as stack:
        service = stack.enter_context(Service(workspace=tmp_path, GRAPHCAP_GRACE=SHORT))
        client = stack.enter_context(socket(service))
        threads = stack.enter_context(ThreadPoolExecutor(5))

        def post(path: str, body: dict[str, Any], accept: str = "application/json") -> Future[httpx.Response]:
            options = {"headers": {"Accept": accept}, "timeout": GUARD, "trust_env": False}
            return threads.submit(httpx.post, service.url + path, json=body, **options)

        plain, events = post(CAPTION, single), post("/api/v1/perspectives/analyze", pair, "text/event-stream")
        chunks = post("/v1/chat/completions", chat)
        slow_provider.wait_for_calls(4)
        models = post("/api/v1/providers/x/models", config)
        until(lambda: not slow_provider.listing_script)
        tested = post("/api/v1/providers/x/test-connection", config)
        client.send("caption", "a", **single)
        client.send("analyze", "b", **pair)
        slow_provider.wait_for_calls(8)
        service.process.send_signal(signal.SIGTERM)

        for response in (plain, models, tested):
            problem = response.result(GUARD).json()
            assert (problem.get("status"), problem.get("code")) == (503, "shutting_down"), problem
            assert problem["retryable"]
        assert "x-request-begun" not in plain.result().headers  # a proxy must not send it to another instance
        assert events_of(events)[-1]["type"] == "done"
        ends = [event["problem"]["code"] for event in events_of(events) if is_end(event)]
        assert ends == ["shutting_down"] * 2
        assert events_of(chunks)[-1]["error"]["code"] == "shutting_down"
        for name, perspectives in (("a", ["mine"]), ("b", ["one", "two"])):
            ended = [event for event in client.all_events(name, *perspectives) if is_end(event)]
            assert {event["problem"]["code"] for event in ended} == {"shutting_down"}
        assert client.close_code() == 1012
        slow_provider.wait_for_hang_ups(9)
        assert service.stop() == 0
    assert "Traceback" not in service.log
    assert service.log.count('code="shutting_down"') == 7
    assert 'code="cancelled"' not in service.log


def events_of(response: Future[httpx.Response]) -> list[dict[str, Any]]:
    lines = response.result(GUARD).text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def send_until_refused(service: Service, results: Counter[str]) -> None:
    """Send each request on a new connection until the port is closed; count statuses and errors."""
    while True:
        client = HTTPConnection("127.0.0.1", service.port, timeout=GUARD)
        try:
            client.connect()
        except OSError:
            return
        try:
            client.request("POST", CAPTION, b"{}", {"Content-Type": "application/json"})
            results[str(client.getresponse().status)] += 1
        except OSError as error:
            results[type(error).__name__] += 1
        finally:
            client.close()


def test_accepted_connections_get_a_response() -> None:
    """Without Server.shutdown of the bridge, nearly every client gets a reset."""
    results: Counter[str] = Counter()
    with Service() as service, ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(send_until_refused, service, results) for _ in range(8)]
        until(lambda: results["422"] >= 50)
        assert service.stop() == 0
        for client in clients:
            client.result(GUARD)
    assert results.keys() <= {"422", "503", "ConnectionResetError"}, results
    assert results["ConnectionResetError"] <= 4, results


def workers(service: Service) -> set[int]:
    """Return the process ids of the workers."""
    return {pid for pid in children_of(service.process.pid) if b"spawn_main" in read_process(pid, "cmdline")}


def check_captions(service: Service) -> None:
    body: dict[str, Any] = {"perspective": "alt_text", "image": {"path": SAMPLE}}
    assert [streams.post(service, "/caption", body).status_code for _ in range(4)] == [200] * 4


def test_a_killed_worker_is_replaced() -> None:
    with Service("--workers", "2") as service:
        check_captions(service)
        before = workers(service)
        assert len(before) == 2
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in workers(service) and len(workers(service)) == 2)
        (new,) = workers(service) - before
        service.wait_for_log(f"worker {victim} ended with exit code -9, and its requests with it; worker {new} repl")
        check_captions(service)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(GUARD) == 130


def test_a_signal_to_the_process_group_keeps_the_grace_period(slow_provider: OpenAIServer) -> None:
    """Workers then get a second SIGTERM from their supervisor."""
    with (
        Service("--workers", "2", GRAPHCAP_GRACE=LONG) as service,
        running(caption(service, slow_provider), slow_provider) as response,
    ):
        for pid in [service.process.pid, *workers(service)]:
            os.kill(pid, signal.SIGTERM)
        wait_for_drain(service)
        threading.Event().wait(1.0)  # the supervisor takes half a second
        assert not response.done()
        slow_provider.release()
        assert response.result(GUARD).status_code == 200
        assert service.stop() == 0

"""Graceful shutdown: not ready, no new work, running work finishes or gets a typed end; exit codes."""

import base64
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.api import streams
from tests.api.sockets import Socket, socket
from tests.api.streams import HANG_GUARD, SAMPLE, is_end
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

CAPTION = "/api/v1/perspectives/caption"
LONG, SHORT = "30", "0.3"


@pytest.fixture
def held(vllm_server: OpenAIServer) -> OpenAIServer:
    """A provider that responds when it is released."""
    vllm_server.default = b.Hold()
    return vllm_server


def wait_until(condition: Callable[[], object], reason: str) -> None:
    end = monotonic() + HANG_GUARD
    while not condition():
        assert monotonic() < end, reason
        sleep(0.01)


def wait_for_drain(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=HANG_GUARD, trust_env=False) as client:
        wait_until(lambda: client.get("/readyz").status_code == 503, "the service is still ready")


def terminate(service: Service) -> None:
    """Send SIGTERM, and wait until new work is refused."""
    service.process.send_signal(signal.SIGTERM)
    wait_for_drain(service)


@contextmanager
def running(send: Callable[[], httpx.Response], server: OpenAIServer) -> Iterator[Future[httpx.Response]]:
    """A request that waits for the provider."""
    with ThreadPoolExecutor(1) as threads:
        response = threads.submit(send)
        server.wait_for_calls(1, HANG_GUARD)
        yield response


def caption(service: Service, server: OpenAIServer) -> Callable[[], httpx.Response]:
    return partial(streams.post, service, "/caption", streams.caption(server))


def test_running_work_finishes_and_new_work_is_refused(held: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=LONG) as service, running(caption(service, held), held) as response:
        terminate(service)
        assert httpx.get(service.url + "/livez", trust_env=False).status_code == 200
        assert httpx.get(service.url + "/health", trust_env=False).json()["status"] == "healthy"
        refused = streams.post(service, "/caption", {"perspective": "alt_text", "image": {"path": SAMPLE}})
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["retryable"]) == (503, "shutting_down", True)
        names = ("retry-after", "x-request-begun", "connection", "x-request-id")
        assert [refused.headers[name] for name in names] == ["1", "no", "close", problem["instance"]]
        held.release()
        assert response.result(HANG_GUARD).status_code == 200
        assert response.result().headers["connection"] == "close"
        assert service.stop() == 0
    assert "Traceback" not in service.log


@pytest.mark.parametrize(
    ("number", "code", "ignored"),
    [
        pytest.param(signal.SIGTERM, 0, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, False, marks=pytest.mark.slow),
        (signal.SIGINT, 130, True),
    ],
    ids=["SIGTERM", "SIGINT", "SIGINT ignored by the parent"],
)
def test_exit_codes_of_an_idle_service(number: int, code: int, ignored: bool) -> None:
    """A shell without job control starts background processes with SIGINT ignored; they inherit it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        service = Service(GRAPHCAP_GRACE=LONG)
        service.__enter__()
    finally:
        signal.signal(signal.SIGINT, before)
    service.process.send_signal(number)
    assert service.process.wait(HANG_GUARD) == code
    service.stop()
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_sigint_during_the_grace_period_ends_it(held: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=LONG) as service, running(caption(service, held), held) as response:
        terminate(service)
        service.process.send_signal(signal.SIGINT)
        assert response.result(HANG_GUARD).json()["code"] == "shutting_down"
        assert service.process.wait(HANG_GUARD) == 0
    assert "Traceback" not in service.log


def test_work_that_does_not_finish_is_cancelled(held: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=SHORT) as service, running(caption(service, held), held) as response:
        assert service.stop() == 0
        problem = response.result(HANG_GUARD).json()
        assert (response.result().status_code, problem["code"], problem["retryable"]) == (503, "shutting_down", True)
        assert "x-request-begun" not in response.result().headers  # a proxy must not send it to another instance
        held.wait_for_hang_ups()
    assert "Traceback" not in service.log


@pytest.mark.slow
@pytest.mark.parametrize("path", ["test-connection", "models"])
def test_provider_requests_are_cancelled(held: OpenAIServer, tmp_path: Path, path: str) -> None:
    with Service(GRAPHCAP_GRACE=SHORT) as service:
        config = streams.target(held)["provider_config"]
        held.reply_to_listing(b.Hang("connect") if path == "models" else b.Answer())
        body = {"name": "x", "default_model": held.models[0], **config}
        address = f"{service.url}/api/v1/providers/x/{path}"
        with ThreadPoolExecutor(1) as threads:
            response = threads.submit(httpx.post, address, json=body, timeout=HANG_GUARD, trust_env=False)
            wait_until(lambda: held.calls or (path == "models" and held.requests), "the provider was not called")
            assert service.stop() == 0
            assert response.result(HANG_GUARD).json()["code"] == "shutting_down"
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_an_event_stream_ends_with_done(held: OpenAIServer) -> None:
    body = streams.analysis(held, streams.inline("one"), streams.inline("two"))
    held.reply(b.Answer(streams.GOOD))
    with Service(GRAPHCAP_GRACE=SHORT) as service, streams.streaming(service, "/analyze", json=body) as response:
        events = streams.events(response)
        seen = [next(events)]
        while seen[-1]["type"] != "result":
            seen.append(next(events))
        held.wait_for_calls(2, HANG_GUARD)
        service.process.send_signal(signal.SIGTERM)
        seen += events
        streams.check_story(seen, ["one", "two"])
        (error,) = streams.of_type(seen, "error")
        assert (error["problem"]["code"], error["problem"]["retryable"]) == ("shutting_down", True)
        assert service.stop() == 0
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_a_chat_stream_ends_with_an_error(held: OpenAIServer, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text(
        f'[providers.vllm]\nkind = "vllm"\nbase_url = "{held.url}"\ndefault_model = "{held.models[0]}"\n'
    )
    image = "data:image/jpeg;base64," + base64.b64encode(streams.PHOTO.read_bytes()).decode()
    content = [{"type": "image_url", "image_url": {"url": image}}]
    chat = {"model": "alt_text@vllm", "messages": [{"role": "user", "content": content}], "stream": True}
    with Service(workspace=tmp_path, GRAPHCAP_GRACE=SHORT) as service:
        with (
            httpx.Client(timeout=HANG_GUARD, trust_env=False) as client,
            client.stream("POST", service.url + "/v1/chat/completions", json=chat) as response,
        ):
            held.wait_for_calls(1, HANG_GUARD)
            service.process.send_signal(signal.SIGTERM)
            lines = [line for line in response.iter_lines() if line.startswith("data: ")]
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert service.stop() == 0
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_a_websocket_finishes_its_requests_and_accepts_no_more(held: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=LONG) as service, socket(service) as busy, socket(service) as idle:
        busy.send("caption", "a", **streams.caption(held))
        held.wait_for_calls(1, HANG_GUARD)
        terminate(service)
        assert close_code(idle) == 1012
        with pytest.raises(InvalidStatus) as refused, socket(service):
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["X-Request-Begun"] == "no"
        assert json.loads(refused.value.response.body or "")["code"] == "shutting_down"
        busy.send("caption", "b", **streams.caption(held))
        assert busy.problem("b")["code"] == "shutting_down"
        held.release()
        busy.story("a", "mine")
        assert close_code(busy) == 1012
        assert service.stop() == 0
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_every_request_of_a_websocket_gets_a_typed_end(held: OpenAIServer) -> None:
    with Service(GRAPHCAP_GRACE=SHORT) as service, socket(service) as client:
        client.send("caption", "a", **streams.caption(held))
        client.send("analyze", "b", **streams.analysis(held, streams.inline("one"), streams.inline("two")))
        held.wait_for_calls(3, HANG_GUARD)
        service.process.send_signal(signal.SIGTERM)
        for name, perspectives in (("a", ["mine"]), ("b", ["one", "two"])):
            ends = [event for event in client.story(name, *perspectives) if is_end(event)]
            assert {event["problem"]["code"] for event in ends} == {"shutting_down"}
        assert close_code(client) == 1012
        held.wait_for_hang_ups(3)
        assert service.stop() == 0
    assert "Traceback" not in service.log


def close_code(client: Socket) -> int:
    with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 (events may come before)
        while True:
            client.next()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def send_until_refused(service: Service, results: Counter[str]) -> None:
    """Send each request on a new connection until nothing listens; count statuses and errors."""
    host, _, port = service.url.removeprefix("http://").rpartition(":")
    while True:
        client = HTTPConnection(host, int(port), timeout=HANG_GUARD)
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


@pytest.mark.slow
def test_accepted_connections_get_a_response() -> None:
    """Without the care of Server.shutdown, nearly every client is reset."""
    results: Counter[str] = Counter()
    with Service() as service, ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(send_until_refused, service, results) for _ in range(8)]
        wait_until(lambda: results["422"] >= 50, "the service does not respond")
        assert service.stop() == 0
        for client in clients:
            client.result(HANG_GUARD)
    assert results.keys() <= {"422", "503", "ConnectionResetError"}, results
    assert results["ConnectionResetError"] <= 2, results


# Several workers.


def workers(service: Service) -> set[int]:
    """The process ids of the workers."""
    found = set()
    for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


def check_captions(service: Service) -> None:
    body: dict[str, Any] = {"perspective": "alt_text", "image": {"path": SAMPLE}}
    assert [streams.post(service, "/caption", body).status_code for _ in range(4)] == [200] * 4


@pytest.mark.slow
def test_a_killed_worker_is_replaced() -> None:
    with Service("--workers", "2") as service:
        check_captions(service)
        before = workers(service)
        assert len(before) == 2
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in workers(service) and len(workers(service)) == 2, "no worker replaces it")
        (new,) = workers(service) - before
        service.wait_for_log(f"worker {victim} ended with exit code -9, and its requests with it; worker {new} repl")
        check_captions(service)
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(HANG_GUARD) == 130


@pytest.mark.slow
def test_workers_shut_down_gracefully(held: OpenAIServer) -> None:
    with (
        Service("--workers", "2", GRAPHCAP_GRACE=SHORT) as service,
        running(caption(service, held), held) as response,
    ):
        assert service.stop() == 0
        assert response.result(HANG_GUARD).json()["code"] == "shutting_down"
        held.wait_for_hang_ups()
    assert "Traceback" not in service.log


@pytest.mark.slow
def test_a_signal_to_the_process_group_keeps_the_grace_period(held: OpenAIServer) -> None:
    """Workers then get a second SIGTERM from their supervisor."""
    with Service("--workers", "2", GRAPHCAP_GRACE=LONG) as service, running(caption(service, held), held) as response:
        for pid in [service.process.pid, *workers(service)]:
            os.kill(pid, signal.SIGTERM)
        wait_for_drain(service)
        threading.Event().wait(1.0)  # the supervisor takes half a second
        assert not response.done()
        held.release()
        assert response.result(HANG_GUARD).status_code == 200
        assert service.stop() == 0

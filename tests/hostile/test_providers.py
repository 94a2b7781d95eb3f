"""Everything a model server can do wrong, each against a real service: how it ends, when, and after how many calls."""

import json
import socket as sockets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from tests.api import streams
from tests.api.sockets import socket
from tests.api.test_captions import leaving
from tests.contract.kinds import OF_KIND
from tests.hostile.faults import GOOD, KINDS, MARK, Case, cases
from tests.servers import TrapServer, WireServer, tls
from tests.servers import behaviours as b
from tests.service import Service

pytestmark = pytest.mark.slow

CASES = {case.id: case for case in cases()}
MOST_CALLS = 4
AT_ONCE = 48
LATE = 10.0  # the machine is shared; the row's own time is what is asserted
HANG_GUARD = 90.0
SENT = 72 * 1024 * 1024  # the bridge reads 16 MiB of a reply; the rest lay in the buffers of the kernel, 36 MiB at most


@dataclass(frozen=True)
class Ending:
    """How a request ended: its caption or its problem, what was told to the client at all, and what it took."""

    caption: dict[str, Any] | None
    problem: dict[str, Any]
    headers: dict[str, str]
    seconds: float
    server: WireServer


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_MAX_SOCKET_REQUESTS="32") as running:
        for kind in KINDS:  # the first caption of a kind imports its SDK
            with OF_KIND[kind].server() as server:
                server.default = b.Answer(GOOD)
                assert streams.post(running, "/caption", streams.caption(server, OF_KIND[kind])).status_code == 200
        yield running


@pytest.fixture(scope="module")
def endings(
    request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Ending]]]:
    """Every case that was selected, many at once: most of them wait."""
    names = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    untrusted = tls.self_signed(tmp_path_factory.mktemp("tls"))
    with TrapServer() as trap, full() as nowhere, ThreadPoolExecutor(AT_ONCE) as threads:

        def run(case: Case) -> Ending:
            secure = untrusted if case.line in ("untrusted", "tls") else None
            with OF_KIND[case.kind].server(tls=secure) as server:
                return ending(case, service, server, {"trap": trap.url, "full": nowhere})

        chosen = sorted((one for one in CASES.values() if one.id in names), key=lambda one: one.timeout == 30)
        yield {case.id: threads.submit(run, case) for case in chosen}
        assert trap.untouched


@contextmanager
def full() -> Iterator[str]:
    """An address that never completes a connection: its queue is full, and nobody accepts."""
    with ExitStack() as stack:
        listening = stack.enter_context(sockets.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(sockets.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def ending(case: Case, service: Service, server: WireServer, elsewhere: dict[str, str]) -> Ending:
    """Ask once, through the case's door."""
    replies = [replace(one, url=elsewhere["trap"]) if isinstance(one, b.Redirect) else one for one in case.replies]
    server.reply(*replies[:-1])
    server.default = replies[-1]
    body = streams.caption(server, OF_KIND[case.kind], timeout=case.timeout, **case.fields)
    body["provider_config"]["base_url"] = address(case, server, elsewhere)
    began = time.monotonic()
    caption, problem, headers = DOORS[case.door](service, body)
    return Ending(caption, problem, headers, time.monotonic() - began, server)


def address(case: Case, server: WireServer, elsewhere: dict[str, str]) -> str:
    match case.line:
        case "refused":
            with sockets.socket() as gone:
                gone.bind(("127.0.0.1", 0))
                return f"http://127.0.0.1:{gone.getsockname()[1]}"
        case "name":
            return "http://nonexistent.invalid"
        case "full":
            return elsewhere["full"]
        case "plain":
            return server.url.replace("http:", "https:")
        case "tls":
            return server.url.replace("https:", "http:")
    return server.url


Told = tuple[dict[str, Any] | None, dict[str, Any], dict[str, str]]


def posted(service: Service, body: dict[str, Any]) -> Told:
    answer = httpx.post(f"{service.url}{streams.API}/caption", json=body, timeout=HANG_GUARD, trust_env=False)
    told = answer.json()
    return (told, {}, {}) if answer.status_code == 200 else (None, told, dict(answer.headers))


def streamed(service: Service, body: dict[str, Any]) -> Told:
    return of_story(streams.streamed(service, "/caption", body))


def over_a_socket(service: Service, body: dict[str, Any]) -> Told:
    with socket(service) as one:
        one.send("caption", "a1", **body)
        return of_story(one.story("a1", "mine"))


def of_story(story: list[dict[str, Any]]) -> Told:
    """What the one end before `done` says; no event holds the server's words but the caption's own."""
    end = next(one for one in story if streams.is_end(one))
    assert MARK not in json.dumps([one for one in story if one["type"] not in ("partial", "result")])
    return (end["caption"], {}, {}) if end["type"] == "result" else (None, end["problem"], {})


DOORS: dict[str, Callable[[Service, dict[str, Any]], Told]] = {
    "post": posted,
    "sse": streamed,
    "socket": over_a_socket,
}


def test_no_row_takes_more_than_four_calls() -> None:
    assert max(case.calls for case in CASES.values()) == MOST_CALLS


@pytest.mark.parametrize("name", CASES)
def test_fault(name: str, endings: dict[str, Future[Ending]]) -> None:
    case, found = CASES[name], endings[name].result(HANG_GUARD)
    told = found.problem
    if case.ends:
        assert found.caption is None, found.caption
        assert (told["code"], told["status"], told["retryable"]) == (case.ends, case.status, case.retryable), told
        assert told["provider"] == case.kind
        check_hint(case, found)
    else:
        assert found.caption is not None, told
        assert set(found.caption["result"]) <= {"caption", "note"}
    check_words(told)
    check_calls(case, found)
    assert found.seconds < case.timeout + LATE


def check_hint(case: Case, found: Ending) -> None:
    hint = found.problem.get("retry_after")
    if case.retry_after is not None:
        assert hint == case.retry_after
    if hint is not None and case.door == "post":
        assert int(found.headers["retry-after"]) >= hint
    assert found.problem["retryable"] or hint is None


def check_words(problem: dict[str, Any]) -> None:
    """A sentence for a person, and nothing that the server said."""
    said = json.dumps(problem)
    assert MARK not in said
    assert streams.KEY not in said
    if problem:
        assert problem["detail"].endswith(".")
        assert problem["detail"] == problem["message"]


def check_calls(case: Case, found: Ending) -> None:
    calls = found.server.calls
    assert len(calls) == case.calls, found.problem or found.caption
    given = [*case.replies, *[case.replies[-1]] * len(calls)]
    for number, (call, reply) in enumerate(zip(calls, given, strict=False)):
        if isinstance(reply, b.Status) and 400 <= reply.code < 500 and reply.code not in (408, 429):
            assert call.raw not in [later.raw for later in calls[number + 1 :]], "the same call again after a 4xx"
    assert found.server.bytes_sent < SENT


# A client that leaves stops its provider call. (By dropping a stream, and by cancelling: tests/api.)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_hangs_up_stops_the_call(service: Service, kind: str) -> None:
    with OF_KIND[kind].server() as server:
        server.default = b.Hang("first")
        with leaving(service, streams.API + "/caption", streams.caption(server, OF_KIND[kind])):
            server.wait_for_calls(1)
        server.wait_for_hang_ups(1)
        assert len(server.calls) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_socket_that_closes_stops_the_call(service: Service, kind: str) -> None:
    with OF_KIND[kind].server() as server:
        server.default = b.Hang("first")
        with socket(service) as one:
            one.send("caption", "a1", **streams.caption(server, OF_KIND[kind]))
            server.wait_for_calls(1)
        server.wait_for_hang_ups(1)
        assert len(server.calls) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_hangs_up_between_two_calls_is_not_asked_for_again(service: Service, kind: str) -> None:
    """The wait before a repeat ends too."""
    with OF_KIND[kind].server() as server:
        server.default = b.Status(503, retry_after=0.5)
        with leaving(service, streams.API + "/caption", streams.caption(server, OF_KIND[kind])):
            server.wait_for_calls(1)
        with OF_KIND[kind].server() as other:  # a caption that is made after the repeat would have come
            other.reply(b.Status(503, retry_after=1))
            other.default = b.Answer(GOOD)
            assert streams.post(service, "/caption", streams.caption(other, OF_KIND[kind])).status_code == 200
        assert len(server.calls) == 1

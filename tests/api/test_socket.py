"""Many requests on one WebSocket: by id, cancelled by id, and none of them outliving it."""

import asyncio
import base64
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed

from bridge.api.stream import Running, stream
from bridge.captioning.events import Event
from bridge.captioning.services import open_services
from bridge.captioning.stream import Stream
from bridge.settings import Settings
from tests.api import streams
from tests.api.sockets import Socket, frame, socket, state
from tests.api.streams import GOOD, HANG_GUARD, SAMPLE, analysis, inline, of_type
from tests.contract.kinds import KINDS, Kind
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE, Service

LIMIT = 64 * 1024
ALT = {"perspective": "alt_text", "image": {"path": SAMPLE}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    settings = {"GRAPHCAP_MAX_BODY_BYTES": str(LIMIT), "GRAPHCAP_MAX_SOCKET_REQUESTS": "6", "GRAPHCAP_LOG": "json"}
    with Service(**settings) as running:
        yield running
    assert running.code == 0
    assert "Traceback" not in running.log
    assert streams.KEY not in running.log
    assert '"level": "error"' not in running.log


@pytest.fixture
def one(service: Service) -> Iterator[Socket]:
    """A socket that is still of use when the test is over."""
    with socket(service) as opened:
        yield opened
        opened.send("caption", "the last", **ALT)
        assert opened.story("the last", "alt_text")[-2]["type"] == "result"


# Requests by id.


def test_a_caption(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Answer(GOOD))
    one.send("caption", "a1", **streams.caption(vllm_server))
    told = one.story("a1", "mine")
    assert [each.get("stage") for each in of_type(told, "progress")] == ["image", "model", "validate"]
    assert told[-2]["caption"]["result"] == GOOD
    assert told[0]["request_id"] == told[-2]["caption"]["request_id"]
    assert told[-1]["usage"] == {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64}


def test_at_the_root_as_well(service: Service) -> None:
    with socket(service, "/perspectives/stream") as one:
        one.send("caption", "a1", **ALT)
        assert one.story("a1", "alt_text")


def test_an_analysis(one: Socket, vllm_server: OpenAIServer) -> None:
    one.send("analyze", "a2", **analysis(vllm_server, inline("one"), inline("two"), synthesize=inline("all")))
    told = one.story("a2", "one", "two", "all")
    assert [each["perspective"] for each in of_type(told, "result")][-1] == "all"
    assert told[-1]["usage"]["input_tokens"] == 360


def test_many_at_once(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    names = [f"a{number}" for number in range(6)]
    for name in names:
        one.send("caption", name, **streams.caption(vllm_server))
    vllm_server.wait_for_calls(6, HANG_GUARD)
    vllm_server.release()
    stories = [one.story(name, "mine") for name in names]
    assert len({told[0]["request_id"] for told in stories}) == 6


def test_an_id_is_free_again_once_it_is_done(one: Socket) -> None:
    for _ in range(30):
        one.send("caption", "again", **ALT)
        one.story("again", "alt_text")


def test_bytes_are_read_as_text_is(one: Socket) -> None:
    one.raw(json.dumps({"type": "caption", "id": "a1", **ALT}).encode())
    one.story("a1", "alt_text")


# Cancelling.


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_cancelled_by_id(one: Socket, kind: Kind) -> None:
    with kind.server() as server:
        server.default = b.Hang("first")
        one.send("caption", "a1", **streams.caption(server, kind))
        server.wait_for_calls(1, HANG_GUARD)
        one.send("cancel", "a1")
        server.wait_for_hang_ups(1, HANG_GUARD)
        problem = one.story("a1", "mine")[-2]["problem"]
        assert (problem["code"], problem["retryable"]) == ("cancelled", True)
        assert len(server.calls) == 1


def test_one_is_cancelled_and_the_others_are_not(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    for name in ("a1", "a2", "a3"):
        one.send("caption", name, **streams.caption(vllm_server))
    vllm_server.wait_for_calls(3, HANG_GUARD)
    one.send("cancel", "a2")
    assert one.story("a2", "mine")[-2]["problem"]["code"] == "cancelled"
    vllm_server.release()
    assert [one.story(name, "mine")[-2]["type"] for name in ("a1", "a3")] == ["result", "result"]
    assert vllm_server.hang_ups == 1


def test_an_analysis_is_cancelled_where_it_is_unfinished(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Hang("first"), b.Hang("connect"))
    one.send(
        "analyze", "a1", **analysis(vllm_server, *(inline(name) for name in ("p1", "p2", "p3")), synthesize="alt_text")
    )
    done = one.until("a1", "result")["perspective"]
    one.send("cancel", "a1")
    told = one.story("a1", "p1", "p2", "p3", "alt_text")
    assert [each["perspective"] for each in of_type(told, "result")] == [done]
    assert [each["problem"]["code"] for each in of_type(told, "error")] == ["cancelled"] * 3
    vllm_server.wait_for_hang_ups(2, HANG_GUARD)


def test_cancelling_as_often_as_one_likes(one: Socket, vllm_server: OpenAIServer) -> None:
    """Whatever moment a cancel comes at: each perspective has one end, and `done` is the last word."""
    for number in range(40):
        name = f"a{number}"
        one.send("analyze", name, **analysis(vllm_server, inline("p1"), inline("p2")))
        for _ in range(number % 8):
            one.next()
        for _ in range(3):
            one.send("cancel", name)
        one.story(name, "p1", "p2")
        while "error" not in {each["type"] for each in one.told.get(name, [])}:
            one.send("cancel", name)  # what is over cannot be cancelled, and is told so
            one.next()
        one.problem(name)
        one.told.pop(name, None)
    one.send("cancel", "marker")
    one.problem("marker")


@pytest.mark.parametrize("rudely", [False, True], ids=["closed", "dropped"])
def test_the_end_of_the_socket_cancels_everything(service: Service, vllm_server: OpenAIServer, rudely: bool) -> None:
    vllm_server.default = b.Hang("first")
    with socket(service) as one:
        one.send("caption", "a1", **streams.caption(vllm_server))
        one.send("analyze", "a2", **analysis(vllm_server, inline("p1"), inline("p2")))
        vllm_server.wait_for_calls(3, HANG_GUARD)
        if rudely:
            one.connection.socket.shutdown(2)
    vllm_server.wait_for_hang_ups(3, HANG_GUARD)
    assert len(vllm_server.calls) == 3


def test_a_socket_that_closes_while_it_is_written_to(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    with socket(service) as one:
        for number in range(6):
            one.send("caption", f"a{number}", **streams.caption(vllm_server))
        vllm_server.wait_for_calls(6, HANG_GUARD)
        vllm_server.release()
        one.connection.socket.shutdown(2)
    with socket(service) as another:
        another.send("caption", "a1", **ALT)
        another.story("a1", "alt_text")


@pytest.mark.parametrize(
    ("keys", "sent"),
    [((), ["websocket.accept", "websocket.send", "websocket.send"]), (("k",), ["websocket.accept"])],
    ids=["in a caption", "in a refusal"],
)
async def test_what_nobody_reads_is_dropped(keys: Any, sent: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """The server knows that the client has gone before the conversation hears of it."""
    frames = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": frame("caption", "a1", **ALT)}]
    taken, gone = list[str](), asyncio.Event()

    async def receive() -> Any:
        if not frames:
            await gone.wait()
            return {"type": "websocket.disconnect", "code": 1006}
        return frames.pop(0)

    async def send(message: Any) -> None:
        if len(taken) == len(sent):
            gone.set()
            raise OSError
        taken.append(message["type"])

    async with open_services(Settings(workspace=WORKSPACE, api_keys=keys)) as services:
        scope = {
            "type": "websocket",
            "path": "/",
            "headers": [],
            "app": SimpleNamespace(state=SimpleNamespace(services=services)),
            "state": state(1),
        }
        await stream(WebSocket(scope, receive, send))
    assert taken == sent
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_others_have_their_turn_between_frames() -> None:
    count, turns, told, quiet = 200, 0, 0, asyncio.Event()
    frames = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": "{"} for _ in range(count))]

    async def receive() -> Any:
        if not frames:
            quiet.set()
            return {"type": "websocket.disconnect", "code": 1000}
        return frames.pop(0)

    async def send(message: Any) -> None:
        nonlocal told
        told += message["type"] == "websocket.send"

    async def others() -> None:
        nonlocal turns
        while not quiet.is_set():
            await asyncio.sleep(0)
            turns += 1

    async with open_services(Settings(workspace=WORKSPACE)) as services:
        app = SimpleNamespace(state=SimpleNamespace(services=services))
        scope = {"type": "websocket", "path": "/", "headers": [], "app": app, "state": state(1)}
        await asyncio.gather(stream(WebSocket(scope, receive, send)), others())
    assert told == count
    assert turns > count


async def test_who_is_cancelled_is_cancelled_once() -> None:
    """A second cancel would interrupt the telling of the first; what is over anyway is not cancelled at all."""
    telling, told = asyncio.Event(), list[str]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await telling.wait()
            told.append("done")
            raise

    async with open_services(Settings(workspace=WORKSPACE)) as services:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        running = Running(Stream("a1", "r1", dropped, services), task)
        running.stream.over = True
        running.cancel()
        assert not task.cancelling()
        running.stream.over = False
        for _ in range(3):
            running.cancel()
            await asyncio.sleep(0)
        telling.set()
        await asyncio.wait([task])
    assert told == ["done"]


async def dropped(event: Event) -> None:
    """Take an event and tell nobody."""


# Frames that are wrong.

BAD: dict[str, tuple[str | bytes, str | None, str, str]] = {
    "no JSON": ("{", None, "invalid_json", "not valid JSON"),
    "no UTF-8": (b"\xff\xfe", None, "invalid_json", "not valid JSON"),
    "empty": ("", None, "invalid_json", "not valid JSON"),
    "a list": ("[]", None, "invalid_json", "not an object"),
    "a text": ('"cancel"', None, "invalid_json", "not an object"),
    "nested": ("[" * 60_000, None, "invalid_json", "not valid JSON"),
    "no type": ('{"id": "x"}', "x", "invalid_request", "'type'"),
    "unknown type": ('{"type": "shout", "id": "x"}', "x", "invalid_request", "'type'"),
    "a type of another type": ('{"type": ["caption"], "id": "x"}', "x", "invalid_request", "'type'"),
    "no id": ('{"type": "caption"}', None, "invalid_request", "'id'"),
    "empty id": ('{"type": "caption", "id": ""}', None, "invalid_request", "'id'"),
    "a number as id": ('{"type": "caption", "id": 7}', None, "invalid_request", "'id'"),
    "null as id": ('{"type": "cancel", "id": null}', None, "invalid_request", "'id'"),
    "a list as id": ('{"type": "cancel", "id": ["x"]}', None, "invalid_request", "'id'"),
    "an endless id": (json.dumps({"type": "cancel", "id": "x" * 201}), None, "invalid_request", "'id'"),
    "cancel of an unknown id": ('{"type": "cancel", "id": "x"}', "x", "invalid_request", "Nothing is running"),
    "cancel with more": ('{"type": "cancel", "id": "x", "image": {}}', "x", "invalid_request", "only 'type' and 'id'"),
    "oversized": (json.dumps({"type": "cancel", "id": "x" * LIMIT}), None, "body_too_large", "larger than"),
    "oversized bytes": (b" " * (LIMIT + 1), None, "body_too_large", "larger than"),
}


def asking(kind: str, **fields: Any) -> tuple[str, str]:
    return frame(kind, "x", **fields), "x"


PATH = {"image": {"path": SAMPLE}}
BAD |= {
    "no image": (*asking("caption", perspective="alt_text"), "invalid_request", "one image"),
    "two images": (
        *asking("caption", perspective="alt_text", image={"path": SAMPLE, "url": "http://a.invalid"}),
        "invalid_request",
        "one image",
    ),
    "no perspective": (*asking("caption", **PATH), "invalid_request", "perspective: is required"),
    "unknown perspective": (*asking("caption", perspective="alt_txt", **PATH), "unknown_perspective", "alt_txt"),
    "bad perspective": (*asking("caption", perspective={"name": "x"}, **PATH), "invalid_perspective", "prompt"),
    "unknown field": (*asking("caption", perspective="alt_text", colour=1, **PATH), "invalid_request", "colour"),
    "unknown provider": (*asking("caption", **ALT, provider="nobody"), "unknown_provider", "nobody"),
    "no model": (
        *asking("caption", **ALT, provider_config={"kind": "vllm", "base_url": "http://127.0.0.1:9"}),
        "invalid_request",
        "model",
    ),
    "named twice": (*asking("analyze", perspectives=["alt_text"] * 2, **PATH), "invalid_request", "came twice"),
    "no perspectives": (*asking("analyze", perspectives=[], **PATH), "invalid_request", "at least 1"),
    "an analysis without image": (*asking("analyze", perspectives=["alt_text"]), "invalid_request", "one image"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_frame_is_told_and_forgiven(one: Socket, name: str) -> None:
    sent, named, code, said = BAD[name]
    one.raw(sent)
    problem = one.problem(named)
    assert (problem["code"], problem["detail"]) == (code, problem["message"])
    assert said in problem["detail"]
    assert problem["detail"].endswith((".", "?"))


def test_a_frame_without_a_model_is_told_those_that_there_are(one: Socket, vllm_server: OpenAIServer) -> None:
    fields = {name: value for name, value in streams.caption(vllm_server).items() if name != "model"}
    one.send("caption", "x", **fields)
    problem = one.problem("x")
    assert (problem["code"], problem["status"]) == ("invalid_request", 422)
    assert vllm_server.models[0] in problem["detail"]


def test_an_id_that_is_in_use(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    one.send("caption", "a1", **streams.caption(vllm_server))
    vllm_server.wait_for_calls(1, HANG_GUARD)
    one.send("caption", "a1", **ALT)
    refused = one.until("a1", "error")
    assert (refused["perspective"], refused["problem"]["code"]) == (None, "invalid_request")
    one.told["a1"].remove(refused)
    vllm_server.release()
    assert one.story("a1", "mine")[-2]["caption"]["result"] == GOOD
    assert len(vllm_server.calls) == 1


def test_more_than_one_socket_may_carry(one: Socket, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    for number in range(6):
        one.send("caption", f"a{number}", **streams.caption(vllm_server))
    vllm_server.wait_for_calls(6, HANG_GUARD)
    one.send("caption", "a6", **ALT)
    problem = one.problem("a6")
    assert (problem["code"], problem["status"], problem["retryable"]) == ("overloaded", 503, True)
    one.send("cancel", "a0")
    one.story("a0", "mine")
    one.send("caption", "a6", **ALT)
    one.story("a6", "alt_text")
    vllm_server.release()
    for number in range(1, 6):
        one.story(f"a{number}", "mine")


def test_a_frame_far_beyond_the_limit_ends_the_socket(service: Service) -> None:
    with socket(service) as one:
        one.raw(b" " * (2 * LIMIT + 1))
        with pytest.raises(ConnectionClosed) as closed:
            one.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_an_image_in_the_frame(one: Socket, vllm_server: OpenAIServer, photo: bytes) -> None:
    fields = streams.caption(vllm_server, image={"base64": base64.b64encode(photo).decode()})
    one.send("caption", "a1", **fields)
    one.story("a1", "mine")
    assert vllm_server.call.image is not None
    assert vllm_server.call.image.data == photo

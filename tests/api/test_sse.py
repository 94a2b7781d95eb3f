"""Captions as server-sent events: the story they tell, and how it ends when something breaks."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.api.sse import Pinged, Write
from bridge.deadline import Deadline
from tests.api import streams
from tests.api.sockets import state
from tests.api.streams import GOOD, HANG_GUARD, PHOTO, SAMPLE, analysis, inline, of_type, post, streamed, streaming
from tests.contract.kinds import KINDS, OF_KIND, Kind
from tests.servers import OpenAIServer, WireServer
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour
from tests.service import Service

ALL = {"ids": lambda kind: kind.id}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG="json") as running:
        yield running
        assert "Traceback" not in running.log
    assert running.code == 0


@pytest.fixture
def server(kind: Kind) -> Iterator[WireServer]:
    with kind.server() as running:
        yield running


# The story of a caption that comes well.


@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_usage_comes_from_the_last_chunk(service: Service, kind: Kind, server: WireServer) -> None:
    server.reply(b.Answer(GOOD, pieces=4))
    told = streamed(service, "/caption", streams.caption(server, kind))
    assert server.call.stream
    cached = 64 if kind.caches else None
    usage = {"input_tokens": 120, "output_tokens": 30, "cached_tokens": cached}
    assert told[-1]["usage"] == usage
    assert told[-1]["timing"]["total"] > 0
    made = told[-2]["caption"]
    assert (made["result"], made["usage"], made["provider"]) == (GOOD, usage, kind.kind)


def test_the_path_names_the_perspective_too(service: Service, vllm_server: OpenAIServer) -> None:
    body = streams.target(vllm_server)
    with streaming(service, "/alt_text/caption", json=body, headers={"X-Request-ID": "mine-1"}) as answer:
        told = list(streams.events(answer))
    streams.check_story(told, ["alt_text"])
    assert {one["id"] for one in told} == {"mine-1"}
    assert told[0]["request_id"] == told[-2]["caption"]["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-length" not in answer.headers


def test_the_stages_come_in_order(service: Service, vllm_server: OpenAIServer) -> None:
    told = streamed(service, "/caption", streams.caption(vllm_server))
    assert [one["stage"] for one in of_type(told, "progress")] == ["image", "model", "validate"]
    assert of_type(told, "progress")[1]["detail"] == vllm_server.models[0]


def test_builtin_streams_as_well(service: Service) -> None:
    body = {"perspective": "graph_caption", "image": {"path": SAMPLE}}
    told = streamed(service, "/caption", body)
    assert told[-2]["caption"]["result"] == post(service, "/caption", body).json()["result"]


def test_an_upload_is_streamed_too(service: Service, vllm_server: OpenAIServer) -> None:
    fields = {name: value for name, value in streams.caption(vllm_server).items() if name != "image"}
    parts = {"image": ("a.jpg", PHOTO.read_bytes()), "request": (None, json.dumps(fields))}
    with streaming(service, "/caption", files=parts) as answer:
        told = list(streams.events(answer))
    streams.check_story(told, ["mine"])
    assert told[-2]["type"] == "result"


@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_a_partial_holds_the_whole_object_so_far(service: Service, kind: Kind, server: WireServer) -> None:
    answer = {"caption": "a cup of coffee on a saucer " * 12}
    server.reply(b.Drip(0.06, 800, b.Answer(answer, pieces=24)))
    told = streamed(service, "/caption", streams.caption(server, kind))
    grown = [one["result"]["caption"] for one in of_type(told, "partial")]
    assert len(grown) >= 2
    assert len(set(grown)) == len(grown)
    whole = told[-2]["caption"]["result"]["caption"]
    for text, longer in zip(grown, [*grown[1:], whole], strict=True):
        assert longer.startswith(text)
    assert whole == answer["caption"]


# Refusals before any work are plain HTTP errors.

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no image": ({"perspective": "alt_text"}, 422, "invalid_request"),
    "two images": (
        {"perspective": "alt_text", "image": {"path": SAMPLE, "url": "http://a.invalid/"}},
        422,
        "invalid_request",
    ),
    "unknown perspective": ({"perspective": "alt_txt", "image": {"path": SAMPLE}}, 404, "unknown_perspective"),
    "bad perspective": ({"perspective": {"name": "x"}, "image": {"path": SAMPLE}}, 422, "invalid_perspective"),
    "unknown provider": (
        {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "nobody"},
        404,
        "unknown_provider",
    ),
    "unknown field": ({"perspective": "alt_text", "image": {"path": SAMPLE}, "colour": 1}, 422, "invalid_request"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_a_plain_error(service: Service, name: str) -> None:
    body, status, code = REFUSED[name]
    answer = post(service, "/caption", body, headers={"Accept": "text/event-stream"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"


def test_after_started_a_failure_is_an_event(service: Service) -> None:
    told = streamed(service, "/caption", {"perspective": "alt_text", "image": {"path": "datasets/none.jpg"}})
    assert told[-2]["problem"]["code"] == "image_not_found"
    assert told[-2]["problem"]["instance"] == told[0]["request_id"]
    assert told[-1]["usage"] is None


# Streams that break never look like a result.

CHATTY = b.Answer({"caption": "a cup " * 40}, pieces=8)
WHOLE = '{"caption": "a cup on a table"}'
BROKEN: dict[str, Behaviour] = {
    "cut": b.Cut(of=CHATTY),
    "error object after the whole text": b.ErrorInStream(text=WHOLE),
    "unfinished": b.Unfinished(),
    "unfinished after the whole text": b.Unfinished(WHOLE),
    "truncated": b.Length(),
    "empty": b.EmptyText(),
    "nothing": b.EmptyChoices(),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_a_broken_stream_is_an_error(service: Service, kind: Kind, server: WireServer, name: str) -> None:
    server.default = BROKEN[name]
    told = streamed(service, "/caption", streams.caption(server, kind, max_output_retries=0))
    assert of_type(told, "result") == []
    problem = told[-2]["problem"]
    assert problem["code"] in ("provider_error", "answer_truncated", "provider_unreachable", "answer_invalid")
    assert problem["provider"] == kind.kind


@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_an_answer_that_does_not_fit_is_reset(service: Service, kind: Kind, server: WireServer) -> None:
    server.reply(b.InvalidJson(), b.Answer(GOOD))
    told = streamed(service, "/caption", streams.caption(server, kind))
    reset = next(index for index, one in enumerate(told) if one["type"] == "reset")
    assert told[reset]["reason"].endswith(".")
    assert told[reset - 1]["stage"] == "retry"
    assert told[-2]["caption"]["result"] == GOOD
    assert all(one["result"]["caption"] in GOOD["caption"] for one in of_type(told[reset:], "partial"))


def test_an_answer_that_never_fits_ends_in_an_error(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.WrongSchema()
    told = streamed(service, "/caption", streams.caption(vllm_server))
    assert len(of_type(told, "reset")) == len(vllm_server.calls) - 1 == 2
    assert told[-2]["problem"]["code"] == "answer_invalid"


def test_a_stand_in_begins_anew(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Cut(of=CHATTY)
    with OF_KIND["ollama"].server() as second:
        fallback = {key: value for key, value in streams.target(second, OF_KIND["ollama"]).items() if key != "image"}
        told = streamed(service, "/caption", streams.caption(vllm_server, fallbacks=[fallback]))
    assert [one["stage"] for one in of_type(told, "progress")].count("fallback") == 1
    assert len(of_type(told, "reset")) == 1
    assert told[-2]["caption"]["provider"] == "ollama"


# A client that leaves.


@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_dropping_the_connection_ends_the_call(service: Service, kind: Kind, server: WireServer) -> None:
    server.default = b.Hang("first")
    with streaming(service, "/caption", json=streams.caption(server, kind)) as answer:
        told = streams.events(answer)
        streams.until(told, lambda one: one.get("stage") == "model")
        server.wait_for_calls(1, HANG_GUARD)
        assert not server.closed.is_set()
    server.wait_for_hang_ups(1, HANG_GUARD)


def test_dropping_the_connection_ends_every_call_of_an_analysis(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hang("first")
    names = [inline(f"p{number}") for number in range(5)]
    with streaming(service, "/analyze", json=analysis(vllm_server, *names)):
        vllm_server.wait_for_calls(5, HANG_GUARD)
    vllm_server.wait_for_hang_ups(5, HANG_GUARD)
    assert len(vllm_server.calls) == 5


# Several perspectives.


def test_an_analysis_tells_of_each_as_it_ends(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Hold())
    body = analysis(vllm_server, inline("one"), inline("two"), synthesize=inline("all"))
    with streaming(service, "/analyze", json=body) as answer:
        told = []
        for event in streams.events(answer):
            told.append(event)
            if event["type"] == "result":
                vllm_server.release()
    streams.check_story(told, ["one", "two", "all"])
    assert [one["perspective"] for one in of_type(told, "result")][2] == "all"
    assert "synthesis" in [one["stage"] for one in of_type(told, "progress") if one["perspective"] == "all"]
    assert told[-1]["usage"] == {"input_tokens": 360, "output_tokens": 90, "cached_tokens": 192}


def test_what_concerns_all_is_an_error_of_each(service: Service) -> None:
    body = {"perspectives": ["alt_text", "graph_caption"], "image": {"path": "datasets/none.jpg"}}
    told = streamed(service, "/analyze", body)
    assert [one["problem"]["code"] for one in of_type(told, "error")] == ["image_not_found"] * 2


def test_an_analysis_that_is_refused_is_a_plain_error(service: Service) -> None:
    body = {"perspectives": ["alt_text", "alt_text"], "image": {"path": SAMPLE}}
    assert post(service, "/analyze", body, headers={"Accept": "text/event-stream"}).status_code == 422


# Slow and silent clients.


class Told(Pinged):
    """Writes one block when it is allowed to, and remembers that it was taken."""

    def __init__(self, block: bytes, ping: float) -> None:
        super().__init__(Deadline(60), ping)
        self.block = block
        self.allowed = asyncio.Event()
        self.taken = False

    async def tell(self, write: Write) -> None:
        await self.allowed.wait()
        await write(self.block)
        self.taken = True


async def never_leaves() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_a_silent_stream_is_pinged() -> None:
    stream, bodies = Told(b"data: x\n\n", ping=0.005), list[bytes]()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])
            if len(bodies) == 2:
                stream.allowed.set()

    await stream({"type": "http", "state": state()}, never_leaves, send)
    assert bodies[:2] == [b": ping\n\n"] * 2
    assert bodies[-2:] == [b"data: x\n\n", b""]


async def test_a_block_waits_until_it_is_taken() -> None:
    stream, offered, taking = Told(b"data: x\n\n", ping=60), asyncio.Event(), asyncio.Event()
    stream.allowed.set()

    async def send(message: Any) -> None:
        if message.get("body"):
            offered.set()
            await taking.wait()

    serving = asyncio.create_task(stream({"type": "http", "state": state()}, never_leaves, send))
    await offered.wait()
    assert not stream.taken
    taking.set()
    await serving
    assert stream.taken

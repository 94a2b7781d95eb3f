"""Captions as server-sent events: their order, and the last event after a failure."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from starlette.types import Message

from bridge.api.sse import EventStreamResponse
from bridge.captioning.models import CaptionRequest, ImageRef
from bridge.captioning.plan import make_plan
from bridge.captioning.services import Services
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.run import Run
from tests.api import streams
from tests.api.sockets import state
from tests.api.streams import GOOD, SAMPLE, analysis, inline, of_type, post, streamed, streaming
from tests.contract.kinds import Kind
from tests.guard import GUARD
from tests.servers import OpenAIServer, WireServer
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour
from tests.service import Service


def test_a_caption_of_each_kind(service: Service, kind: Kind, server: WireServer) -> None:
    server.reply(b.Answer(GOOD, pieces=4))
    events = streamed(service, "/caption", streams.caption(server, kind))
    assert server.call.stream
    usage = {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64 if kind.caches else None}
    caption = events[-2]["caption"]
    assert (caption["result"], caption["usage"], caption["provider"]) == (GOOD, usage, kind.kind)
    assert events[-1]["usage"] == usage
    assert events[-1]["timing"]["total"] > 0
    progress = [event for event in of_type(events, "progress") if event["stage"] != "import"]
    assert [event["stage"] for event in progress] == ["image", "model", "validate"]
    assert progress[1]["detail"] == server.models[0]


def test_headers_and_ids(service: Service, vllm_server: OpenAIServer) -> None:
    body = streams.target(vllm_server)
    with streaming(service, "/alt_text/caption", json=body, headers={"X-Request-ID": "mine-1"}) as response:
        events = list(streams.events(response))
    streams.check_event_order(events, ["alt_text"])
    assert {event["id"] for event in events} == {"mine-1"}
    request_ids = events[0]["request_id"], events[-2]["caption"]["request_id"], response.headers["x-request-id"]
    assert set(request_ids) == {"mine-1"}
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in response.headers


def test_each_partial_event_is_cumulative(service: Service, kind: Kind, server: WireServer) -> None:
    answer = {"caption": "a cup of coffee on a saucer " * 12}
    server.reply(b.Drip(0.06, 800, b.Answer(answer, pieces=24)))
    events = streamed(service, "/caption", streams.caption(server, kind))
    texts = [event["result"]["caption"] for event in of_type(events, "partial")]
    texts.append(events[-2]["caption"]["result"]["caption"])
    assert len(set(texts)) >= 2  # on a busy machine, most partials are replaced by later ones
    for text, longer in pairwise(texts):
        assert longer.startswith(text)
    assert texts[-1] == answer["caption"]


def test_an_error_before_the_first_event_is_an_http_error(service: Service) -> None:
    image = {"path": SAMPLE}
    for path, body, status, code in (
        ("/caption", {"perspective": "alt_txt", "image": image}, 404, "unknown_perspective"),
        ("/caption", {"perspective": "alt_text", "image": image, "colour": 1}, 422, "invalid_request"),
        ("/analyze", {"perspectives": ["alt_text"] * 2, "image": image}, 422, "invalid_request"),
    ):
        response = post(service, path, body, headers={"Accept": "text/event-stream"})
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["content-type"] == "application/json"


def test_an_error_after_started_is_an_event(service: Service) -> None:
    events = streamed(service, "/caption", {"perspective": "alt_text", "image": {"path": "datasets/none.jpg"}})
    assert events[-2]["problem"]["code"] == "image_not_found"
    assert events[-2]["problem"]["instance"] == events[0]["request_id"]
    assert events[-1]["usage"] is None
    body = {"perspectives": ["alt_text", "graph_caption"], "image": {"path": "datasets/none.jpg"}}
    events = streamed(service, "/analyze", body)
    assert [event["problem"]["code"] for event in of_type(events, "error")] == ["image_not_found"] * 2


CHATTY = b.Answer({"caption": "a cup " * 40}, pieces=8)
WHOLE = '{"caption": "a cup on a table"}'
BROKEN: dict[str, Behaviour] = {
    "cut": b.Cut(of=CHATTY),
    "error object after the whole text": b.ErrorInStream(text=WHOLE),
    "unfinished after the whole text": b.Unfinished(WHOLE),
    "truncated": b.Length(),
    "empty": b.Answer(""),
    "nothing": b.EmptyChoices(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_an_error(service: Service, kind: Kind, server: WireServer, name: str) -> None:
    server.default = BROKEN[name]
    events = streamed(service, "/caption", streams.caption(server, kind, max_output_retries=0))
    assert of_type(events, "result") == []
    problem = events[-2]["problem"]
    assert problem["code"] in ("provider_error", "answer_truncated", "provider_unreachable", "answer_invalid")
    assert problem["provider"] == kind.kind


def test_an_invalid_answer_causes_a_reset_event(service: Service, kind: Kind, server: WireServer) -> None:
    server.reply(b.InvalidJson(), b.Answer(GOOD))
    events = streamed(service, "/caption", streams.caption(server, kind))
    reset = next(index for index, event in enumerate(events) if event["type"] == "reset")
    assert events[reset]["reason"].endswith(".")
    assert events[reset - 1]["stage"] == "retry"
    assert events[-2]["caption"]["result"] == GOOD
    assert [attempt["outcome"] for attempt in events[-2]["caption"]["attempts"]] == ["invalid_answer", "ok"]
    assert all(event["result"]["caption"] in GOOD["caption"] for event in of_type(events[reset:], "partial"))


def test_a_disconnect_ends_the_call(service: Service, kind: Kind, server: WireServer) -> None:
    server.default = b.Hang("first")
    with streaming(service, "/caption", json=streams.caption(server, kind)) as response:
        events = streams.events(response)  # closing this iterator would close the connection
        streams.until(events, lambda event: event.get("stage") == "model")
        server.wait_for_calls(1)
        assert not server.closed.is_set()
    server.wait_for_hang_ups(1)


def test_an_analysis_reports_each_perspective_as_it_ends(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Hold())
    body = analysis(vllm_server, inline("one"), inline("two"), synthesize=inline("all"))
    with streaming(service, "/analyze", json=body) as response:
        events = []
        for event in streams.events(response):
            events.append(event)
            if event["type"] == "result":
                vllm_server.release()
    streams.check_event_order(events, ["one", "two", "all"])
    assert [event["perspective"] for event in of_type(events, "result")][2] == "all"
    assert "synthesis" in [event["stage"] for event in of_type(events, "progress") if event["perspective"] == "all"]
    assert events[-1]["usage"] == {"input_tokens": 360, "output_tokens": 90, "cached_tokens": 192}


async def response_to(services: Services, server: OpenAIServer, **options: Any) -> EventStreamResponse:
    run = Run(Deadline(60), "r1")
    request = CaptionRequest.model_validate({**streams.caption(server), "image": ImageRef(path=SAMPLE)})
    plan = await make_plan(request, services, run)
    response = EventStreamResponse(EventStream(plan, services, run), run)
    vars(response).update(options)
    return response


async def stays() -> Message:
    await asyncio.Event().wait()
    return {}


async def test_an_idle_stream_sends_comments(services: Services, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold(b.Answer(GOOD))
    blocks: list[bytes] = []

    async def send(message: Message) -> None:
        blocks.append(message.get("body", b""))
        if blocks.count(b": ping\n\n") == 2:
            vllm_server.release()

    response = await response_to(services, vllm_server, ping=0.005)
    await response({"type": "http", "state": state()}, stays, send)
    assert b"event: result" in b"".join(blocks)
    assert blocks[-1] == b""


async def test_a_client_that_stops_reading_is_disconnected(
    services: Services, vllm_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.api.connection.STALL_SECONDS", 0.1)
    vllm_server.default = b.Hang("first")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(GUARD):
        response = await response_to(services, vllm_server)
        await response({"type": "http", "state": state()}, stays, send)

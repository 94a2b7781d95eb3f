"""Requests to a model server through the bridge, and the events of their responses."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.contract.kinds import KIND_BY_NAME, Kind
from tests.contract.schemas import PLAIN
from tests.guard import GUARD
from tests.servers import WireServer
from tests.service import WORKSPACE, Service

SAMPLE = "datasets/samples/coffee.jpg"
PHOTO = WORKSPACE / SAMPLE
KEY = "sk-callers-own-key-123456"
API = "/api/v1/perspectives"
GOOD = {"caption": "a cup on a table"}
Event = dict[str, Any]


def inline(name: str = "mine", prompt: str = "Describe the picture.", **fields: Any) -> dict[str, Any]:
    return {"name": name, "prompt": prompt, "json_schema": PLAIN, **fields}


def target(server: WireServer, kind: Kind = KIND_BY_NAME["vllm"]) -> dict[str, Any]:
    """Return the fields that send a request to this server."""
    server.key = KEY
    config = {"kind": kind.kind, "base_url": server.url, "api_key": KEY}
    return {"image": {"path": SAMPLE}, "model": server.models[0], "provider_config": config}


def caption(server: WireServer, kind: Kind = KIND_BY_NAME["vllm"], **fields: Any) -> dict[str, Any]:
    return {"perspective": inline(), **target(server, kind), **fields}


def analysis(server: WireServer, *perspectives: Any, **fields: Any) -> dict[str, Any]:
    return {"perspectives": list(perspectives), **target(server), **fields}


def post(service: Service, path: str, body: dict[str, Any], **request: Any) -> httpx.Response:
    return httpx.post(service.url + API + path, json=body, timeout=GUARD, trust_env=False, **request)


@contextmanager
def streaming(service: Service | str, path: str, **request: Any) -> Iterator[httpx.Response]:
    """POST to a service, or to a base URL, and read the response as it arrives."""
    url = service if isinstance(service, str) else service.url
    headers = {"Accept": "text/event-stream", **request.pop("headers", {})}
    with (
        httpx.Client(timeout=GUARD, trust_env=False) as client,
        client.stream("POST", url + API + path, headers=headers, **request) as response,
    ):
        yield response


def events(response: httpx.Response) -> Iterator[Event]:
    """Yield server-sent events as they arrive; their name is their type."""
    name = ""
    for line in response.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            event: Event = json.loads(value)
            assert event["type"] == name
            yield event


def streamed(service: Service | str, path: str, body: dict[str, Any]) -> list[Event]:
    """Return all events of a request, after checking that they are complete and in order."""
    with streaming(service, path, json=body) as response:
        assert response.status_code == 200, response.read()
        received = list(events(response))
    names = [body["perspective"]] if "perspective" in body else [*body.get("perspectives", []), body.get("synthesize")]
    check_event_order(received, [name["name"] if isinstance(name, dict) else name for name in names if name])
    return received


def check_event_order(received: list[Event], perspectives: Iterable[str]) -> None:
    """Check the order: `started` first, one last event per perspective, `done` last, and the same id in all."""
    assert len({event["id"] for event in received}) == 1
    assert [event["type"] for event in (received[0], received[-1])] == ["started", "done"]
    between = received[1:-1]
    assert {event["type"] for event in between} <= {"progress", "partial", "reset", "result", "error"}
    assert Counter(event["perspective"] for event in between if is_end(event)) == Counter(perspectives)
    for name in {event["perspective"] for event in between}:
        assert is_end([event for event in between if event["perspective"] == name][-1])


def is_end(event: Event) -> bool:
    return event["type"] in ("result", "error")


def of_type(received: Iterable[Event], *types: str) -> list[Event]:
    return [event for event in received if event["type"] in types]


def until(received: Iterator[Event], matches: Callable[[Event], bool]) -> Event:
    """Return the first event that matches."""
    return next(event for event in received if matches(event))

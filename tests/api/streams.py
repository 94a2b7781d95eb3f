"""What the tests of the streams share: requests to a wire server through the bridge, and the events that come back."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.contract.kinds import OF_KIND, Kind
from tests.contract.schemas import PLAIN
from tests.servers import WireServer
from tests.service import WORKSPACE, Service

SAMPLE = "datasets/samples/coffee.jpg"
PHOTO = WORKSPACE / SAMPLE
KEY = "sk-callers-own-key-123456"
API = "/api/v1/perspectives"
HANG_GUARD = 60.0
GOOD = {"caption": "a cup on a table"}
Event = dict[str, Any]


def inline(name: str = "mine", prompt: str = "Describe the picture.", **fields: Any) -> dict[str, Any]:
    return {"name": name, "prompt": prompt, "json_schema": PLAIN, **fields}


def target(server: WireServer, kind: Kind = OF_KIND["vllm"]) -> dict[str, Any]:
    """The fields that send a request to this server."""
    server.key = KEY
    return {
        "image": {"path": SAMPLE},
        "model": server.models[0],
        "provider_config": {"kind": kind.kind, "base_url": server.url, "api_key": KEY},
    }


def caption(server: WireServer, kind: Kind = OF_KIND["vllm"], **fields: Any) -> dict[str, Any]:
    return {"perspective": inline(), **target(server, kind), **fields}


def analysis(server: WireServer, *perspectives: Any, **fields: Any) -> dict[str, Any]:
    return {"perspectives": list(perspectives), **target(server), **fields}


def post(service: Service, path: str, body: dict[str, Any], **request: Any) -> httpx.Response:
    return httpx.post(service.url + API + path, json=body, timeout=HANG_GUARD, trust_env=False, **request)


@contextmanager
def streaming(service: Service | str, path: str, **request: Any) -> Iterator[httpx.Response]:
    """A POST whose answer is read as it comes, to a service or to whoever has this address."""
    url = service if isinstance(service, str) else service.url
    headers = {"Accept": "text/event-stream", **request.pop("headers", {})}
    with (
        httpx.Client(timeout=HANG_GUARD, trust_env=False) as client,
        client.stream("POST", url + API + path, headers=headers, **request) as answer,
    ):
        yield answer


def events(answer: httpx.Response) -> Iterator[Event]:
    """Server-sent events as they come; their name is their type."""
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            event: Event = json.loads(value)
            assert event["type"] == name
            yield event


def streamed(service: Service | str, path: str, body: dict[str, Any]) -> list[Event]:
    """Every event of a request, checked to be a whole story."""
    with streaming(service, path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        told = list(events(answer))
    names = [body["perspective"]] if "perspective" in body else [*body.get("perspectives", []), body.get("synthesize")]
    check_story(told, [one["name"] if isinstance(one, dict) else one for one in names if one])
    return told


def check_story(told: list[Event], perspectives: Iterable[str]) -> None:
    """`started` first, one end for each perspective, nothing of it after that, `done` last, one id throughout."""
    assert len({one["id"] for one in told}) == 1
    assert [one["type"] for one in (told[0], told[-1])] == ["started", "done"]
    between = told[1:-1]
    assert {one["type"] for one in between} <= {"progress", "partial", "reset", "result", "error"}
    assert Counter(one["perspective"] for one in between if is_end(one)) == Counter(perspectives)
    for name in {one["perspective"] for one in between}:
        assert is_end([one for one in between if one["perspective"] == name][-1])


def is_end(event: Event) -> bool:
    return event["type"] in ("result", "error")


def of_type(told: Iterable[Event], *types: str) -> list[Event]:
    return [one for one in told if one["type"] in types]


def until(told: Iterator[Event], fits: Callable[[Event], bool]) -> Event:
    """The first event that fits."""
    return next(one for one in told if fits(one))

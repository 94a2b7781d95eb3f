"""Responses that are almost right: wrong values anywhere end in a ProviderError or a valid Completion."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from providers.base import Completion
from providers.errors import ProviderError
from providers.pool import Pool
from tests.contract.kinds import OF_KIND
from tests.contract.target import Target, target
from tests.servers.behaviours import Answer, Raw
from tests.servers.call import Call

ODD: tuple[Any, ...] = (None, -1, 1e308, True, "x", [None], {"x": None}, "\ud800")
BODIES = (
    *(b"", b" ", b"null", b"[]", b"{}", b"3", b'"text"', b"{", b'{"a":', b"\xff\xfe", b"\x00", b"data: {}\n\n"),
    *(b"[" * 50_000, b'{"a":' * 50_000, b"NaN", b"1" * 10_000, b'{"error": {}}', b'{"error": ""}'),
)


def slots(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    yield path
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from slots(value, (*path, key))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def variations(document: Any) -> Iterator[bytes]:
    for path in slots(document):
        for value in ODD:
            yield json.dumps(replaced(document, path, value)).encode()


async def survives(to: Target, streamed: bool, raw: Raw) -> None:
    to.server.reply(raw)
    try:
        completion = await to.ask(streamed)
    except ProviderError:
        return
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} for {raw.body[:300]!r}") from error
    check(completion, raw)


def check(completion: Completion, raw: Raw) -> None:
    assert isinstance(completion.text, str), raw
    assert isinstance(completion.model, str), raw
    assert completion.text.strip(), raw
    assert (completion.text + completion.model).encode(), raw  # no half characters
    for count in (completion.usage.input_tokens, completion.usage.output_tokens) if completion.usage else ():
        assert count is None or (type(count) is int and count >= 0), raw


@pytest.fixture(params=["vllm", "ollama", "gemini", "anthropic"])
def to_protocol(request: pytest.FixtureRequest, pool: Pool) -> Iterator[Target]:
    with OF_KIND[request.param].server() as server:
        yield target(OF_KIND[request.param], server, pool)


def reply_to(to: Target, streamed: bool) -> str:
    """Return a valid response of the server."""
    call = Call("POST", "/", {}, b"", {"stream_options": {"include_usage": True}}, to.server.models[0], streamed)
    return to.server.render(call, Answer("A boat.", pieces=1)).body.decode()


async def test_a_response_with_a_wrong_value_anywhere(to_protocol: Target) -> None:
    for body in variations(json.loads(reply_to(to_protocol, streamed=False))):
        await survives(to_protocol, False, Raw(body))


async def test_a_stream_with_a_wrong_value_anywhere(to_protocol: Target) -> None:
    ollama = to_protocol.kind.kind == "ollama"
    content_type = "application/x-ndjson" if ollama else "text/event-stream"
    events = reply_to(to_protocol, streamed=True).split("\n")
    shapes: set[str] = set()
    for index, line in enumerate(events):
        event = line.strip().removeprefix("data: ")
        shape = re.sub(r'(?<=: )("[^"]*"|[-0-9.]+)', "_", event)
        if not event.startswith("{") or shape in shapes:
            continue
        shapes.add(shape)
        for odd in variations(json.loads(event)):
            replaced_event = odd if ollama else b"data: " + odd
            before, after = (("\n".join(part)).encode() for part in (events[:index], events[index + 1 :]))
            body = b"\n".join([before, replaced_event, after])
            await survives(to_protocol, True, Raw(body, content_type))


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "application/x-ndjson", "text/html"])
async def test_a_body_that_is_not_a_response(to: Target, streamed: bool, content_type: str) -> None:
    for body in BODIES:
        await survives(to, streamed, Raw(body, content_type))


async def test_a_body_that_is_not_a_list_of_models(to: Target) -> None:
    rows = b"""{"data": [null, 3, {"id": 5}, {"id": null}, {}, {"id": "good"}],
                "models": [null, 3, {"name": 5}, {"model": null}, {}, {"name": "good", "model": "good"}]}"""
    half = b"""{"data": [{"id": "\\ud800", "name": "\\ud800"}],
                "models": [{"name": "\\ud800", "model": "\\ud800", "displayName": "\\ud800"}]}"""
    for body in (*BODIES, rows, half):
        to.server.reply_to_listing(Raw(body))
        try:
            models = await to.client.models(to.request().credentials, 60)
        except ProviderError:
            continue
        assert all((model.id + model.name).encode() for model in models)

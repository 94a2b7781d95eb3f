"""Responses with one wrong value, or a wrong body, end in a ProviderError or a valid Completion."""

import copy
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from providers.base import Completion
from providers.errors import ProviderError
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME
from tests.contract.target import Target, make_target
from tests.servers.behaviours import Answer, Raw
from tests.servers.call import Call

WRONG_VALUES: tuple[Any, ...] = (None, -1, 1e308, 10**400, math.inf, True, "x", [None], {"x": None}, "\ud800")
BODIES = (
    *(b"", b" ", b"null", b"[]", b"{}", b"3", b'"text"', b"{", b'{"a":', b"\xff\xfe", b"\x00", b"data: {}\n\n"),
    *(b"[" * 50_000, b'{"a":' * 50_000, b"NaN", b"1" * 10_000, b'{"error": {}}', b'{"error": ""}'),
)


def value_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON document."""
    yield path
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from value_paths(value, (*path, key))


def replace_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def variations(document: Any) -> Iterator[bytes]:
    for path in value_paths(document):
        for value in WRONG_VALUES:
            yield json.dumps(replace_value(document, path, value)).encode()


async def check_response(target: Target, streamed: bool, raw: Raw) -> None:
    target.server.reply(raw)
    try:
        completion = await target.ask(streamed)
    except ProviderError:
        return
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} for {raw.body[:300]!r}") from error
    check_completion(completion, raw)


def check_completion(completion: Completion, raw: Raw) -> None:
    assert isinstance(completion.text, str), raw
    assert isinstance(completion.model, str), raw
    assert completion.text.strip(), raw
    assert (completion.text + completion.model).encode(), raw  # no unpaired surrogates
    for count in (completion.usage.input_tokens, completion.usage.output_tokens) if completion.usage else ():
        assert count is None or (type(count) is int and count >= 0), raw


@pytest.fixture(params=["vllm", "ollama", "gemini", "anthropic"])
def protocol_target(request: pytest.FixtureRequest, pool: Pool) -> Iterator[Target]:
    with KIND_BY_NAME[request.param].server() as server:
        yield make_target(KIND_BY_NAME[request.param], server, pool)


def valid_response(target: Target, streamed: bool) -> str:
    """Return a valid response of the server."""
    call = Call("POST", "/", {}, b"", {"stream_options": {"include_usage": True}}, target.server.models[0], streamed)
    return target.server.render(call, Answer("A boat.", pieces=1)).body.decode()


async def test_a_response_with_a_wrong_value_anywhere(protocol_target: Target) -> None:
    for body in variations(json.loads(valid_response(protocol_target, streamed=False))):
        await check_response(protocol_target, False, Raw(body))


async def test_a_stream_with_a_wrong_value_anywhere(protocol_target: Target) -> None:
    ollama = protocol_target.kind.kind == "ollama"
    content_type = "application/x-ndjson" if ollama else "text/event-stream"
    events = valid_response(protocol_target, streamed=True).split("\n")
    shapes: set[str] = set()
    for index, line in enumerate(events):
        event = line.strip().removeprefix("data: ")
        shape = re.sub(r'(?<=: )("[^"]*"|[-0-9.]+)', "_", event)
        if not event.startswith("{") or shape in shapes:
            continue
        shapes.add(shape)
        for changed in variations(json.loads(event)):
            changed_event = changed if ollama else b"data: " + changed
            before, after = (("\n".join(part)).encode() for part in (events[:index], events[index + 1 :]))
            body = b"\n".join([before, changed_event, after])
            await check_response(protocol_target, True, Raw(body, content_type))


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "application/x-ndjson", "text/html"])
async def test_a_body_that_is_not_a_response(target: Target, streamed: bool, content_type: str) -> None:
    for body in BODIES:
        await check_response(target, streamed, Raw(body, content_type))


async def test_a_body_that_is_not_a_list_of_models(target: Target) -> None:
    rows = b"""{"data": [null, 3, {"id": 5}, {"id": null}, {}, {"id": "good"}],
                "models": [null, 3, {"name": 5}, {"model": null}, {}, {"name": "good", "model": "good"}]}"""
    half = b"""{"data": [{"id": "\\ud800", "name": "\\ud800"}],
                "models": [{"name": "\\ud800", "model": "\\ud800", "displayName": "\\ud800"}]}"""
    for body in (*BODIES, rows, half):
        target.server.reply_to_listing(Raw(body))
        try:
            models = await target.client.models(target.request().credentials, 60)
        except ProviderError:
            continue
        assert all((model.id + model.name).encode() for model in models)

"""Validation of request fields: errors are named, and a million of them take little time."""

import time
from dataclasses import fields
from typing import Any

import pytest

from bridge.api.request_body import parse_object
from bridge.captioning.models import CaptionRequest
from bridge.captioning.parsing import parse_request
from bridge.errors import InvalidRequest
from perspectives.errors import Problem
from providers.base import Options

CPU_SECONDS = 3.0
MIB = 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        {"context": [1] * MIB},
        {str(number): 1 for number in range(MIB // 8)},
        {"variables": {str(number): 1 for number in range(MIB // 8)}},
        {"provider_config": {"kind": "vllm", "models": [[]] * MIB}},
        {"x" * MIB: 1},
        {"x": [[[1] * 1_000] * 1_000] * 40},
    ],
    ids=["context", "fields", "variables", "models", "name", "lists"],
)
def test_a_request_with_very_many_mistakes_gets_a_short_error(body: dict[str, Any]) -> None:
    before = time.process_time()
    with pytest.raises(InvalidRequest) as raised:
        parse_request(CaptionRequest, {"perspective": "alt_text", **body})
    assert time.process_time() - before < CPU_SECONDS
    assert len(str(raised.value)) + len(str(raised.value.problems)) < 5_000


@pytest.mark.parametrize("part", [b"[],", b"1,", b"[" * 100 + b"]" * 100 + b","], ids=["[]", "1", "deep"])
def test_a_body_of_millions_of_values_is_rejected(part: bytes) -> None:
    body = b'{"variables":[' + part * (8 * MIB // len(part)) + b"1]}"
    for text in (body, body.decode()):
        with pytest.raises(InvalidRequest, match="values"):
            parse_object(text)


def test_booleans_are_not_numbers_and_null_is_unset() -> None:
    for name in (*(option.name for option in fields(Options)), "timeout", "max_output_retries"):
        with pytest.raises(InvalidRequest) as raised:
            parse_request(CaptionRequest, {"perspective": "p", name: True})
        assert raised.value.problems[0] == Problem(f"/{name}", "must be a number, not true or false")
    assert parse_request(CaptionRequest, {"perspective": "p", "fallbacks": None}).fallbacks == []

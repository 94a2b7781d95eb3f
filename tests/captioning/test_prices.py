"""Prices of calls. The list of genai-prices changes, so the tests compare amounts."""

import pytest

from bridge.captioning.prices import cost, price
from bridge.run import Attempt
from providers.base import Usage

OPENAI = "https://api.openai.com/v1"
COUNTS = Usage(1000, 100)


def call(address: str = OPENAI, usage: Usage | None = COUNTS, model: str = "gpt-4o-mini") -> Attempt:
    return Attempt("openai", "", model, "json_schema", address=address, usage=usage)


@pytest.mark.parametrize(
    ("address", "model", "usage"),
    [
        ("http://127.0.0.1:8000/v1", "gpt-4o-mini", Usage(1000, 100)),
        ("http://api.openai.com/v1", "gpt-4o-mini", Usage(1000, 100)),
        ("", "builtin", Usage(1000, 100)),
        (OPENAI, "a-model-of-mine", Usage(1000, 100)),
        (OPENAI, "gpt-4o-mini", None),
        (OPENAI, "gpt-4o-mini", Usage(1000, None)),
        (OPENAI, "gpt-4o-mini", Usage(10, 100, cached_tokens=1000)),
    ],
)
def test_an_unknown_price_is_none(address: str, model: str, usage: Usage | None) -> None:
    assert price(address, model, usage) is None


def test_the_price_includes_every_attempt() -> None:
    single = cost([call()])
    assert single
    assert cost([call(), call(usage=None), call(address="http://127.0.0.1:1/v1"), call()]) == pytest.approx(2 * single)
    assert cost([call(usage=Usage(1000, 100, cached_tokens=500))]) < single
    assert cost([call(usage=Usage(2000, 100))]) > single
    assert cost([]) is None

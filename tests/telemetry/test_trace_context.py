"""The caller's W3C trace context: what is passed on, and what is dropped."""

import pytest

from bridge.telemetry.tracing import read_headers, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def read(parent: str, *states: str) -> dict[str, str]:
    return read_headers([parent], states)


@pytest.mark.parametrize(
    "parent",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
    ],
)
def test_an_invalid_traceparent_is_dropped_with_its_state(parent: str) -> None:
    assert read(parent, "a=1") == {}


def test_valid_headers_are_passed_on() -> None:
    state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
    assert read(PARENT, state) == read(PARENT, *state.split(",")) == {"traceparent": PARENT, "tracestate": state}
    assert read_headers([], ["a=1"]) == {}
    assert trace_id(read(PARENT)) == TRACE


@pytest.mark.parametrize("state", ["", "A=1", "a=\x7f", "a=" + "x" * 300])
def test_an_invalid_state_is_dropped(state: str) -> None:
    assert read(PARENT, state) == {"traceparent": PARENT}

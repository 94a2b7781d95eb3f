"""The caller's W3C trace context: what is passed on, and what is dropped."""

import pytest

from bridge.telemetry.tracing import read_headers, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nX-Evil: 1",
    ],
)
def test_an_invalid_traceparent_is_dropped_with_its_state(parent: str) -> None:
    assert read_headers([parent], ["a=1"]) == {}


def test_valid_headers_are_passed_on_unchanged() -> None:
    assert read_headers([PARENT], ["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]) == {
        "traceparent": PARENT,
        "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    }
    assert trace_id(read_headers([PARENT], [])) == TRACE


@pytest.mark.parametrize(
    "state",
    ["", "a=b=c", "a=1 ,b=\x7f", "a=x\r\nX-Evil: 1", "a=" + "x" * 300, ",".join(f"k{n}={'x' * 60}" for n in range(9))],
)
def test_invalid_states_are_dropped(state: str) -> None:
    assert read_headers([PARENT], [state]) == {"traceparent": PARENT}

"""The caller's W3C trace context: what is passed on, and what is dropped."""

import pytest

from bridge.telemetry.tracing import read_headers, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-01\r\nX-Evil: 1",
    ],
)
def test_an_invalid_traceparent_is_dropped_with_its_state(parent: str) -> None:
    assert read_headers([parent], ["a=1"]) == {}


def test_exactly_one_traceparent_is_required() -> None:
    assert read_headers([PARENT, PARENT], []) == {}
    assert read_headers([], ["a=1"]) == {}


def test_valid_headers_are_passed_on_unchanged() -> None:
    assert read_headers([PARENT], ["congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"]) == {
        "traceparent": PARENT,
        "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    }
    assert trace_id(read_headers([PARENT], [])) == TRACE


def test_a_later_version_is_sent_as_version_00() -> None:
    assert read_headers([f"cc-{TRACE}-{SPAN}-09-what.comes"], []) == {"traceparent": f"00-{TRACE}-{SPAN}-09"}


@pytest.mark.parametrize("state", ["fw529a3039@dt=FfD6,a=b", "a=1, b=2", "a=1,,b=2", "0t@v=x y", "a*/-_=!#~"])
def test_valid_states_are_passed_on(state: str) -> None:
    assert read_headers([PARENT], [state])["tracestate"] == state


def test_a_state_in_several_headers_is_joined() -> None:
    assert read_headers([PARENT], ["a=1", "b=2"])["tracestate"] == "a=1,b=2"


@pytest.mark.parametrize(
    "state",
    [
        "",
        "a",
        "A=1",
        "a=",
        "a=b=c",
        "a=1 ,b=\x7f",
        "a=é",
        "a=x\r\nX-Evil: 1",
        "a=" + "x" * 300,
        ",".join(f"k{n}={'x' * 60}" for n in range(9)),
    ],
)
def test_invalid_states_are_dropped(state: str) -> None:
    assert read_headers([PARENT], [state]) == {"traceparent": PARENT}

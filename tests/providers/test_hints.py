"""Rate limit headers and Retry-After."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from providers.hints import DEFAULT_RETRY_AFTER, Allowance, RateHints, rate_hints, retry_after


@pytest.mark.parametrize(
    ("reset_header", "seconds"),
    [
        ("120ms", 0.12),
        ("1m30.5s", 90.5),
        ("1h2m3s", 3723),
        ("12", 12),
        pytest.param(f"{time.time() - 5:.0f}", 0, id="time in the past"),
        ("soon", None),
        ("nan", None),
        ("1" * 5000 + "x", None),
    ],
)
def test_reset_times_of_limits(reset_header: str, seconds: float | None) -> None:
    requests = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}
    hints = rate_hints({**requests, "x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": reset_header})
    reset = None if seconds is None else pytest.approx(seconds)
    assert hints == RateHints(Allowance(59), Allowance(9, reset))


def test_anthropics_headers() -> None:
    """Of several token limits, the one with the fewest remaining tokens applies."""
    reset = (datetime.now(UTC) + timedelta(seconds=30)).isoformat(timespec="seconds").replace("+00:00", "Z")
    limits = {"requests": ("50", "49"), "tokens": ("96000", "9000"), "output-tokens": ("16000", "0")}
    headers: dict[str, str] = {}
    for name, (limit, remaining) in limits.items():
        prefix = f"anthropic-ratelimit-{name}"
        headers |= {f"{prefix}-limit": limit, f"{prefix}-remaining": remaining, f"{prefix}-reset": reset}
    hints = rate_hints(headers)
    seconds = pytest.approx(30, abs=2)
    assert hints == RateHints(Allowance(49, seconds), Allowance(0, seconds))


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"retry-after": "7"}, None, 7.0),
        ({"retry-after": "0"}, None, 0.0),
        ({"retry-after": "9", "retry-after-ms": "1500"}, None, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None, 0),
        ({"retry-after": "-3"}, None, DEFAULT_RETRY_AFTER),
        ({"retry-after": "soon"}, None, DEFAULT_RETRY_AFTER),
        ({}, {"error": {"details": [{"@type": "x"}, {"retryDelay": "34.07s"}]}}, 34.07),
        ({}, None, None),
    ],
)
def test_retry_after(headers: dict[str, str], body: object, expected: float | None) -> None:
    assert retry_after(429, headers, body) == expected
    if expected == DEFAULT_RETRY_AFTER:
        assert retry_after(503, headers, body) is None

"""Rate limits and retry delays in a response's headers and body."""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DEFAULT_RETRY_AFTER = 2.0
"""Seconds to wait after a 429 whose `Retry-After` cannot be used."""
_MAX_DEPTH = 8
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_SECONDS = (3600.0, 60.0, 1.0, 0.001)
# OpenAI, Groq and the proxies of vLLM and LiteLLM use these suffixes. OpenRouter limits requests without one.
_REQUESTS = ("x-ratelimit-{}-requests", "x-ratelimit-{}", "anthropic-ratelimit-requests-{}")
_TOKENS = (
    "x-ratelimit-{}-tokens",
    *(f"anthropic-ratelimit-{kind}-{{}}" for kind in ("tokens", "input-tokens", "output-tokens")),
)
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11  # larger numbers are dates


@dataclass(frozen=True, slots=True)
class Allowance:
    """One rate limit: how much of `limit` is left, and the seconds until it is full again."""

    remaining: float
    limit: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateHints:
    """The limits on requests and on tokens that a response announces; None where it announces none."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def rate_hints(headers: Mapping[str, str]) -> RateHints | None:
    """Return the announced limits, None if there are none. `headers` must be case-insensitive."""
    requests = _tightest(headers, _REQUESTS)
    tokens = _tightest(headers, _TOKENS)
    return RateHints(requests, tokens) if requests or tokens else None


def _tightest(headers: Mapping[str, str], names: tuple[str, ...]) -> Allowance | None:
    """Return the announced limit of which the least remains."""
    announced = (_allowance(headers, name) for name in names)
    return min(filter(None, announced), key=lambda allowance: allowance.remaining, default=None)


def _allowance(headers: Mapping[str, str], name: str) -> Allowance | None:
    remaining = _number(headers.get(name.format("remaining")))
    if remaining is None:
        return None
    return Allowance(remaining, _number(headers.get(name.format("limit"))), _reset(headers.get(name.format("reset"))))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


def _reset(value: str | None) -> float | None:
    """Return seconds: given as such, as "6m0s" or "120ms" (OpenAI), or as a date (OpenRouter: milliseconds).

    Anthropic writes the date as in RFC 3339.
    """
    number = _number(value)
    if number is None:
        number = _timestamp(value or "")
    if number is None:
        span = _SPAN.fullmatch((value or "").strip())
        parts = zip(span.groups(), _UNIT_SECONDS, strict=True) if span else ()
        seconds = [float(amount) * unit for amount, unit in parts if amount]
        return sum(seconds) if seconds else None
    if number < _EPOCH_SECONDS:
        return number
    left = number / 1000 - time.time() if number > _EPOCH_MILLISECONDS else math.ceil(number - time.time())
    return max(left, 0.0)


def _timestamp(value: str) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else None


def retry_after(status: int, headers: Mapping[str, str], body: object = None) -> float | None:
    """Return the seconds that the server asks to wait: `retry-after-ms`, `Retry-After`, Gemini's RetryInfo.

    None if it does not ask. A 429 whose header cannot be used gives DEFAULT_RETRY_AFTER.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    delays = (
        _seconds(lowered.get("retry-after-ms"), 1000.0),
        _seconds(lowered.get("retry-after")),
        _until(lowered.get("retry-after")),
        _retry_info(body),
    )
    usable = next((delay for delay in delays if delay is not None), None)
    if usable is None and status == 429 and "retry-after" in lowered:
        return DEFAULT_RETRY_AFTER
    return usable


def _seconds(value: object, per_second: float = 1.0) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        seconds = float(value.strip().removesuffix("s")) / per_second
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _until(value: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(math.ceil((aware - datetime.now(UTC)).total_seconds()), 0.0)


def _retry_info(body: object, depth: int = 0) -> float | None:
    """Return Gemini's `RetryInfo.retryDelay`, a text such as "34.5s", at any depth (fastrepl/anarlog#7306)."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(body, Mapping):
        if "retryDelay" in body:
            return _seconds(body["retryDelay"])
        body = list(body.values())
    if isinstance(body, list):
        delays = (_retry_info(item, depth + 1) for item in body)
        return next((delay for delay in delays if delay is not None), None)
    return None

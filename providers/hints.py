"""Parse rate limits and retry delays from a response's headers and body."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import islice

DEFAULT_RETRY_AFTER = 2.0  # seconds to wait after a 429 whose `Retry-After` cannot be used
_MAX_DEPTH = 8
_MAX_VALUES = 10_000
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_SECONDS = (3600.0, 60.0, 1.0, 0.001)
# OpenAI, Groq and the proxies of vLLM and LiteLLM use these suffixes. OpenRouter's request limit has no suffix.
_REQUESTS = ("x-ratelimit-{}-requests", "x-ratelimit-{}", "anthropic-ratelimit-requests-{}")
_TOKENS = (
    "x-ratelimit-{}-tokens",
    *(f"anthropic-ratelimit-{kind}-{{}}" for kind in ("tokens", "input-tokens", "output-tokens")),
)
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e11  # larger numbers are Unix times


@dataclass(frozen=True, slots=True)
class Allowance:
    """One rate limit: `remaining` requests or tokens are left. `reset`: seconds until all are available."""

    remaining: float
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateHints:
    """The rate limits on requests and on tokens in a response's headers, None if a limit is not reported."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def rate_hints(headers: Mapping[str, str]) -> RateHints | None:
    """Return the rate limits in the headers, or None if there are none. `headers` must be case-insensitive."""
    requests = _tightest(headers, _REQUESTS)
    tokens = _tightest(headers, _TOKENS)
    return RateHints(requests, tokens) if requests or tokens else None


def _tightest(headers: Mapping[str, str], names: tuple[str, ...]) -> Allowance | None:
    """Return the rate limit with the smallest remaining amount, or None if the headers contain none."""
    allowances = []
    for name in names:
        remaining, reset = (headers.get(name.format(word)) for word in ("remaining", "reset"))
        if (amount := _number(remaining)) is not None:
            allowances.append(Allowance(amount, _seconds(reset)))
    return min(allowances, key=lambda allowance: allowance.remaining, default=None)


def retry_after(status: int, headers: Mapping[str, str], body: object) -> float | None:
    """Return the seconds to wait before a retry, from `retry-after-ms`, `Retry-After` or Gemini's RetryInfo.

    Return None if the response contains none of them, and DEFAULT_RETRY_AFTER for a 429 with an unusable header.
    `headers` must be case-insensitive.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    header = _seconds(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000
    seconds = _retry_info(body) if header is None else header
    return DEFAULT_RETRY_AFTER if seconds is None and status == 429 and "retry-after" in headers else seconds


def _number(value: object) -> float | None:
    """Parse a finite number of at least 0. Return None for any other value."""
    try:
        number = float(value) if isinstance(value, str) else -1.0
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds(value: object) -> float | None:
    """Return the seconds of a duration such as "30", "6m0s", "120ms" (OpenAI) or "34.5s" (Gemini), or until a date.

    A date is a Unix time (OpenRouter), RFC 3339 (Anthropic) or an HTTP date.
    """
    text = value.strip() if isinstance(value, str) else ""
    number = _number(text)
    if number is not None and number < _EPOCH_SECONDS:
        return number
    if number is not None:  # OpenRouter sends milliseconds
        return max(math.ceil(number / (1000 if number > _EPOCH_MILLISECONDS else 1) - time.time()), 0)
    if text and (span := _SPAN.fullmatch(text)):
        return sum(float(amount) * unit for amount, unit in zip(span.groups("0"), _UNIT_SECONDS, strict=True))
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, OverflowError):
            return max(math.ceil(parse(text).timestamp() - time.time()), 0)
    return None


def _retry_info(body: object) -> float | None:
    """Return Gemini's `RetryInfo.retryDelay`, a text such as "34.5s", at any depth (fastrepl/anarlog#7306)."""
    delays = (_seconds(part["retryDelay"]) for part in walk(body) if isinstance(part, Mapping) and "retryDelay" in part)
    return next((delay for delay in delays if delay is not None), None)


def walk(body: object) -> Iterator[object]:
    """Yield a parsed body and the values at any depth in it: the first 10,000, because a server may send millions."""
    return islice(_values(body, 0), _MAX_VALUES)


def _values(body: object, depth: int) -> Iterator[object]:
    yield body
    if depth < _MAX_DEPTH and isinstance(body, Mapping | list):
        for part in body.values() if isinstance(body, Mapping) else body:
            yield from _values(part, depth + 1)

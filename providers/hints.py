"""How long a server asks to be left alone, and how much of its limits it says is left."""

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MAX_DEPTH = 8
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_IN_SECONDS = (3600.0, 60.0, 1.0, 0.001)
_A_DATE, _A_DATE_IN_MS = 1e9, 1e11


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a server says of one limit: how much of `limit` is left, and in how many seconds it is whole again."""

    remaining: float
    limit: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateHints:
    """What a reply's headers say of the limits on requests and on tokens; None where they say nothing."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


def rate_hints(headers: Mapping[str, str]) -> RateHints | None:
    """The limits that a reply tells of; None for a server that tells of none. `headers` knows no case."""
    # OpenAI, Groq, vLLM's and LiteLLM's proxies name what is limited; OpenRouter limits requests and does not say so.
    requests = _allowance(headers, "-requests") or _allowance(headers, "")
    tokens = _allowance(headers, "-tokens")
    return RateHints(requests, tokens) if requests or tokens else None


def _allowance(headers: Mapping[str, str], what: str) -> Allowance | None:
    remaining = _number(headers.get(f"x-ratelimit-remaining{what}"))
    if remaining is None:
        return None
    limit = _number(headers.get(f"x-ratelimit-limit{what}"))
    return Allowance(remaining, limit, _reset(headers.get(f"x-ratelimit-reset{what}")))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


def _reset(value: str | None) -> float | None:
    """Seconds: told as such, as a span such as "6m0s" or "120ms" (OpenAI), or as a date (OpenRouter: milliseconds)."""
    number = _number(value)
    if number is None:
        found = _SPAN.fullmatch((value or "").strip())
        told = (
            [(float(one), unit) for one, unit in zip(found.groups(), _IN_SECONDS, strict=True) if one] if found else []
        )
        return sum(one * unit for one, unit in told) if told else None
    if number < _A_DATE:
        return number
    left = number / 1000 - time.time() if number > _A_DATE_IN_MS else math.ceil(number - time.time())
    return max(left, 0.0)


def retry_after(headers: Mapping[str, str], body: object = None) -> float | None:
    """Seconds the server asks to wait (`retry-after-ms`, `Retry-After`, Gemini's RetryInfo), None if untold."""
    lowered = {name.lower(): value for name, value in headers.items()}
    hints = (
        _seconds(lowered.get("retry-after-ms"), 1000.0),
        _seconds(lowered.get("retry-after")),
        _until(lowered.get("retry-after")),
        _retry_info(body),
    )
    return next((hint for hint in hints if hint is not None), None)


def _seconds(value: object, per_second: float = 1.0) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        seconds = float(value.strip().removesuffix("s")) / per_second
    except ValueError:
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _until(value: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(math.ceil((aware - datetime.now(UTC)).total_seconds()), 0.0)


def _retry_info(body: object, depth: int = 0) -> float | None:
    """Gemini's `RetryInfo.retryDelay`, a text such as "34.5s", wherever it stands (fastrepl/anarlog#7306)."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(body, Mapping):
        if "retryDelay" in body:
            return _seconds(body["retryDelay"])
        body = list(body.values())
    if isinstance(body, list):
        found = (_retry_info(item, depth + 1) for item in body)
        return next((delay for delay in found if delay is not None), None)
    return None

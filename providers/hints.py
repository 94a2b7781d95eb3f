"""How long a server asks to be left alone."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MAX_DEPTH = 8


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
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


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

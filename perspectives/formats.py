"""`format`: the few that are taken, each enforced. Anything else is refused at load."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII | re.IGNORECASE
)
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s<>\"{}|\\^`]+", re.ASCII | re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Format:
    """One format: what it means to a person, and whether a text has it."""

    meaning: str
    holds: Callable[[str], bool]


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    return text[10:11] in {"T", "t"} and _is_date(text[:10]) and _TIME.fullmatch(text[11:]) is not None


FORMATS: dict[str, Format] = {
    "date": Format("a date such as 2026-05-31", _is_date),
    "time": Format("a time with an offset such as 14:05:00Z", lambda text: _TIME.fullmatch(text) is not None),
    "date-time": Format("a moment such as 2026-05-31T14:05:00+02:00 (RFC 3339)", _is_date_time),
    "email": Format("an e-mail address", lambda text: len(text) < 255 and _EMAIL.fullmatch(text) is not None),
    "uri": Format("an absolute address such as https://example.org/a", lambda text: _URI.fullmatch(text) is not None),
    "uuid": Format("a UUID", lambda text: _UUID.fullmatch(text) is not None),
}

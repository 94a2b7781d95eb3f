"""The caller's trace context, by the grammar of W3C Trace Context: what does not fit is as if it had not come."""

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

# A later version may say more behind the flags, which version 00 has no place for.
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(f"({_KEY})={_VALUE}")
_MOST_MEMBERS, _MOST_CHARACTERS = 32, 512
headers: ContextVar[Mapping[str, str]] = ContextVar("trace_headers", default={})  # noqa: B039 (never written to)
"""What goes along to providers."""


def read(parents: Sequence[str], states: Sequence[str]) -> dict[str, str]:
    """The headers to pass on, unchanged; empty unless there is one valid `traceparent`."""
    found = _PARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[5]):
        return {}
    parent = "-".join(found.groups()[:4]) if found[1] == "00" else f"00-{found[2]}-{found[3]}-{found[4]}"
    state = ",".join(states).strip()
    return {"traceparent": parent, **({"tracestate": state} if _is_state(state) else {})}


def trace_id(passed_on: Mapping[str, str]) -> str:
    """The trace that these headers belong to, "" for none."""
    return passed_on.get("traceparent", "")[3:35]


def _is_state(text: str) -> bool:
    if not text or len(text) > _MOST_CHARACTERS:
        return False
    members = [one for member in text.split(",") if (one := member.strip(" \t"))]
    keys = [found[1] for member in members if (found := _MEMBER.fullmatch(member))]
    return 0 < len(members) <= _MOST_MEMBERS and len(keys) == len(members) == len(set(keys))

"""`pattern`: which regular expressions are taken, and what they are matched with.

They run only in Rust's regex engine, through pydantic, which is linear in the text: `^(a+)+$` on 27 characters
took 1.55 s in Python's `re` and 0.03 ms there (measured with pydantic 2.14). Compiling is what a hostile
pattern can still make expensive, mostly by repeating Unicode classes: `\\w{100}` takes 30 ms, `\\w{1000}` 80 ms
before it is refused, `a{10000}` matches slowly. So the cost is estimated from the text before it is compiled.
"""

import re
from functools import lru_cache
from math import prod

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

from perspectives.limits import MAX_PATTERN, MAX_PATTERN_COST

_REPEAT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")  # Rust allows blanks in it
_UNICODE_CLASS = re.compile(r"\\[wWpPSbB]|\(\?[a-z]*i")
_OTHER_CLASS = re.compile(r"\\[dDs]|\[\^|\.")
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")


def cost(pattern: str) -> int:
    """A rough upper bound of what compiling takes: 10,000 is about 30 ms."""
    repeats = prod(max(int(n or 1) for n in found) or 1 for found in _REPEAT.findall(pattern))
    classes = 100 * len(_UNICODE_CLASS.findall(pattern)) + 3 * len(_OTHER_CLASS.findall(pattern))
    return repeats * (len(pattern) // 4 + 1 + classes)


def complaint(pattern: object) -> str | None:
    """Why this pattern is not taken; None when it is."""
    if not isinstance(pattern, str):
        return "Must be text: a regular expression."
    if len(pattern) > MAX_PATTERN or cost(pattern) > MAX_PATTERN_COST:
        return "Is too large a pattern: shorten it or repeat less; maxLength limits lengths more cheaply."
    try:
        compiled(pattern)
    except SchemaError:
        why = "look-around is not taken" if _LOOK_AROUND.search(pattern) else "it does not compile"
        return f"Is not a pattern of the linear-time engine (Rust's regex): {why}."
    return None


@lru_cache(maxsize=64)
def compiled(pattern: str) -> SchemaValidator:
    """The matcher. Raises pydantic_core.SchemaError for what the engine does not take."""
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def matches(matcher: SchemaValidator, text: str) -> bool:
    """Whether the pattern is found anywhere in the text (JSON Schema does not anchor)."""
    try:
        matcher.validate_python(text)
    except ValidationError:
        return False
    return True

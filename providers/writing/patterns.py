"""Text for a `pattern`: matched by Rust's linear-time engine, and invented from the pattern where need be.

A pattern is a stranger's: it never runs in Python's `re`, where `^(a+)+$` takes seconds on 27 characters.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

_CLASSES: Final = {"d": "0", "w": "a", "s": " ", "D": "a", "W": " ", "S": "a", "n": "\n", "t": "\t", "r": "\r"}
_ZERO_WIDTH: Final = frozenset("bBAzZ")
_LONGEST: Final = 2_000
_PRINTABLE: Final = "a0 -_.,A1é" + "".join(map(chr, range(33, 127)))


@lru_cache(maxsize=64)
def _matcher(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        return None


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found in the text; False for a pattern that the engine does not take."""
    matcher = _matcher(pattern)
    try:
        return matcher is not None and matcher.validate_python(text) == text
    except ValidationError:
        return False


class Unwritable(Exception):
    """The pattern uses something from which no example is made."""


def example(pattern: str, repeats: int) -> str:
    """A text that should match; open-ended repeats are taken `repeats` times. Raises Unwritable.

    It knows literals, classes, groups, alternatives and repeats. Check the result with `matches`.
    """
    reader = _Reader(pattern, repeats)
    text = reader.alternatives()
    if reader.at < len(pattern):
        raise Unwritable
    return text


@dataclass
class _Reader:
    """One pass over a pattern, writing as it reads."""

    pattern: str
    repeats: int
    at: int = 0
    depth: int = 0

    def alternatives(self) -> str:
        """Take the first alternative; the others are only read past."""
        taken = self._sequence()
        while self._next("|"):
            self._sequence()
        return taken

    def _sequence(self) -> str:
        written = ""
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            written += self._repeated(self._atom())
            if len(written) > _LONGEST:
                raise Unwritable
        return written

    def _next(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _take(self) -> str:
        if self.at >= len(self.pattern):
            raise Unwritable
        self.at += 1
        return self.pattern[self.at - 1]

    def _atom(self) -> str:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return self._class()
        if character == "\\":
            escaped = self._take()
            return "" if escaped in _ZERO_WIDTH else self._escape(escaped)
        if character in "^$":
            return ""
        return "a" if character == "." else character

    def _group(self) -> str:
        self.depth += 1
        if self.depth > 50:
            raise Unwritable
        if self._next("?"):
            opening = self._take()
            while opening not in ":>)":
                opening = self._take()
            if opening == ")":  # flags only, such as (?i)
                self.depth -= 1
                return ""
        text = self.alternatives()
        if not self._next(")"):
            raise Unwritable
        self.depth -= 1
        return text

    def _escape(self, escaped: str) -> str:
        if escaped in "pPxuU" or (escaped.isdigit()):
            raise Unwritable
        return _CLASSES.get(escaped, escaped)

    def _class(self) -> str:
        negated = self._next("^")
        members: list[str] = []
        while not self._next("]") or not members:
            first = self._take()
            if first == "[":
                raise Unwritable
            one = self._escape(self._take()) if first == "\\" else first
            if self.pattern.startswith("-", self.at) and not self.pattern.startswith("-]", self.at) and len(one) == 1:
                self.at += 1
                last = self._take()
                members.append(f"{one}-{self._take() if last == chr(92) else last}")
            else:
                members.append(one)
        return next((one for one in _PRINTABLE if not _within(one, members)), "\u2603") if negated else members[0][0]

    def _repeated(self, atom: str) -> str:
        least, most = self._bounds()
        self._next("?")  # lazy or greedy: the same texts
        count = least if most is not None and most <= least else max(least, min(most or self.repeats, self.repeats))
        if count * len(atom) > _LONGEST:
            raise Unwritable
        return atom * count

    def _bounds(self) -> tuple[int, int | None]:
        for sign, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._next(sign):
                return least, most
        end = self.pattern.find("}", self.at)
        if not self.pattern.startswith("{", self.at) or end < 0:
            return 1, 1
        first, comma, last = self.pattern[self.at + 1 : end].partition(",")
        if not (first or "0").isdigit() or not (last or "0").isdigit():
            raise Unwritable
        self.at = end + 1
        return int(first or 0), int(last) if last else None if comma else int(first or 0)


def _within(character: str, members: list[str]) -> bool:
    return any(member[0] <= character <= member[-1] for member in members)

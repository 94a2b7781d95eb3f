"""A field of a schema as a person reads it: the words of its name, what its description asks for, where it is."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_COUNTS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS: Final = {word: number for number, word in enumerate(_COUNTS, 1)}
_NUMBER = rf"(\d+|{'|'.join(_NUMBERS)})"
_LIMIT = r"(?:at most|up to|below|under|fewer than|less than|maximum of|max\.?|no more than) "
_RANGE = rf"{_NUMBER}(?: (?:to|or) |\s?[-–]\s?)"
_CHARACTERS = re.compile(rf"{_LIMIT}{_NUMBER} characters")
_WORDS = re.compile(rf"(?:{_LIMIT}|{_RANGE}|about |around )?{_NUMBER} words\b")
_SENTENCES = re.compile(rf"(?:{_RANGE})?{_NUMBER} (?:\w+ )?sentences?\b")
_ITEMS = re.compile(rf"{_LIMIT}{_NUMBER}\b(?! words| characters)|\b{_NUMBER} at most|\b{_RANGE}{_NUMBER}\b(?! words)")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text]


@dataclass(frozen=True)
class Field:
    """One place in the answer. `path` is its JSON Pointer; `parent` the object or list that it is in.

    `listed`: it is an element of a list and not a property.
    """

    name: str = ""
    description: str = ""
    path: str = ""
    parent: "Field | None" = None
    listed: bool = False

    def member(self, name: str, schema: dict[str, Any]) -> "Field":
        """A property of this object."""
        pointer = name.replace("~", "~0").replace("/", "~1")
        return Field(name, str(schema.get("description") or ""), f"{self.path}/{pointer}", self)

    def element(self, at: int | str, schema: dict[str, Any]) -> "Field":
        """An element of this list, or an entry of this open object; it goes by the list's name."""
        return Field(self.name, str(schema.get("description") or ""), f"{self.path}/{at}", self, listed=True)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the name, in lower case: `camelCase`, `snake_case` and `kebab-case` alike."""
        return tuple(word.lower() for word in _WORD.findall(self.name))

    @cached_property
    def description_words(self) -> tuple[str, ...]:
        """The words of the description, in lower case."""
        return tuple(re.findall(r"[a-z]+|\d+", self.description.lower()))

    @cached_property
    def step(self) -> int:
        """The number in its name or the nearest parent's, such as 2 in `beat_2`; 1 where there is none."""
        own = next((int(word) for word in self.words if word.isdigit() and len(word) < 3), 0)
        return own or (self.parent.step if self.parent else 1)

    @cached_property
    def characters(self) -> int | None:
        """The longest text that the description asks for."""
        found = _CHARACTERS.search(self.description.lower())
        return _number(found[1]) if found else None

    @cached_property
    def word_limit(self) -> int | None:
        """The most words that the description asks for."""
        found = _WORDS.search(self.description.lower())
        return _number(found[found.lastindex or 0]) if found else None

    @cached_property
    def sentences(self) -> int | None:
        """The most sentences that the description asks for."""
        found = _SENTENCES.search(self.description.lower())
        return _number(found[2]) if found else None

    @cached_property
    def items(self) -> int | None:
        """The most elements that the description asks for."""
        found = _ITEMS.search(self.description.lower())
        return _number(next(group for group in reversed(found.groups()) if group)) if found else None

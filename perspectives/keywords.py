"""The words of JSON Schema that a perspective may use, as data: the portable subset.

A word stands here only if it is kept: every answer is held to it, whichever provider gave it. All others are
refused at load, because an ignored keyword is an unkept promise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from perspectives import limits
from perspectives.formats import FORMATS

TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_NUMBERS = ("number", "integer")


@dataclass(frozen=True, slots=True)
class Keyword:
    """One word. `applies_to`: types it needs, empty for any. `kept`: stands in the compiled schema too."""

    word: str
    applies_to: tuple[str, ...]
    meaning: str
    kept: bool = True


_ROWS = (
    Keyword(
        "type",
        (),
        'One type, or a list of one type and `"null"`. Without it any JSON value is taken. The root is an `object`.',
    ),
    Keyword("title", (), "A name for people."),
    Keyword("description", (), "What to look at; the model reads it."),
    Keyword("default", (), "Told to the model, not filled in: an absent property stays absent."),
    Keyword("examples", (), "A list of examples, told to the model."),
    Keyword("deprecated", (), "Told, without effect."),
    Keyword(
        "anyOf",
        (),
        "Alternatives; the first that takes the answer exactly wins, then the first that takes it with lenience. "
        f"At most {limits.MAX_BRANCHES}, {limits.MAX_UNIONS} inside each other; beside it only annotations.",
    ),
    Keyword(
        "enum",
        (),
        "The only values taken: texts, numbers, booleans, null, each once, each of the stated type. "
        f"At most {limits.MAX_ENUM:,} in a schema.",
    ),
    Keyword("const", (), "The only value taken."),
    Keyword(
        "properties",
        ("object",),
        f"Properties by name, asked for in this order. At most {limits.MAX_FIELDS:,} in a schema.",
    ),
    Keyword(
        "required",
        ("object",),
        "Names of `properties` that must be there. `null` for another one that does not allow it counts as absent.",
    ),
    Keyword(
        "additionalProperties",
        ("object",),
        "`false`: others are refused. `true` or a schema: kept and checked. "
        "Not stated beside `properties`: others are dropped; without `properties`: kept.",
    ),
    Keyword("items", ("array",), "The schema of every item; without it any JSON value."),
    Keyword("minItems", ("array",), "At least so many items."),
    Keyword("maxItems", ("array",), "At most so many items."),
    Keyword("uniqueItems", ("array",), "`true`: no item twice (1 and 1.0 are the same)."),
    Keyword("minLength", ("string",), "At least so many characters."),
    Keyword("maxLength", ("string",), "At most so many characters."),
    Keyword(
        "pattern",
        ("string",),
        "A regular expression found anywhere in the text, in the syntax of Rust's linear-time engine: no look-around, "
        f"no back-references. At most {limits.MAX_PATTERN} characters.",
    ),
    Keyword("format", ("string",), "One of the formats below, enforced."),
    Keyword("minimum", _NUMBERS, "Not less than this."),
    Keyword("maximum", _NUMBERS, "Not more than this."),
    Keyword("exclusiveMinimum", _NUMBERS, "More than this."),
    Keyword("exclusiveMaximum", _NUMBERS, "Less than this."),
    Keyword("multipleOf", _NUMBERS, "A whole multiple of this, reckoned in decimal (0.3 is a multiple of 0.1)."),
    Keyword(
        "$ref", (), "`#/$defs/…` only, not recursive; put in place at load. Beside it only annotations.", kept=False
    ),
    Keyword("$defs", (), "Definitions for `$ref`, at the root.", kept=False),
    Keyword("definitions", (), "The older name of `$defs`.", kept=False),
    Keyword("allOf", (), "With exactly one entry, which takes its place; beside it only annotations.", kept=False),
    Keyword("$schema", (), "Read past.", kept=False),
    Keyword("$id", (), "Read past.", kept=False),
    Keyword("$comment", (), "Read past.", kept=False),
)

KEYWORDS: dict[str, Keyword] = {row.word: row for row in _ROWS}
"""Every accepted word, in the order in which the compiled schema writes them."""

ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated"})
"""Words that explain and do not constrain."""

INSTEAD: dict[str, str] = {
    "oneOf": "Write anyOf.",
    "nullable": 'Write "type": ["…", "null"].',
    "discriminator": "anyOf alone is enough.",
    "prefixItems": "Write an object with a property for each place.",
    "patternProperties": "Write additionalProperties with a schema.",
    "$dynamicRef": "Write $ref.",
}
"""What to write in place of some words that are refused."""


def markdown() -> str:
    """The tables of docs/perspectives.md: words, formats and limits."""
    words = [(f"`{row.word}`", ", ".join(row.applies_to) or "any", row.meaning) for row in KEYWORDS.values()]
    formats = [(f"`{name}`", row.meaning) for name, row in FORMATS.items()]
    bounds = [
        ("text of a whole perspective", f"{limits.MAX_BYTES // 1024} KiB"),
        ("levels of objects and lists in an answer", f"{limits.MAX_DEPTH}"),
        ("places in a schema, `$ref`s put in place", f"{limits.MAX_NODES:,}"),
        ("characters in a property's name", f"{limits.MAX_NAME}"),
        ("values and characters that even the smallest answer needs", f"{limits.MAX_LEAST:,}"),
    ]
    tables = (
        _table(("word", "for", "meaning"), words),
        _table(("format", "meaning"), formats),
        _table(("limit", "at most"), bounds),
    )
    return "\n\n".join(tables)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)

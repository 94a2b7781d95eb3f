"""Text for a field: sentences put together within the lengths, the pattern and the format that are asked for."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from providers.writing.field import Field
from providers.writing.patterns import Unwritable, example, matches

_FORMATS: Final = {
    "date": "1970-01-01",
    "time": "00:00:00Z",
    "date-time": "1970-01-01T00:00:00Z",
    "email": "nobody@example.invalid",
    "uri": "about:unknown",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "hostname": "example.invalid",
    "ipv4": "0.0.0.0",  # noqa: S104
    "ipv6": "::",
}
_PADDED: Final = {"uri": ("about:unknown", ""), "email": ("nobody", "@example.invalid")}
_PLAIN: Final = ("unknown", "cannot tell", "none", "n/a", "0", "1", "0.0", "a", "A", "und", "#808080", "")
_LOOSE: Final = frozenset(
    {"a", "an", "the", "of", "in", "on", "at", "and", "with", "its", "is", "it", "to", "by", "from", "for", "mostly"}
)


def joined(said: Sequence[str], field: Field, limit: int | None, usual: int) -> str:
    """As many sentences, in their order, as the limit and the description allow; the first leads, cut if need be."""
    most, space = field.sentences or usual, _space(field, limit)
    text = cut(said[0], space, field.word_limit) if said else ""
    count = 1
    for sentence in said[1:]:
        longer = f"{text} {sentence}"
        if count < most and _within(longer, space, field.word_limit):
            text, count = longer, count + 1
    return text


def first_fitting(versions: Sequence[str], field: Field, limit: int | None) -> str:
    """The first of several versions that fits; the last one, cut, when none does."""
    space = _space(field, limit)
    return next((one for one in versions if _within(one, space, field.word_limit)), cut(versions[-1], space))


def cut(text: str, limit: int | None, words: int | None = None) -> str:
    """The text within so many characters and words: ended at a clause where that keeps half of it, else at a word."""
    if _within(text, limit, words):
        return text
    kept = text.split(" ")[:words]
    while len(kept) > 1 and limit is not None and len(" ".join(kept)) > limit:
        kept.pop()
    short = " ".join(kept)
    clause = max(short.rfind(","), short.rfind(";"))
    if clause * 2 > len(short):
        short = short[:clause]
    while " " in short and short.rsplit(" ", 1)[1].strip(",;:").lower() in _LOOSE:
        short = short.rsplit(" ", 1)[0]
    short = short.rstrip(",;:")
    full = f"{short}." if text.endswith(".") and _within(f"{short}.", limit, words) else short
    return full if _within(full, limit, words) else text[:limit]


def lengthened(text: str, least: int, most: int | None, more: Iterator[str]) -> str:
    """The text at the least length: more sentences first, then all of it again."""
    for sentence in more:
        if len(text) >= least:
            break
        if sentence not in text:
            text = f"{text} {sentence}".strip()
    while len(text) < least:
        text = f"{text} {text or '-'}"
    if most is None or len(text) <= most:
        return text
    shorter = cut(text, most)
    return shorter if len(shorter) >= least else text[:most]


def dated(name: str, moment: str) -> str | None:
    """The moment of exposure in a `format`; None when it is not a format of time, or there is no moment.

    The camera's clock has no zone, so a date is all that can be told for certain.
    """
    return moment[:10] if moment and name == "date" else None


def formatted(name: str, least: int) -> str | None:
    """A text of a `format` that says nothing, at least so long; None for a format that is not known."""
    text = _FORMATS.get(name)
    if text is not None and name in _PADDED:
        before, after = _PADDED[name]
        return f"{before}{'x' * max(0, least - len(before) - len(after))}{after}" if len(text) < least else text
    return text


def holds(text: str, schema: dict[str, Any]) -> bool:
    """Whether length and pattern allow the text; a format is not looked at."""
    return (
        len(text) >= schema.get("minLength", 0)
        and len(text) <= schema.get("maxLength", len(text))
        and ("pattern" not in schema or matches(schema["pattern"], text))
    )


def patterned(text: str, schema: dict[str, Any], others: Sequence[str]) -> str | None:
    """The text in a form that the pattern takes, else another one that it takes; None when none was found."""
    forms = (text, text.lower(), text.upper(), *_slugs(text), text.rstrip("."), text.split(" ")[0], *others, *_PLAIN)
    return next((form for form in (*forms, *_invented(schema)) if holds(form, schema)), None)


def variant(text: str, number: int, schema: dict[str, Any]) -> str | None:
    """The same text told apart by a number; None when no such text is allowed."""
    most = schema.get("maxLength", len(text) + 12)
    ends = (f" ({number})", f"{number}", chr(0x4E00 + number % 20_000))
    forms = [text[: max(0, most - len(end))] + end for end in ends]
    return next((form for form in forms if holds(form, schema)), None)


def quoted(text: str) -> str:
    """The text as a message shows it, shortened."""
    return json.dumps(text if len(text) < 60 else f"{text[:57]}...", ensure_ascii=False)


def _space(field: Field, limit: int | None) -> int | None:
    return min((bound for bound in (limit, field.characters) if bound is not None), default=None)


def _within(text: str, characters: int | None, words: int | None) -> bool:
    return (characters is None or len(text) <= characters) and (words is None or len(text.split()) <= words)


def _slugs(text: str) -> Iterator[str]:
    words = "".join(one if one.isascii() and one.isalnum() else " " for one in text.lower()).split()
    for count in (len(words), 3, 2, 1):
        for sign in ("-", "_", "", " "):
            yield sign.join(words[:count])
            yield sign.join(words[:count]).upper()
    yield " ".join(words[:2]).title()


def _invented(schema: dict[str, Any]) -> Iterator[str]:
    for repeats in (1, 2, 3, 5, 8, 13, 21, 40, 80, 200, 500, 1_000):
        try:
            text = example(schema["pattern"], repeats)
        except Unwritable:
            return
        yield text
        yield text.ljust(schema.get("minLength", 0))

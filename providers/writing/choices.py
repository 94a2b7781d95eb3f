"""Choosing from an `enum`: what was measured where it decides, else the schema's way of saying "unknown".

Never a verdict: "safe", "none" and "no" are chosen only when nothing else is offered.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from providers.measurements import Measurements
from providers.writing.field import Field
from providers.writing.rules import matches

_UNKNOWN: Final = (
    "unknown", "cannot tell", "can not tell", "can t tell", "cant tell", "cannot be told", "cannot determine",
    "cannot be determined", "undetermined", "indeterminate", "unclear", "unsure", "not sure", "uncertain", "undecided",
    "not known", "not determined", "not assessed", "not examined", "not rated", "unrated", "unspecified", "unassigned",
    "not specified", "not visible", "not applicable", "n a", "na", "und", "ambiguous", "other", "none visible", "",
)  # fmt: skip
_UNDECIDED: Final = (
    "review",
    "needs review",
    "manual review",
    "neutral",
    "mixed",
    "medium",
    "moderate",
    "maybe",
    "some",
)
_VERDICTS: Final = frozenset(
    {"safe", "none", "no", "ok", "okay", "clean", "clear", "allow", "allowed", "approve", "approved", "pass", "passed"}
    | {"harmless", "general", "new", "good", "low", "acceptable", "appropriate", "compliant", "false", "0"}
    | {"explicit", "unsafe", "block", "blocked", "reject", "rejected", "severe"}
)
_HAZARDS: Final = (
    "nsfw|unsafe|nudity|nude|sexual|explicit|violence|violent|weapon|gore|blood|hate|harm|harmful|abuse|danger|hazard|"
    "illegal|drugs|minor|review|flag|flagged|sensitive|offensive|toxic"
)


def plain(value: object) -> str:
    """A choice as words: lower case, without punctuation."""
    return " ".join("".join(one if one.isalnum() else " " for one in str(value).lower()).split())


def measured(choices: Sequence[Any], field: Field, m: Measurements, facets: Collection[str]) -> Any:
    """The choice that measurements decide; None when they decide nothing."""
    wanted = [plain(facet) for facet in facets] + [word for word in _decided(field, m) if word]
    by_words = {plain(choice): choice for choice in reversed(choices) if isinstance(choice, str)}
    return next((by_words[word] for word in wanted if word in by_words), None)


def unknown(choices: Sequence[Any]) -> tuple[Any, bool]:
    """The choice that commits to least, and whether it really says "unknown"."""
    for word in _UNKNOWN:
        for choice in choices:
            if isinstance(choice, str) and plain(choice) == word:
                return choice, True
    if None in choices:
        return None, True
    undecided = [choice for word in _UNDECIDED for choice in choices if plain(choice) == word]
    harmless = [choice for choice in choices if plain(choice) not in _VERDICTS]
    return next(iter((*undecided, *harmless, *choices))), False


def _decided(field: Field, m: Measurements) -> tuple[str, ...]:
    """Words, best first, that answer a field of that name."""
    for stems, words in (
        ("orientation|format|aspect|layout", (m.orientation,)),
        (
            "brightness|exposure|light|lighting|key",
            _scale(m.brightness, "dark|low|low key", "medium|normal", "bright|high|high key"),
        ),
        ("contrast", _scale(m.contrast, "low|soft", "medium|moderate|normal", "high|strong|hard")),
        (
            "saturation|colourfulness|colorfulness|vividness",
            _scale(m.colourfulness, "low|muted", "medium|moderate", "high|vivid"),
        ),
        ("temperature|warmth", _scale((m.warmth + 1) / 2, "cool|cold", "neutral|balanced", "warm")),
        ("sharpness|focus", _scale(m.sharpness or 0, "soft|blurred|blurry|low", "medium|moderate", "sharp|high")),
        ("animation|animated", ("animated" if m.frames > 1 else "still", "yes" if m.frames > 1 else "no")),
        ("monochrome|greyscale|grayscale", ("yes" if m.monochrome else "no",)),
        ("medium", ("photograph", "photo") if m.camera.exposure else ()),
        ("palette|colour|color|hue", tuple(word for one in m.palette[:3] for word in (one.name, one.family))),
    ):
        if matches(stems, field.words):
            return words
    return ()


def _scale(value: float, low: str, middle: str, high: str) -> tuple[str, ...]:
    return tuple((low if value < 0.36 else middle if value < 0.64 else high).split("|"))


def flag(field: Field, m: Measurements) -> bool | None:
    """What measurements say to a yes-or-no field; None when they say nothing."""
    for stems, value in (
        ("animated|animation", m.frames > 1),
        ("monochrome|greyscale|grayscale", m.monochrome),
        ("transparent|transparency|alpha", m.transparent > 0.005),
        ("symmetrical|symmetric", m.symmetry > 0.85),
        ("landscape", m.orientation == "landscape"),
        ("portrait", m.orientation == "portrait"),
        ("square", m.orientation == "square"),
    ):
        if matches(stems, field.words):
            return value
    return None


def suspicion(field: Field) -> bool:
    """The answer to a yes-or-no question that pixels cannot tell: the one that makes a person look."""
    return matches(_HAZARDS, field.words) and not matches("safe|safety|clean|allowed|approved", field.words)

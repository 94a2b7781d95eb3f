"""Read `images.toml`: a row with lists stands for every combination of their values."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from tests.hostile import image_makers, image_makers_odd

ACCEPTED = "accepted"


@dataclass(frozen=True)
class Case:
    """One image, and the codes that it may give."""

    name: str
    make: str
    expect: tuple[str, ...]
    large: bool = False
    words: dict[str, Any] = field(default_factory=dict)

    def data(self) -> bytes:
        maker = getattr(image_makers_odd, self.make, None) or getattr(image_makers, self.make)
        return maker(**self.words)


def cases(*, large: bool = False) -> Iterator[Case]:
    """Yield the quick images, or the large ones."""
    rows = tomllib.loads((Path(__file__).parent / "images.toml").read_text("utf-8"))["image"]
    for row in rows:
        if row.pop("large", False) == large:
            yield from expanded(row, large)


def expanded(row: dict[str, Any], large: bool) -> Iterator[Case]:
    name, make, expect = row.pop("name"), row.pop("make"), row.pop("expect")
    many = {word: value for word, value in row.items() if isinstance(value, list)}
    for values in product(*many.values()):
        chosen = dict(zip(many, values, strict=True))
        told = ", ".join(f"{word} {str(value)[:40]}" for word, value in chosen.items())
        yield Case(f"{name} ({told})" if told else name, make, tuple(expect), large, {**row, **chosen})

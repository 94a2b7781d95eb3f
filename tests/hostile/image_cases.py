"""Read `images.toml`. A row with lists means every combination of their values."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from tests.hostile import image_makers, image_makers_malformed

ACCEPTED = "accepted"


@dataclass(frozen=True)
class Case:
    """An image, and the codes that are allowed in the response."""

    name: str
    make: str
    expect: tuple[str, ...]
    large: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)

    def data(self) -> bytes:
        maker = getattr(image_makers_malformed, self.make, None) or getattr(image_makers, self.make)
        return maker(**self.arguments)


def cases(*, large: bool = False) -> Iterator[Case]:
    """Yield the quick images, or the large ones."""
    rows = tomllib.loads((Path(__file__).parent / "images.toml").read_text("utf-8"))["image"]
    for row in rows:
        if row.pop("large", False) == large:
            yield from expand_row(row, large)


def expand_row(row: dict[str, Any], large: bool) -> Iterator[Case]:
    name, make, expect = row.pop("name"), row.pop("make"), row.pop("expect")
    lists = {key: value for key, value in row.items() if isinstance(value, list)}
    for values in product(*lists.values()):
        chosen = dict(zip(lists, values, strict=True))
        label = ", ".join(f"{key} {str(value)[:40]}" for key, value in chosen.items())
        yield Case(f"{name} ({label})" if label else name, make, tuple(expect), large, {**row, **chosen})

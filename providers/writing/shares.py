"""Numbers of an item, from 0 to 1: its box, its share of the picture, how sure it is."""

from collections.abc import Sequence
from typing import Any, Final

from providers.writing.field import Field
from providers.writing.items import Item
from providers.writing.rules import find, matches

_BOX: Final = "box|bbox|bounds|bounding|rect|rectangle|coordinate"
_CORNERS: Final = (
    ("left|x min|xmin|x1|x0|start x", "left"),
    ("top|y min|ymin|y1|y0|start y", "top"),
    ("right|x max|xmax|x2|end x", "right"),
    ("bottom|y max|ymax|y2|end y", "bottom"),
)
_EXTENTS: Final = (("x", "left"), ("y", "top"), ("width|w", "width"), ("height|h", "height"))
_ACROSS: Final = "x|left|right|width|w|x0|x1|x2|xmin|xmax"


def share(item: Item, field: Field) -> float | None:
    """The number that a field of an item asks for; None when the item does not have it."""
    if matches("confidence|certainty|probability|score", field.words):
        return item.get("confidence")
    if matches("share|percent|percentage|coverage|proportion|area|weight", field.words):
        return item.get("share")
    if "box" not in item:
        return None
    edge = find(_CORNERS, field.words)
    inside = field.parent is not None and matches(f"{_BOX}|region|position", field.parent.words)
    if edge is None and inside:
        edge = find(_EXTENTS, field.words)
    left, top, right, bottom = item["box"]
    edges = {"left": left, "top": top, "right": right, "bottom": bottom, "width": right - left, "height": bottom - top}
    return edges.get(edge) if edge else None


def row(item: Item, field: Field) -> Sequence[float] | None:
    """The numbers of an item that stand in a list: its box, its colour."""
    if matches(_BOX, field.words):
        return item.get("box")
    if matches("rgb", field.words) and "rgb" in item:
        return [band / 255 for band in item["rgb"]]
    return None


def in_pixels(schema: dict[str, Any], field: Field) -> bool:
    """Whether a coordinate is asked for in pixels and not on a scale of its own."""
    return "maximum" not in schema and bool({"pixel", "pixels"} & set(field.description_words))


def across(field: Field) -> bool:
    """Whether a coordinate runs along the width."""
    return matches(_ACROSS, field.words)

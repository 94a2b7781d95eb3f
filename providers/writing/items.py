"""Things to list: colours, areas, relations, tags, facts. Each is a dict of facets that fields are filled from."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from providers.measurements import Box, Cell, Swatch
from providers.writing.scene import Scene, at, capital, part, percent
from providers.writing.sentences import feelings

Item = dict[str, Any]

_ROLES = ("dominant", "secondary", "secondary", "supporting", "supporting", "supporting")
_SIDES = {"left": (0, 3, 6), "right": (2, 5, 8), "above": (0, 1, 2), "below": (6, 7, 8)}
_IMAGES = {
    "black": ("a curtain left closed", "the pause before a word", "ink that has kept its secret"),
    "grey": ("weather that has not made up its mind", "an evening without a date", "ash after a long talk"),
    "white": ("a page nobody has written on", "a breath held in winter", "silence with the lamp on"),
    "brown": ("bread and old doors", "a drawer that smells of cedar", "the ground remembering rain"),
    "red": ("a word said too loudly", "a pulse under the sleeve", "the last ember of an argument"),
    "orange": ("a hearth seen from the road", "late summer in a glass", "a bell of warmth"),
    "yellow": ("a coin of afternoon", "honey held against the light", "a shout across a field"),
    "green": ("a slow tide of leaves", "a truce with the forest", "the patience of moss"),
    "blue": ("a distance one could drink", "water thinking of the sky", "an hour with its shoes off"),
    "purple": ("a rumour of dusk", "velvet on an empty chair", "the hush after music"),
    "pink": ("a blush that stayed", "the inside of a shell", "a morning not yet serious"),
}


def swatches(scene: Scene) -> list[Item]:
    """The colours, largest first, the accent last."""
    found = [_swatch(one, _ROLES[rank]) for rank, one in enumerate(scene.m.palette)]
    spot = scene.m.accent
    if spot and spot.name not in {one.name for one in scene.m.palette}:
        found.append(_swatch(spot, "accent"))
    return found


def areas(scene: Scene) -> list[Item]:
    """Areas that can be pointed at without knowing what they show."""
    cells: dict[str, tuple[Cell, list[str]]] = {}
    for kind, cell in (("busiest", scene.busiest), ("lightest", scene.lightest), ("darkest", scene.darkest)):
        if (kind == "busiest" and scene.scattered) or (kind != "busiest" and scene.even):
            continue
        cells.setdefault(cell.place, (cell, []))[1].append(kind)
    found = [_area(cell, " and ".join(kinds)) for cell, kinds in cells.values()]
    taken = {item["place"] for item in found}
    found.extend(_patch(one) for one in _placed(scene) if one.place not in taken)
    return _numbered(found or [_whole(scene)])


def relations(scene: Scene) -> list[Item]:
    """How the areas lie to each other: overlapping, or side by side by their middles."""
    pairs = sorted(combinations(areas(scene), 2), key=lambda pair: pair[1]["number"] - pair[0]["number"])
    return [_relation(one, other) for one, other in pairs[:6]]


def edges(scene: Scene) -> list[Item]:
    """What reaches the four edges of the frame."""
    return [_edge(scene, side, places) for side, places in _SIDES.items()]


def metaphors(scene: Scene) -> list[Item]:
    """Two to four colours and what they might turn into."""
    return [
        {
            "seen": f"{one.name} {at(one.place)}" if one.place else f"{one.name} all over",
            "becomes": _becomes(scene, one),
        }
        for one in scene.m.palette[:3]
    ]


def tags(scene: Scene) -> list[Item]:
    """Short terms, what tells most first."""
    words = [*_colour_tags(scene), *_light_tags(scene), *_form_tags(scene)]
    words += [("mood", word) for word in feelings(scene)]
    words += [("place", f"{cell.colour} {cell.place}") for cell in scene.m.cells]
    return [
        {"label": word, "category": kind, "name": word, "confidence": 1.0, "sentence": f"Measured: {word}."}
        for kind, word in {word: (kind, word) for kind, word in reversed(words)}.values()
    ][::-1]


def facts(scene: Scene) -> list[Item]:
    """Pairs of a property and its value."""
    return [
        {"name": name, "label": name, "value": value, "confidence": 1.0, "sentence": f"{capital(name)}: {value}"}
        for name, value in _facts(scene)
        if value
    ]


def times(scene: Scene) -> list[Item]:
    """What tells of time: the camera's clock, if the file has it."""
    taken = scene.taken
    label = taken.partition(" at ")[0]
    clue = f"the camera's clock in the file: {taken}"
    item = {"label": label, "clue": clue, "sentence": f"{capital(clue)}.", "allows": label, "weight": "could be staged"}
    return [{**item, "confidence": 0.7}] if taken else []


def _swatch(one: Swatch, role: str) -> Item:
    where = at(one.place) if one.place else "all over the frame"
    return {
        "label": one.name,
        "colour": one.name,
        "hex": one.hex,
        "role": role,
        "share": one.share,
        "box": one.box,
        "place": one.place or "all over",
        "family": one.family,
        "category": "colour",
        "confidence": 1.0,
        "rgb": one.rgb,
        "name": one.name,
        "value": one.hex,
        "percent": percent(one.share),
        "sentence": f"{capital(one.name)} ({one.hex}) covers {percent(one.share)}, {where}.",
    }


def _area(cell: Cell, kinds: str) -> Item:
    return {
        **_spot(f"{kinds} area", cell.place, cell.colour, cell.box),
        "attributes": [cell.colour, f"lightness {percent(cell.light)}", f"{percent(cell.detail)} of the detail"],
        "sentence": f"{capital(part(cell.place))}, the {kinds} area, mostly {cell.colour}.",
    }


def _patch(one: Swatch) -> Item:
    return {
        **_spot(f"{one.name} area", one.place, one.name, one.box),
        "attributes": [one.name, f"{percent(one.share)} of the picture"],
        "sentence": f"An area of {one.name} {at(one.place)}, {percent(one.share)} of the picture.",
    }


def _whole(scene: Scene) -> Item:
    return {
        **_spot("whole frame", "centre", scene.m.palette[0].name, (0.0, 0.0, 1.0, 1.0)),
        "attributes": [one.name for one in scene.m.palette[:3]],
        "sentence": f"The whole frame, {scene.colours()}, without a part that stands out.",
    }


def _spot(label: str, place: str, colour: str, box: Box) -> Item:
    return {
        "label": label,
        "name": label,
        "phrase": f"{label} {at(place)}",
        "place": place,
        "colour": colour,
        "box": box,
        "category": "area",
        "appearance": f"mostly {colour}",
        "role": "area",
        "confidence": 1.0,
        "value": colour,
        "motion": "no motion was measured; let only its light change, slowly",
    }


def _placed(scene: Scene) -> Iterator[Swatch]:
    if scene.m.accent and scene.m.accent.place:
        yield scene.m.accent
    yield from (one for one in scene.m.palette if one.place)


def _numbered(found: list[Item]) -> list[Item]:
    unique: dict[str, Item] = {}
    for item in found:
        unique.setdefault(item["label"], item)
    return [{**item, "number": number} for number, item in enumerate(list(unique.values())[:6], 1)]


def _relation(one: Item, other: Item) -> Item:
    word = _bearing(one["box"], other["box"])
    lies = "overlaps" if word == "overlapping" else f"lies {word}"
    return {
        "from": one,
        "to": other,
        "relation": word,
        "label": word,
        "confidence": 1.0,
        "sentence": f"The {one['label']} {lies} the {other['label']}.",
    }


def _bearing(one: Box, other: Box) -> str:
    if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]:
        return "overlapping"
    (x, y), (to_x, to_y) = _middle(one), _middle(other)
    if abs(x - to_x) > abs(y - to_y):
        return "left of" if x < to_x else "right of"
    return "above" if y < to_y else "below"


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _edge(scene: Scene, side: str, places: tuple[int, ...]) -> Item:
    cells = [scene.m.cells[place] for place in places]
    names = [cell.colour for cell in cells]
    colour = max(names, key=names.count)
    busy = sum(cell.detail for cell in cells) > 0.4
    edge = {"above": "upper", "below": "lower"}.get(side, side)
    clue = f"{colour} {'with much detail ' if busy else ''}runs up to the {edge} edge"
    beyond = f"perhaps more {colour}, {'as busy' if busy else 'as calm'} as inside; what it is was not recognised"
    return {
        "label": side,
        "side": side,
        "edge": edge,
        "place": side,
        "colour": colour,
        "clue": clue,
        "beyond": beyond,
        "sentence": f"{capital(clue)}.",
        "category": "edge",
        "confidence": 1.0,
    }


def _becomes(scene: Scene, one: Swatch) -> str:
    return scene.of(one.name).pick(*_IMAGES[one.family])


def _colour_tags(scene: Scene) -> Iterator[tuple[str, str]]:
    yield from (("colour", one.name) for one in scene.m.palette[:3])
    yield "colour", "monochrome" if scene.m.monochrome else f"{scene.intensity} colours"
    if scene.temperature != "neutral":
        yield "colour", f"{scene.temperature} palette"
    if scene.m.accent:
        yield "colour", f"{scene.m.accent.name} accent"


def _light_tags(scene: Scene) -> Iterator[tuple[str, str]]:
    yield "light", "low key" if scene.m.shadows > 0.3 else "high key" if scene.m.highlights > 0.2 else scene.level
    yield "light", scene.pick(f"{scene.contrast} contrast", f"{scene.contrast} tonal contrast")
    bright = at(scene.lightest.place)
    yield "light", "even light" if scene.even else scene.pick(f"lightest {bright}", f"brightest {bright}")


def _form_tags(scene: Scene) -> Iterator[tuple[str, str]]:
    form = scene.m.orientation
    yield "composition", scene.pick(f"{form} format", f"{form} picture" if form == "square" else f"{form} orientation")
    if scene.mirrored and not scene.single:
        yield "composition", "symmetrical"
    busy = at(scene.busiest.place)
    yield "composition", "detail spread evenly" if scene.scattered else scene.pick(f"detail {busy}", f"busiest {busy}")
    if scene.focus:
        yield "texture", f"{scene.focus} edges"
    if scene.tonality:
        yield "texture", scene.tonality
    if scene.m.transparent > 0.005:
        yield "file", "transparent background" if scene.m.transparent > 0.1 else "some transparency"
    if scene.m.frames > 1:
        yield "file", "animated"


def _facts(scene: Scene) -> Iterator[tuple[str, str]]:
    yield "main colours", scene.colours(3)
    yield "size", f"{scene.size} pixels"
    yield "format", f"{scene.shape}, {scene.m.aspect}"
    yield "light", scene.level
    yield "contrast", scene.contrast
    yield "colour", f"{scene.intensity}, {scene.temperature}"
    yield "detail", "spread evenly" if scene.scattered else f"densest {at(scene.busiest.place)}"
    yield "sharpness at screen size", scene.focus
    yield "tones", scene.tonality
    yield "accent", scene.m.accent.name if scene.m.accent else ""
    yield "camera", scene.camera
    yield "taken", scene.taken
    yield "file", scene.file

"""What can be said of a measured picture, one sentence at a time: light, colour, composition, texture, file."""

from collections.abc import Iterator

from providers.writing.scene import Scene, at, capital, listed, part, percent


def overview(scene: Scene) -> str:
    """Shape, size and main colours."""
    if scene.single:
        only = scene.m.palette[0].name
        return scene.pick(
            f"{capital(_article(scene.shape))} picture, {scene.size} pixels, filled with a single {only}.",
            f"Nothing but {only} fills this {scene.shape} picture of {scene.size} pixels.",
        )
    if not scene.prevailing:
        return scene.pick(
            f"{capital(_article(scene.shape))} picture, {scene.size} pixels, led by {scene.colours()}.",
            f"{capital(scene.colours())} lead the colours of this {scene.shape} picture of {scene.size} pixels.",
        )
    return scene.pick(
        f"{capital(_article(scene.shape))} picture, {scene.size} pixels, mostly {scene.colours()}.",
        f"{capital(scene.colours())} make up most of this {scene.shape} picture of {scene.size} pixels.",
        f"{capital(_article(scene.shape))} picture of {scene.size} pixels in which {scene.colours()} prevail.",
    )


def gist(scene: Scene) -> str:
    """The whole in one sentence of about a hundred characters, without the size."""
    if scene.single:
        only = scene.m.palette[0].name
        return scene.pick(
            f"{capital(_article(scene.shape))} picture filled with a single {only}.",
            f"{capital(_article(scene.shape))} picture of nothing but {only}.",
        )
    where = f"evenly {_lit(scene)}" if scene.even else f"lightest {at(scene.lightest.place)}"
    led = f"mostly {scene.colours()}" if scene.prevailing else f"led by {scene.colours()}"
    return scene.pick(
        f"{capital(_article(scene.level))} {scene.shape} picture, {led}, {where}.",
        f"{capital(_article(scene.shape))} picture, {scene.level}, {where}, {led}.",
        f"{capital(_article(scene.level))} {scene.shape} picture, {where} and {led}.",
    )


def light(scene: Scene) -> str:
    """How light it is, and where."""
    if scene.single or (scene.even and scene.m.contrast < 0.12):
        return scene.pick(
            f"It is {scene.level} throughout, with next to no difference between light and dark.",
            f"The same {scene.level} tone reaches from edge to edge.",
        )
    if scene.even:
        return scene.pick(
            f"Light is spread evenly: {scene.level} in every part, with {scene.contrast} contrast between tones.",
            f"No part is much lighter than another; the whole is {scene.level}, its contrast {_much(scene)}.",
        )
    bright, dark = at(scene.lightest.place), at(scene.darkest.place)
    return scene.pick(
        f"It is {scene.level} on the whole, lightest {bright} and darkest {dark}; contrast is {_much(scene)}.",
        f"The light is strongest {bright} and weakest {dark}, the whole {scene.level} with {scene.contrast} contrast.",
        f"From a {scene.level} whole, the lightest part stands out {bright}, the darkest {dark}.",
    )


def tones(scene: Scene) -> str:
    """How far the tones reach; empty when neither end stands out."""
    m = scene.m
    if m.shadows > 0.3 and m.highlights > 0.3:
        return (
            f"Near-black takes {percent(m.shadows)} of it and near-white {percent(m.highlights)}: little lies between."
        )
    if m.shadows > 0.3:
        return scene.pick(
            f"It is low in key: {percent(m.shadows)} of the area is nearly black.",
            f"Shadows without visible tone cover {percent(m.shadows)} of the area.",
        )
    if m.highlights > 0.2:
        return scene.pick(
            f"It is high in key: {percent(m.highlights)} of the area is nearly white.",
            f"Highlights close to white cover {percent(m.highlights)} of the area.",
        )
    return "Neither deep black nor clear white is used." if m.contrast < 0.4 else ""


def colours(scene: Scene) -> str:
    """Which colours cover how much."""
    if scene.single:
        only = scene.m.palette[0]
        return f"The only colour is {only.name}, {only.hex}."
    return scene.pick(
        f"By area the colours are {scene.shares()}; on the whole they are {_colouring(scene)}.",
        f"{capital(scene.shares())} cover the most, and the colouring is {_colouring(scene)}.",
        f"The palette is {_colouring(scene)}, led by {scene.shares()}.",
    )


def placement(scene: Scene) -> str:
    """Which colour keeps to which place; empty when nothing does."""
    above, below = scene.bands
    swatch = scene.placed
    where = f"{capital(swatch.name)} keeps to {part(swatch.place)}" if swatch else ""
    if above != below:
        bands = scene.pick(f"{above} lies above {below}", f"{above} holds the upper third, {below} the lower")
        return f"{capital(bands)}." if not swatch or swatch.name in (above, below) else f"{where}; {bands}."
    return f"{where}." if swatch else ""


def arrangement(scene: Scene) -> str:
    """What lies where; the whole when nothing keeps to a place."""
    return placement(scene) or gist(scene)


def accent(scene: Scene) -> str:
    """The small patch of colour that stands out; empty when there is none."""
    spot = scene.m.accent
    if not spot:
        return ""
    where = f" {at(spot.place)}" if spot.place else ""
    return scene.pick(
        f"A small amount of {spot.name}{where} stands out from the rest.",
        f"The eye catches on a little {spot.name}{where}.",
    )


def detail(scene: Scene) -> str:
    """Where the detail lies."""
    if not any(cell.detail for cell in scene.m.cells):
        return scene.pick("There is no detail anywhere.", "No part of it holds any detail.")
    if scene.scattered:
        return scene.pick(
            "Detail is spread evenly over the frame.",
            "No part of the frame holds much more detail than another.",
        )
    busy, still = scene.busiest.place, scene.emptiest.place
    return scene.pick(
        f"Most of the detail gathers {at(busy)}, while {part(still)} stays almost empty.",
        f"{capital(part(busy))} is the busiest; {part(still)} holds the least.",
        f"Detail is densest {at(busy)} and thins out towards {part(still)}.",
    )


def balance(scene: Scene) -> str:
    """Symmetry, or the way the weight leans."""
    if scene.mirrored and not scene.single:
        return scene.pick(
            "The left half closely mirrors the right.", "Left and right are close to mirror images of each other."
        )
    sides = [sum(cell.detail for cell in scene.m.cells[column::3]) for column in (0, 2)]
    if max(sides) > 1.35 * min(sides) and max(sides) > 0.3:
        heavy, free = ("left", "right") if sides[0] > sides[1] else ("right", "left")
        return scene.pick(
            f"The weight of the composition leans to the {heavy}, leaving the {free} freer.",
            f"More happens on the {heavy} than on the {free}.",
        )
    return scene.pick("The two sides carry about the same weight.", "Left and right hold each other in balance.")


def texture(scene: Scene) -> str:
    """How sharp it is and how much of it are edges."""
    if not scene.focus:
        return "There is no edge by which to judge its sharpness."
    share = percent(scene.m.edges)
    return scene.pick(
        f"At screen size it is {scene.focus}, and edges take up {share} of the area.",
        f"Edges look {scene.focus} at screen size and cover {share} of the area.",
    )


def medium(scene: Scene) -> str:
    """What the tones look like, without saying what it was made with."""
    if scene.m.tones == "flat":
        return "It consists of few flat tones, as drawings, logos and screenshots do."
    if scene.m.tones == "continuous":
        return "Its tones run into each other, as they do in photographs and paintings."
    return "Its tones are neither flat nor quite continuous, so they do not tell the medium."


def camera(scene: Scene) -> str:
    """What the file says of the camera; empty when it says nothing."""
    if scene.camera:
        return scene.pick(
            f"The file names its camera settings: {scene.camera}.", f"According to the file: {scene.camera}."
        )
    return ""


def equipment(scene: Scene) -> str:
    """The same, or that it says nothing."""
    return camera(scene) or "The file does not say with what it was taken."


def taken(scene: Scene) -> str:
    """When it was taken, if the file tells; empty otherwise."""
    return f"The camera's clock dates it {scene.taken}." if scene.taken else ""


def file(scene: Scene) -> str:
    """The file itself, its transparency and animation."""
    parts = [f"The file is a {scene.file}"]
    if scene.m.transparent > 0.005:
        parts.append(f"{percent(scene.m.transparent)} of its area is transparent")
    if scene.m.frames > 1:
        parts.append(f"it holds {scene.m.frames} frames of animation, of which one was measured")
    return f"{listed(parts)}."


def mood(scene: Scene) -> str:
    """What light and colour alone would suggest."""
    feel = listed(feelings(scene))
    return scene.pick(
        f"Going by light and colour alone, the mood is {feel}.",
        f"Light and colour lend it {_article(feel)} air.",
        f"If tone alone sets the mood, it is {feel}.",
    )


def feelings(scene: Scene) -> list[str]:
    """Two or three adjectives for what the tones suggest."""
    m = scene.m
    words = ["sombre"] if m.brightness < 0.3 else ["light"] if m.brightness > 0.62 else []
    words.append({"w": "warm", "c": "cool"}.get(scene.temperature.removeprefix("slightly ")[0], "sober"))
    if m.contrast > 0.7 or m.colourfulness > 0.6:
        words.append("lively" if m.colourfulness > 0.4 else "stark")
    else:
        words.append("quiet")
    return words


def caveat(scene: Scene) -> str:
    """That nothing was recognised."""
    return scene.pick(
        "What it shows was not recognised; only pixels were measured.",
        "Its subject is left open, since measuring pixels recognises nothing.",
        "This tells what was measured; nothing in the picture was recognised.",
    )


def everything(scene: Scene) -> Iterator[str]:
    """All that can be said, what matters most first, for texts that have to be long."""
    for sentence in (overview, light, colours, detail, placement, accent, balance, texture, tones, medium, mood):
        if text := sentence(scene):
            yield text
    yield from (sentence for sentence in (taken(scene), camera(scene), file(scene), caveat(scene)) if sentence)
    for cell in scene.m.cells:
        yield (
            f"{capital(part(cell.place))} is mostly {cell.colour}, {percent(cell.light)} light, "
            f"and holds {percent(cell.detail)} of the detail."
        )
    for swatch in scene.m.palette:
        yield f"{capital(swatch.name)} measures {swatch.hex} on average."


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _lit(scene: Scene) -> str:
    return scene.level if scene.level.endswith("lit") else f"{scene.level} throughout"


def _much(scene: Scene) -> str:
    return "very low" if scene.contrast == "very little" else scene.contrast


def _colouring(scene: Scene) -> str:
    if scene.m.monochrome:
        return "colourless"
    lean = "neither warm nor cool" if scene.temperature == "neutral" else scene.temperature
    return f"{scene.intensity} and {lean}"

"""What a text field may be about, and what measurements have to say on it.

A topic is a function from a scene and a number (that of a beat or step, 1 where there is none) to sentences,
the most important first. What pixels cannot tell is said in words, followed by what they can.
"""

from collections.abc import Callable
from typing import Final

from providers.writing import items, sentences
from providers.writing.scene import Scene, at, capital, listed, part

Topic = Callable[[Scene, int], list[str]]

_CANNOT: Final = (
    "{} cannot be told from measured pixels.",
    "Measuring pixels says nothing about {}.",
    "Only pixels were measured, and they do not tell {}.",
)


def untold(thing: str, *sure: Callable[[Scene], str]) -> Topic:
    """A topic that pixels cannot tell. Beside that stand what they do tell, and `sure` sentences."""

    def write(scene: Scene, _: int) -> list[str]:
        said = capital(scene.pick(*_CANNOT).format(thing))
        beside = sentences.gist(scene)
        known = f"all that is known is {beside[0].lower()}{beside[1:]}"
        return [f"{said.removesuffix('.')}; {known}", *(text for one in sure if (text := one(scene)))]

    return write


def told(*parts: Callable[[Scene], str]) -> Topic:
    """A topic that is these sentences, without those that have nothing to say."""
    return lambda scene, _: [sentence for one in parts if (sentence := one(scene))]


def phrases(*parts: Callable[[Scene], list[str]]) -> Topic:
    """A topic that is a list of phrases, joined by commas in a single text."""
    return lambda scene, _: [", ".join(phrase for one in parts for phrase in one(scene))]


def fixed(text: str) -> Topic:
    """A topic with one answer for every picture."""
    return lambda scene, _: [text]


def title(scene: Scene, _: int) -> list[str]:
    """Names for the picture, the fullest first; a limit on length takes a shorter one."""
    above, below = scene.bands
    names = [scene.m.palette[0].name, *(one.name for one in scene.m.palette[1:2])]
    pair = " and ".join(names)
    choices = [scene.pick(f"{pair}, lightest {at(scene.lightest.place)}", f"{pair}, {scene.level}"), pair, names[0]]
    if above != below:
        choices.insert(0, f"{above} above {below}")
    return [_titled(choice) for choice in choices]


def theme(scene: Scene, _: int) -> list[str]:
    """A few words for the look."""
    return [f"{scene.m.palette[0].name} in {scene.lighting}", scene.m.palette[0].name]


def vibe(scene: Scene, _: int) -> list[str]:
    """Adjectives."""
    return [", ".join([*sentences.feelings(scene), scene.lighting]), ", ".join(sentences.feelings(scene))]


def style(scene: Scene) -> list[str]:
    """Phrases of style without a subject."""
    named = [scene.pick(f"{one.name} tones", f"shades of {one.name}") for one in scene.m.palette[:3]]
    words = [*named, scene.lighting, scene.pick(f"{scene.contrast} contrast", f"{scene.contrast} tonal contrast")]
    colour = [] if scene.m.monochrome else [f"{scene.intensity} colour", f"{scene.temperature} palette"]
    rest = [f"{scene.focus} edges" if scene.focus else "", scene.tonality, f"{scene.shape} format"]
    return [word for word in (*words, *colour, *rest) if word]


def avoid(scene: Scene) -> list[str]:
    """What would break the look: the opposites of what was measured."""
    m = scene.m
    return [
        "harsh contrast" if m.contrast < 0.5 else "flat contrast",
        "cold colour cast" if m.warmth > 0.08 else "warm colour cast" if m.warmth < -0.08 else "colour cast",
        "blown highlights" if m.brightness < 0.5 else "murky shadows",
        "oversaturated colour" if m.colourfulness < 0.4 else "washed-out colour",
        "excessive sharpening" if scene.focus in ("soft", "slightly soft") else "blur",
    ]


def faults(scene: Scene) -> list[str]:
    """Technical faults that can be measured."""
    m = scene.m
    found = [
        "soft all over at screen size" if scene.focus == "soft" else "",
        f"shadows without detail {at(scene.darkest.place)}" if m.shadows > 0.25 else "",
        f"highlights without detail {at(scene.lightest.place)}" if m.highlights > 0.12 else "",
        f"only {scene.size} pixels" if m.megapixels < 0.3 else "",
    ]
    return [one for one in found if one]


def poem(scene: Scene, _: int) -> list[str]:
    """Lines about light and colour, joined by slashes."""
    first, *others = [item["becomes"] for item in items.metaphors(scene)]
    names = [one.name for one in scene.m.palette[:3]]
    bright = scene.pick(
        f"the light keeps {at(scene.lightest.place)}", f"what light there is rests {at(scene.lightest.place)}"
    )
    lines = [
        capital(f"{names[0]}, {first}"),
        *(f"then {name}, {image}" for name, image in zip(names[1:2], others, strict=False)),
        "the light is everywhere alike" if scene.even else bright,
        "nothing asks to be looked at" if scene.scattered else f"and all that stirs is {at(scene.busiest.place)}",
        scene.pick("nobody has given it a name", "the rest keeps its name to itself"),
    ]
    return [" / ".join(lines), " / ".join(lines[:3])]


def story(scene: Scene, _: int) -> list[str]:
    """A story with light and colour for its figures, since nobody is recognised."""
    first = scene.m.palette[0].name
    last = scene.m.accent.name if scene.m.accent else scene.m.palette[-1].name
    dark, bright, busy = at(scene.darkest.place), at(scene.lightest.place), at(scene.busiest.place)
    return [
        scene.pick(
            "Nobody is named here, so let colour and light act it out.",
            "Its figures are colours, since nobody was recognised.",
        ),
        f"In the beginning there is {first}, and nothing disturbs it."
        if scene.single
        else f"{capital(first)} has the larger part of the stage and means to keep it.",
        "No corner is lighter than another, and so nothing can hide."
        if scene.even
        else f"{capital(dark)} it is darkest, and whatever waits there is not shown; {bright} the light is already in.",
        "The detail lies everywhere alike, like talk in a full room."
        if scene.scattered
        else f"Everything that stirs has drawn together {busy}.",
        f"Between them {last} has the last word, small as it is." if last != first else f"{capital(first)} stays.",
        f"So it ends as it began, {listed(sentences.feelings(scene))}, and the frame keeps the rest to itself.",
    ]


def beat(scene: Scene, number: int) -> list[str]:
    """One beat of a clip. Only the camera and the light move: nothing that could act was recognised."""
    busy = "the middle" if scene.scattered else part(scene.busiest.place)
    calm = part(scene.emptiest.place)
    steps = (
        f"Open on the whole frame, {scene.colours()}, {scene.level}, and hold it until the eye has settled.",
        f"Move slowly in on {busy}, where the detail gathers, while {calm} leaves the frame.",
        f"Come to rest on {busy} and let the light settle there; nothing else changes.",
    )
    return [steps[min(max(number, 1), 3) - 1]]


def transition(scene: Scene, _: int) -> list[str]:
    """How the first beat becomes the second."""
    return ["One slow, unbroken move, without a cut."]


def leads(scene: Scene, number: int) -> list[str]:
    """What at the end of a beat calls for the next."""
    busy = "the middle" if scene.scattered else part(scene.busiest.place)
    ends = (
        f"{capital(busy)} draws the eye on.",
        f"{capital(busy)} asks to be seen closer.",
        "A still frame, for as long as it may last.",
    )
    return [ends[min(max(number, 1), 3) - 1]]


def rest(scene: Scene, _: int) -> list[str]:
    """The frame that a clip ends on."""
    cell = scene.m.centre if scene.scattered else scene.busiest
    colour = cell.colour if cell else scene.m.palette[0].name
    return [f"{capital('the middle' if scene.scattered else part(scene.busiest.place))} alone, mostly {colour}, still."]


def move(scene: Scene, number: int) -> list[str]:
    """One camera move that the composition allows."""
    if scene.scattered:
        return [scene.pick("Locked-off camera.", "Slow, straight push in on the centre.")]
    busy = part(scene.busiest.place)
    return [
        scene.pick(f"Slow push in towards {busy}.", f"Slow drift towards {busy}, then hold.")
        if number < 3
        else f"Hold on {busy}, locked off."
    ]


def clip(scene: Scene, _: int) -> list[str]:
    """A prompt for a clip, motion first."""
    return [
        *move(scene, 1),
        f"Keep the {scene.shape} frame in {scene.colours(3)}, its {scene.lighting} and {scene.contrast} contrast.",
        "Nothing was recognised that could act, so let only light and camera move.",
        *beat(scene, 3),
    ]


def possibilities(scene: Scene, _: int) -> list[str]:
    """Ways to take the whole, by where light and detail lie."""
    bright, dark, busy = (cell.place for cell in (scene.lightest, scene.darkest, scene.busiest))
    return [
        "Perhaps nothing in particular is meant to be looked at, since the light is alike everywhere."
        if scene.even
        else f"Perhaps {part(bright)} is what matters, and the light was meant to lead there.",
        "Perhaps it is all surface, its detail spread over the whole frame."
        if scene.scattered
        else f"Perhaps everything turns on {part(busy)}, where the detail gathers.",
        f"Perhaps what matters lies hidden {at(dark)}, in the darkest part.",
    ]


def tension(scene: Scene, _: int) -> list[str]:
    """What pulls against what."""
    if scene.even:
        return ["Nothing pulls against anything: the light is alike everywhere."]
    return [f"The dark {at(scene.darkest.place)} and the light {at(scene.lightest.place)} pull against each other."]


def beyond(scene: Scene) -> str:
    """A guess past the edge of the frame."""
    edge = items.edges(scene)[scene.voice.start(4)]
    return f"Maybe the {edge['colour']} goes on past the {edge['edge']} edge."


def _titled(words: str) -> str:
    return " ".join(
        word if word in ("and", "at", "the", "in", "on", "along") else capital(word) for word in words.split(" ")
    )

"""A measured picture in words: the fragments that sentences, tags and labels are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b

from providers.measurements import Camera, Cell, Measurements, Swatch

_LIGHT = ((0.08, "nearly black"), (0.2, "very dark"), (0.34, "dark"), (0.46, "subdued"), (0.6, "medium-lit"))
_LIGHT_ABOVE = ((0.76, "bright"), (0.93, "very bright"), (2.0, "nearly white"))
_CONTRAST = ((0.12, "very little"), (0.3, "low"), (0.55, "moderate"), (0.78, "strong"), (2.0, "very strong"))
_COLOUR = ((0.035, "colourless"), (0.12, "nearly colourless"), (0.3, "muted"), (0.55, "restrained"), (0.8, "rich"))
_WARMTH = ((-0.25, "cool"), (-0.08, "slightly cool"), (0.08, "neutral"), (0.25, "slightly warm"), (2.0, "warm"))
_AT = {"centre": "in", "left": "on", "right": "on"}
_SHARP = ((0.12, "soft"), (0.2, "slightly soft"), (0.4, "sharp"), (2.0, "crisp"))
_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/webp": "WebP", "image/tiff": "TIFF"}


@dataclass(frozen=True, slots=True)
class Voice:
    """Chooses among phrasings: the same seed and picture always choose the same, the next seed another one."""

    seed: int | None
    digest: str
    key: str = ""

    def pick(self, *phrasings: str) -> str:
        """One of the phrasings."""
        source = f"{self.digest}|{self.key}|{phrasings[0]}".encode()
        start = int.from_bytes(blake2b(source, digest_size=4).digest())
        return phrasings[(start + (self.seed or 0)) % len(phrasings)]

    def start(self, length: int) -> int:
        """A place to start in a list of that length."""
        return int(self.pick(*map(str, range(max(1, length)))))


class Scene:
    """Measurements and a voice to tell them with. Every property is a word or a fragment without a full stop."""

    def __init__(self, measurements: Measurements, voice: Voice) -> None:
        """`measurements.palette` must not be empty: without it there is nothing to tell."""
        self.m = measurements
        self.voice = voice

    def of(self, key: str) -> "Scene":
        """The same picture, told in the voice of another field."""
        return Scene(self.m, replace(self.voice, key=key))

    def pick(self, *phrasings: str) -> str:
        """One of the phrasings."""
        return self.voice.pick(*phrasings)

    @cached_property
    def size(self) -> str:
        """Width by height in pixels."""
        return f"{self.m.width} × {self.m.height}"

    @cached_property
    def shape(self) -> str:
        """Such as "wide landscape". Not "portrait": a portrait picture is taken for one of a person."""
        ratio = max(self.m.width, self.m.height) / max(1, min(self.m.width, self.m.height))
        far = "very " if ratio > 2.6 else ""
        if self.m.orientation == "landscape":
            return f"{far}wide landscape" if ratio > 1.6 else "landscape"
        if self.m.orientation == "portrait":
            return f"{far}tall upright" if ratio > 1.6 else "upright"
        return "square"

    @cached_property
    def single(self) -> bool:
        """Whether one colour is all there is."""
        return len(self.m.palette) == 1 or self.m.palette[0].share > 0.97

    @cached_property
    def prevailing(self) -> bool:
        """Whether the two largest colours make up most of it."""
        return sum(swatch.share for swatch in self.m.palette[:2]) >= 0.5

    def colours(self, count: int = 2) -> str:
        """The largest colours by name, such as "navy and denim blue"."""
        return listed([swatch.name for swatch in self.m.palette[:count]])

    def shares(self, count: int = 3) -> str:
        """The largest colours with what they cover, such as "navy (35 %) and denim blue (20 %)"."""
        return listed([f"{swatch.name} ({percent(swatch.share)})" for swatch in self.m.palette[:count]])

    @cached_property
    def level(self) -> str:
        """How light it is on the whole, such as "subdued"."""
        return _word(self.m.brightness, (*_LIGHT, *_LIGHT_ABOVE))

    @cached_property
    def lighting(self) -> str:
        """The light as a phrase of its own, such as "low light"."""
        words = {"nearly black": "almost no light", "very dark": "very low light", "dark": "low light"}
        return words.get(self.level) or f"{self.level.removesuffix('-lit')} light"

    @cached_property
    def contrast(self) -> str:
        """Such as "strong"; reads before "contrast"."""
        return _word(self.m.contrast, _CONTRAST)

    @cached_property
    def intensity(self) -> str:
        """How much colour there is, such as "muted"."""
        return _word(self.m.colourfulness, (*_COLOUR, (2.0, "vivid")))

    @cached_property
    def temperature(self) -> str:
        """Such as "slightly warm"."""
        return "neutral" if self.m.monochrome else _word(self.m.warmth, _WARMTH)

    @cached_property
    def focus(self) -> str:
        """Such as "sharp"; empty when there is no edge to judge by."""
        return "" if self.m.sharpness is None else _word(self.m.sharpness, _SHARP)

    @cached_property
    def lightest(self) -> Cell:
        """The lightest ninth."""
        return self.m.by_light()[0]

    @cached_property
    def darkest(self) -> Cell:
        """The darkest ninth."""
        return self.m.by_light()[-1]

    @cached_property
    def even(self) -> bool:
        """Whether no part is much lighter than another."""
        return self.lightest.light - self.darkest.light < 0.08

    @cached_property
    def busiest(self) -> Cell:
        """The ninth with most detail."""
        return self.m.by_detail()[0]

    @cached_property
    def emptiest(self) -> Cell:
        """The ninth with least detail."""
        return self.m.by_detail()[-1]

    @cached_property
    def scattered(self) -> bool:
        """Whether the detail lies everywhere alike, or there is none."""
        return self.busiest.detail < 0.15 or self.busiest.detail < 1.6 * self.emptiest.detail

    @cached_property
    def bands(self) -> tuple[str, str]:
        """The commonest colour of the upper and of the lower third."""
        rows = [[cell.colour for cell in row] for row in self.m.rows()]
        return _commonest(rows[0]), _commonest(rows[2])

    @cached_property
    def mirrored(self) -> bool:
        """Whether the left half is close to the right half's mirror image."""
        return self.m.symmetry > 0.85

    @cached_property
    def placed(self) -> Swatch | None:
        """A colour that keeps to one place, the accent first."""
        named = (self.m.accent, *self.m.palette) if self.m.accent else self.m.palette
        return next((swatch for swatch in named if swatch.place), None)

    @cached_property
    def tonality(self) -> str:
        """How the tones are laid, in a few words; empty when they are neither flat nor continuous."""
        return {"flat": "few flat tones", "continuous": "continuous tones", "mixed": ""}[self.m.tones]

    @cached_property
    def file(self) -> str:
        """Such as "a JPEG of 62 kB"."""
        kind = _FORMATS.get(self.m.media_type, self.m.media_type.removeprefix("image/").upper() or "file")
        size = self.m.byte_size
        amount = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1e3))} kB"
        return f"{kind} of {amount}"

    @cached_property
    def camera(self) -> str:
        """The camera and its settings, such as "Nikon D750, 1/200 s, f/4, ISO 100, 50 mm"; empty if not told."""
        return ", ".join(part for part in (self.m.camera.name, *_settings(self.m.camera)) if part)

    @cached_property
    def taken(self) -> str:
        """When the camera's clock says it was taken, such as "3 May 2019 at 14:20"; empty if not told."""
        if not self.m.camera.taken_at:
            return ""
        moment = datetime.fromisoformat(self.m.camera.taken_at)
        return f"{moment.day} {moment:%B %Y} at {moment:%H:%M}"


def at(place: str) -> str:
    """A place with its preposition: "at the top left", "in the centre", "on the left"."""
    return f"{_AT.get(place, 'at')} the {place}"


def part(place: str) -> str:
    """A place as a thing: "the top left", "the centre", "the left side"."""
    return f"the {place} side" if place in ("left", "right") else f"the {place}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def percent(share: float) -> str:
    """A share as people write it, never 0 for something that is there."""
    return f"{max(1, round(share * 100))} %"


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _word(value: float, scale: Sequence[tuple[float, str]]) -> str:
    return next((word for bound, word in scale if value < bound), scale[-1][1])


def _commonest(names: list[str]) -> str:
    return max(names, key=names.count)


def _settings(camera: Camera) -> tuple[str, ...]:
    return (
        _seconds(camera.exposure) if camera.exposure else "",
        f"f/{round(camera.aperture, 1):g}" if camera.aperture else "",
        f"ISO {camera.iso}" if camera.iso else "",
        f"{round(camera.focal_length, 1):g} mm" if camera.focal_length else "",
    )


def _seconds(exposure: float) -> str:
    return f"{round(exposure, 1):g} s" if exposure >= 0.5 else f"1/{round(1 / exposure)} s"

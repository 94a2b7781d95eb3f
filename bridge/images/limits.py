"""What a picture may cost."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The bounds of one picture, checked on its header before anything is decoded.

    `max_bytes`: encoded bytes. `max_pixels`: width × height (× the frames to decode before the wanted one).
    `max_side`: pixels of the longer side. `max_frames`: frames or pages in the file. `max_ratio`: decoded bytes
    to encoded bytes, of pictures over four million pixels. `decode_timeout`: seconds of work in the thread.
    `frame`: which frame of an animation is used, from 0; a shorter animation gives its last. `heif`: whether HEIC
    is taken.
    """

    max_bytes: int = 20 * MIB
    max_pixels: int = 50_000_000
    max_side: int = 32_768
    max_frames: int = 2_000
    max_ratio: int = 2_000
    decode_timeout: float = 20.0
    frame: int = 0
    heif: bool = False

"""Limits on one image. The image worker imports this module, so this module must not import the service."""

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024
MAX_SIDE = 32_768
_MAX_RATIO = 100  # of the sides; vLLM fails on more ("Failed to apply Qwen2VLProcessor")
Size = tuple[int, int]
Rejection = Literal["invalid_image", "image_too_large", "out_of_memory"]


class Rejected(Exception):
    """The image is rejected. `kind`: the error code. `message`: one sentence for the caller."""

    def __init__(self, kind: Rejection, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def malformed(message: str) -> Rejected:
    return Rejected("invalid_image", message)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits that are checked before pixels are decoded.

    `max_bytes`: encoded bytes. `max_pixels`: width × height. `frame`: the frame of an animation to use, from 0; if the
    animation is shorter, its last frame is used. `heif`: whether HEIC is accepted.
    """

    max_bytes: int = 20 * MIB
    max_pixels: int = 50_000_000
    frame: int = 0
    heif: bool = False

    def check_size(self, size: Size) -> None:
        """Raise Rejected if an image of this size in pixels is not accepted."""
        short, long = sorted(size)
        if short < 1:
            raise malformed("The image has no pixels.")
        start = f"The image is {size[0]}×{size[1]}"
        if long > MAX_SIDE:
            raise Rejected("image_too_large", f"{start}; no side may exceed {MAX_SIDE} px.")
        if short * long > self.max_pixels:
            megapixels = f"{self.max_pixels / 1e6:.3g} megapixels"
            raise Rejected("image_too_large", f"{start}; the limit is {megapixels} (GRAPHCAP_MAX_IMAGE_PIXELS).")
        if long > short * _MAX_RATIO:
            ratio = f"an aspect ratio of {long / short:.4g}:1"
            raise malformed(f"{start}, {ratio}. Crop it: vision models accept at most {_MAX_RATIO}:1.")

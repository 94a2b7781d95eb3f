"""Resize presets, and the size limits of a request."""

from bridge.errors import UnknownResize
from bridge.images.limits import Size
from providers.profiles import ImageProfile

PRESETS: dict[str, Size] = {
    "SD_VGA": (640, 480),
    "HD_720P": (1280, 720),
    "FHD_1080P": (1920, 1080),
    "QHD_1440P": (2560, 1440),
    "UHD_4K": (3840, 2160),
    "UHD_8K": (7680, 4320),
}
NONE = "NONE"


def check_preset(name: str | None) -> None:
    """Raise UnknownResize unless the preset exists; None means that the request names none."""
    if name is not None and name != NONE and name not in PRESETS:
        known = ", ".join((NONE, *PRESETS))
        raise UnknownResize(f"There is no resize resolution of this name. Known names: {known}.")


def bounds(preset: str | None, profile: ImageProfile) -> tuple[int | None, Size | None]:
    """Return the longest side and the box that an image must fit.

    The preset, the profile's size and the provider's hard limit all apply; "NONE" removes the profile's size.
    """
    sides = [side for side in (None if preset == NONE else profile.size, profile.max_side) if side is not None]
    return min(sides, default=None), PRESETS.get(preset or NONE)

"""How large a picture is sent."""

from bridge.errors import UnknownResize
from providers.base import ImageProfile

Size = tuple[int, int]

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
    """Raise UnknownResize unless there is such a preset (None is no wish at all)."""
    if name is not None and name != NONE and name not in PRESETS:
        known = ", ".join((NONE, *PRESETS))
        raise UnknownResize(f"There is no resize resolution of that name; known are {known}.")


def fitted(size: Size, preset: str | None, profile: ImageProfile) -> Size:
    """Return the size at which an upright picture of `size` is sent: never larger, its shape kept.

    A preset is a box, turned for a portrait. It, the profile's size and the provider's hard limit hold together,
    the smallest wins; "NONE" leaves the hard limit alone. Raises UnknownResize.
    """
    check_preset(preset)
    boxes = [(side, side) for side in _sides(preset, profile)]
    if preset in PRESETS:
        long, short = PRESETS[preset]
        boxes.append((long, short) if size[0] >= size[1] else (short, long))
    scale = min([1.0, *(min(box[0] / size[0], box[1] / size[1]) for box in boxes)])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _sides(preset: str | None, profile: ImageProfile) -> list[int]:
    wish = None if preset == NONE else profile.size
    return [side for side in (wish, profile.max_side) if side is not None]

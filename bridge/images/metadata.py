"""Dropping what was written beside the pixels, without touching them."""

from collections.abc import Callable

from bridge.images.containers import gif, jpeg, png, webp

_STRIPPERS: dict[str, Callable[[bytes], bytes]] = {
    "image/jpeg": jpeg.strip,
    "image/png": png.strip,
    "image/webp": webp.strip,
    "image/gif": gif.strip,
}
STRIPPABLE = frozenset(_STRIPPERS)


def strip(media_type: str, data: bytes, *, whole: bool = False) -> bytes:
    """Drop metadata losslessly; the same object when there is none or the format has no way to.

    `whole`: it is a JPEG that `bridge.images.whole` has looked through.

    Raises InvalidImage, struct.error and IndexError for a malformed container.
    """
    if whole:
        return jpeg.strip(data, one_scan=True)
    stripper = _STRIPPERS.get(media_type)
    return stripper(data) if stripper else data

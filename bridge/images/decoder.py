"""The seam to Pillow: opening by format, and the one place where whatever it raises becomes our error."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

from bridge.errors import ImageError, InvalidImage
from bridge.images.containers.base import Header

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# Pillow warns of each odd tag by number: a picture could fill the log, and Python remembers every text it warned of.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_PLUGINS = {
    "image/jpeg": ("JpegImagePlugin", "JpegImageFile"),
    "image/png": ("PngImagePlugin", "PngImageFile"),
    "image/webp": ("WebPImagePlugin", "WebPImageFile"),
    "image/gif": ("GifImagePlugin", "GifImageFile"),
    "image/bmp": ("BmpImagePlugin", "BmpImageFile"),
    "image/tiff": ("TiffImagePlugin", "TiffImageFile"),
    "image/avif": ("AvifImagePlugin", "AvifImageFile"),
}


@contextmanager
def decoding(title: str) -> Iterator[None]:
    """Turn anything a decoder raises into InvalidImage; `title` is the format's name for people.

    Among malformed pictures Pillow raises OSError, SyntaxError, ValueError, struct.error, OverflowError,
    MemoryError, KeyError, IndexError, zlib.error, its own DecompressionBombError and more: any list of them
    would be some caller's 500.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise InvalidImage(f"The {title} image is truncated or malformed.") from error


def open_picture(header: Header, data: bytes) -> "Image.Image":
    """Open a picture whose header has been held to the limits; only HEIC is decoded at once.

    Raises whatever Pillow raises.
    """
    if header.media_type == "image/heic":
        from bridge.images import heif

        return heif.decode(data, (header.width, header.height))
    return open_plugin(header.media_type, data)


def open_plugin(media_type: str, data: bytes) -> "ImageFile.ImageFile":
    """Open with this format's plugin and no other; the pixels are not decoded yet.

    The plugin is called itself: `Image.open` would guess, take an MPO for two pictures, and warn of bombs, which
    `bridge.images.header` has already refused by our own limits. Raises whatever Pillow raises.
    """
    module, name = _PLUGINS[media_type]
    plugin: Any = import_module(f"PIL.{module}")
    if media_type == "image/avif":
        plugin.DEFAULT_MAX_THREADS = 1  # else as many as there are cores, for each of our own threads
    picture: ImageFile.ImageFile = getattr(plugin, name)(BytesIO(data))
    return picture

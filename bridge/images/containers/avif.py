"""AVIF, whose boxes libavif reads for us."""

from bridge.images.containers.base import Header
from bridge.images.containers.tiff import orientation
from bridge.images.decoder import decoding, open_plugin


def header(data: bytes) -> Header:
    """Read the shape; nothing is decoded. Raises InvalidImage."""
    with decoding("AVIF"), open_plugin("image/avif", data) as picture:
        exif: bytes = picture.info.get("exif", b"").removeprefix(b"Exif\0\0")
        return Header(
            media_type="image/avif",
            width=picture.width,
            height=picture.height,
            frames=int(getattr(picture, "n_frames", 1)),
            mode=picture.mode,
            orientation=orientation(exif),
            has_alpha=picture.has_transparency_data,
            exif=exif,
        )

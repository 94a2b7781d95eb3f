"""The image worker: a process that decodes, converts and encodes images, one after the other.

`bridge.images.decoder` runs `python -m bridge.images.worker MEMORY SECONDS`, writes jobs to its input and reads results
from its output. If a decoder crashes, hangs or needs too much memory, only this process ends. It is not a
security sandbox.
"""

import os
import resource
import signal
import sys
import warnings
from dataclasses import replace
from importlib import import_module
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image

from bridge.images import statistics
from bridge.images.formats import png
from bridge.images.formats.header import exif_orientation, title, upright
from bridge.images.job import LENGTHS, Job, Result, fitted, head_of_frame, parse_job
from bridge.images.limits import Rejected, Size, malformed
from bridge.images.pixels import is_graphic, resize, run_steps

# Pillow's format names and plugins. `Image.open` would import all plugins.
_FORMATS = {
    "image/jpeg": ("JPEG", "PIL.JpegImagePlugin"),
    "image/png": ("PNG", "PIL.PngImagePlugin"),
    "image/webp": ("WEBP", "PIL.WebPImagePlugin"),
    "image/gif": ("GIF", "PIL.GifImagePlugin"),
    "image/bmp": ("BMP", "PIL.BmpImagePlugin"),
    "image/tiff": ("TIFF", "PIL.TiffImagePlugin"),
    "image/avif": ("AVIF", "PIL.AvifImagePlugin"),
    "image/heic": ("HEIF", "pillow_heif"),
}
_MAX_PARTS = 65_536  # Pillow 13 processes strips and tiles in Python: 2 million of one pixel each took 9 s
_LOSSY = ("image/jpeg", "image/avif", "image/heic")
_QUALITIES = (90, 80, 65)
_SMALLEST = 64  # pixels of the longer side; a smaller image would show too little
_STEP = 0.7
_SCALES = (8, 4, 2)
_CLOSE_ENOUGH = 0.9  # a DCT-scaled JPEG of at least this share of the requested size is not resampled


def handle(job: Job, data: bytes) -> tuple[Result, bytes]:
    """Run one job. Exceptions of decoders, of which Pillow raises many kinds, become a result with an error."""
    try:
        return run(job, data)
    except Rejected as rejected:
        return Result(rejected.kind, rejected.message), b""
    except MemoryError:
        pass  # the decoder's objects are freed only after this handler
    except Exception:  # noqa: BLE001 (see above)
        return Result("invalid_image", f"The {title(job.media_type)} image is truncated or malformed."), b""
    return Result("out_of_memory", "The image needs more memory to decode than is allowed."), b""


def run(job: Job, data: bytes) -> tuple[Result, bytes]:
    """Run one job. Raises Rejected and Pillow's exceptions."""
    with _open(job.media_type, data) as image:
        job.limits.check_size(image.size)
        if len(getattr(image, "tile", ())) > _MAX_PARTS:
            raise malformed("The image consists of too many parts.")
        actions = _select_frame(image, job.limits.frame)
        job.limits.check_size(image.size)
        if job.verify and image.size == job.size and (job.media_type != "image/png" or png.is_sound(data)):
            return _verify(image, job), b""
        return _convert(image, job, actions)


def _open(media_type: str, data: bytes) -> Image.Image:
    """Open an image with the plugin of this format only. The pixels are not decoded yet."""
    name, module = _FORMATS[media_type]
    plugin: Any = import_module(module)
    if name == "AVIF":
        plugin.DEFAULT_MAX_THREADS = 1
    elif name == "HEIF":
        plugin.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return Image.open(BytesIO(data), formats=(name,))


def _select_frame(image: Image.Image, frame: int) -> list[str]:
    """Go to a frame, or to the last frame if the animation is shorter. For a TIFF, the first page is used."""
    if image.format == "TIFF" or not getattr(image, "is_animated", False):
        return []
    for _ in range(frame):
        try:
            image.seek(image.tell() + 1)
        except EOFError:
            break
    return [f"frame {image.tell() + 1}"]


def _verify(image: Image.Image, job: Job) -> Result:
    """Check that an image decodes. A JPEG is decoded at an eighth of its size; this still reads all its data."""
    size = upright(image.size, job.orientation)
    image.draft(None, (1, 1))
    image.load()
    result = Result(size=size, source_size=size)
    return _measured(result, run_steps(image, image.size, job.orientation)[0]) if job.statistics else result


def _convert(image: Image.Image, job: Job, actions: list[str]) -> tuple[Result, bytes]:
    """Decode the image at the smallest size that suffices, run the steps of `bridge.images.pixels`, and encode it."""
    orientation = job.orientation  # Pillow applies the orientation of a TIFF itself, and libheif that of a HEIC
    if image.format == "AVIF":
        orientation = exif_orientation(image.info.get("exif", b""))
    source = upright(image.size, orientation)
    stored = upright(fitted(source, job.box), orientation)
    scaled = _dct_scaled(image.size, stored) if image.format == "JPEG" else None
    if stored != image.size:
        image.draft(None, scaled or stored)
    image.load()
    job.limits.check_size(image.size)
    pixels, changes = run_steps(image, image.size if scaled else stored, orientation)
    media_type, data, encoded = encode(pixels, job)
    actions += changes
    if orientation > 1:
        actions.append("rotated")
    if encoded.size != source:
        actions.append("resized {}x{} → {}x{}".format(*source, *encoded.size))
    same = media_type == job.media_type
    actions.append("recompressed" if same else f"converted {job.media_type} → {media_type}")
    result = Result(media_type=media_type, size=encoded.size, source_size=source, actions=actions)
    return (_measured(result, encoded) if job.statistics else result), data


def _measured(result: Result, image: Image.Image) -> Result:
    colours, brightness = statistics.measure(image)
    return replace(result, colours=colours, brightness=brightness)


def _dct_scaled(size: Size, wanted: Size) -> Size | None:
    """Return the size to request from JPEG's DCT scaling, None if no scale gives 90 to 100 % of the requested size."""
    for scale in _SCALES:
        result = tuple(-(-side // scale) for side in size)  # rounded up, as libjpeg does
        if all(_CLOSE_ENOUGH * most <= side <= most for side, most in zip(result, wanted, strict=True)):
            return size[0] // scale, size[1] // scale
    return None


def encode(image: Image.Image, job: Job) -> tuple[str, bytes, Image.Image]:
    """Encode an L or RGB image within the byte limit: as PNG for a graphic from a lossless format, otherwise as JPEG.

    Every model accepts both. First the quality is lowered, then the size. Returns the media type, the bytes, and the
    image at its final size. Raises Rejected if nothing fits.
    """
    image.info = {}  # Pillow would write the comments and profiles in it
    forms: list[tuple[str, dict[str, Any]]]
    forms = [("JPEG", {"quality": quality, "subsampling": "4:2:0"}) for quality in _QUALITIES]
    if job.media_type not in _LOSSY and is_graphic(image):
        forms.insert(0, ("PNG", {}))
    while True:
        for form, options in forms:
            buffer = BytesIO()
            image.save(buffer, form, **options)
            if job.max_bytes is None or buffer.tell() <= job.max_bytes:
                return f"image/{form.lower()}", buffer.getvalue(), image
        smaller = round(image.width * _STEP), round(image.height * _STEP)
        if max(smaller) < _SMALLEST or min(smaller) < 1:
            raise Rejected("image_too_large", "The image cannot be reduced to the byte limit of the chosen model.")
        image = resize(image, smaller)


def confine(memory: int) -> None:
    """Limit the address space to its current size plus `memory` bytes, and forbid writing files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (pathlib costs 5 ms to import)
            pages = int(file.read().split()[0])
    except OSError:  # not Linux, so RLIMIT_AS has no effect either
        return
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def renew_cpu_limit(seconds: int) -> None:
    """Let the kernel end this process after another `seconds` of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def send(results: BinaryIO, result: Result, encoded: bytes = b"") -> None:
    results.write(head_of_frame(result, len(encoded)))
    results.write(encoded)
    results.flush()


def main(memory: int, seconds: int) -> None:
    """Write an empty result to show that the worker is ready, then handle jobs until the input ends."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # a signal to the process group must not end running jobs
        signal.signal(ending, signal.SIG_IGN)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with frames
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    Image.MAX_IMAGE_PIXELS = None  # `ImageLimits` is used instead
    for plugin in ("PIL.JpegImagePlugin", "PIL.PngImagePlugin"):
        import_module(plugin)
    confine(memory)
    send(results, Result())
    jobs = sys.stdin.buffer
    while frame := jobs.read(LENGTHS.size):
        text_size, data_size = LENGTHS.unpack(frame)
        job, data = parse_job(jobs.read(text_size)), jobs.read(data_size)
        renew_cpu_limit(seconds)
        send(results, *handle(job, data))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

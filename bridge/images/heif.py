"""HEIC decoded in a process of its own: libheif and libde265 have had bugs that a picture could exploit.

The process holds nothing that is worth stealing and may do next to nothing: no secrets in its environment, no file
that it could open or write, bounded memory and time. It reads the picture from its input and writes one line and
the pixels to its output; what comes back is believed no more than the picture was.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from os import environ
from threading import Event, Timer
from typing import TYPE_CHECKING, Any

from bridge.errors import ImageTooLarge, InvalidImage
from bridge.images.limits import MIB, ImageLimits

if TYPE_CHECKING:
    from PIL import Image

_SECONDS = ImageLimits().decode_timeout
_BASE_MEMORY = 512 * MIB
# YUV of more than eight bits, RGB of as much, and the copy that is handed over.
_BYTES_PER_PIXEL = 24
_SAMPLES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_HEAD = re.compile(rb"(L|LA|RGB|RGBA) ([1-9][0-9]{0,8}) ([1-9][0-9]{0,8}) ([0-9]{1,8})\n")
_HEAD_SIZE = 40
_MOST_PROFILE = 4 * MIB
# What an interpreter may need to start, and nothing else.
_PASSED = ("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT")


def available() -> bool:
    """Whether the package that decodes HEIC is installed."""
    return find_spec("pillow_heif") is not None


def decode(data: bytes, size: tuple[int, int], seconds: float = _SECONDS) -> "Image.Image":
    """Decode the primary picture, upright, whose header says `size`. Blocks for up to `seconds`.

    Raises InvalidImage for what cannot be decoded, the decoder's death included, and ImageTooLarge.
    """
    from PIL import Image

    told = _run(data, size[0] * size[1], seconds)
    head = _HEAD.match(told)
    if head is None:
        raise InvalidImage("The HEIC image is truncated or malformed.")
    mode = head[1].decode()
    width, height, profile = int(head[2]), int(head[3]), int(head[4])
    pixels = told[head.end() + profile :]
    if width * height > size[0] * size[1] or len(pixels) != width * height * _SAMPLES[mode]:
        raise InvalidImage("The HEIC image is not what its header says.")
    picture = Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)
    if profile:
        picture.info["icc_profile"] = told[head.end() : head.end() + profile]
    return picture


def _run(data: bytes, pixels: int, seconds: float) -> bytes:
    """What the process wrote, of no more than can be true."""
    most = _HEAD_SIZE + _MOST_PROFILE + pixels * 4
    memory = _BASE_MEMORY + pixels * _BYTES_PER_PIXEL
    command = [sys.executable, "-m", __name__, str(pixels), str(int(seconds) + 1), str(memory)]
    with _process(command) as process, _killed_after(process, seconds) as late:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(data)
        with suppress(BrokenPipeError):
            process.stdin.close()
        told = process.stdout.read(most + 1)
    if late.is_set():
        raise ImageTooLarge(f"The image took longer than {seconds:g} seconds to read.")
    return told if len(told) <= most else b""


@contextmanager
def _process(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(  # noqa: S603  our own module, and numbers
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: environ[name] for name in _PASSED if name in environ},
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()


@contextmanager
def _killed_after(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[Event]:
    """Yield what is set before the process is killed: Timer's own `finished` is set afterwards."""
    late = Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, kill)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def confine(seconds: int, memory: int) -> None:
    """Take from this process what it does not need: files, cores, memory and time beyond these."""
    import resource  # which Windows does not have

    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    ):
        resource.setrlimit(kind, (most, most))


def main(most_pixels: int, seconds: int, memory: int) -> None:
    """Decode what comes on the input, in the process of its own."""
    heif: Any = import_module("pillow_heif")
    options: Any = import_module("pillow_heif.options")
    import_module("PIL.Image").preinit()
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    confine(seconds, memory)
    file = heif.open_heif(sys.stdin.buffer.read(), convert_hdr_to_8bit=True)
    picture = file[file.primary_index]
    width, height = picture.size
    if width * height > most_pixels:
        sys.exit(1)
    pixels = bytes(picture.data)
    width, height = picture.size
    profile = picture.info.get("icc_profile") or b""
    profile = profile if len(profile) <= _MOST_PROFILE else b""
    mode = picture.mode.replace("a", "A")
    out = sys.stdout.buffer
    out.write(f"{mode} {width} {height} {len(profile)}\n".encode() + profile)
    out.write(pixels)
    out.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))

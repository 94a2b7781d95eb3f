"""Send twenty thousand images of five kinds to one worker, and compare its memory before, meanwhile and afterwards."""

import asyncio
import time
from collections.abc import Iterator

from PIL import Image

from benchmarks import photos
from benchmarks.load import load, uploaded
from benchmarks.report import Report, Table, Target
from benchmarks.running import Running, bridge, stub

IMAGES = 20_000
CONNECTIONS = 16
REST_SECONDS = 25  # free memory is returned to the system every ten


def run() -> Report:
    """Send images that are passed on and images that are decoded, and wait until the service is idle."""
    with stub() as provider, bridge(provider) as service:
        kinds = dict(_images())
        for data in kinds.values():
            _send(service, data, CONNECTIONS)
        time.sleep(REST_SECONDS)
        before, cpu, start = service.memory(), service.cpu(), time.perf_counter()
        tenth = IMAGES // 10
        for _ in range(10):
            for data in kinds.values():
                _send(service, data, tenth // len(kinds))
        took, cpu = time.perf_counter() - start, service.cpu() - cpu
        peak = service.memory("VmHWM")
        busy = service.memory()
        time.sleep(REST_SECONDS)
        after = service.memory()
    rows = (
        ("images", str(IMAGES)),
        ("their sorts", ", ".join(kinds)),
        ("seconds", f"{took:.0f}"),
        ("CPU ms an image", f"{cpu * 1000 / IMAGES:.1f}"),
        ("memory before (each sort seen)", f"{before:.0f} MB"),
        ("at most", f"{peak:.0f} MB"),
        ("after the last", f"{busy:.0f} MB"),
        (f"{REST_SECONDS} s later", f"{after:.0f} MB"),
    )
    target = Target("Memory after twenty thousand images, over what it was before", 1.25, after / before, "×")
    return Report("Memory", [Table(("what", "how much"), rows)], [target])


def _send(service: Running, data: bytes, count: int) -> None:
    request = uploaded(data)
    asyncio.run(load(service, request, CONNECTIONS, 3600, count))


def _images() -> Iterator[tuple[str, bytes]]:
    """Yield one image that is passed on, and four that are decoded and encoded again."""
    photo = Image.open(photos.SMALL).convert("RGB")
    yield "JPEG that passes", photos.SMALL.read_bytes()
    yield "WebP with alpha", photos.saved(photo.convert("RGBA"), "WEBP")
    yield "16-bit PNG", photos.saved(photo.convert("L").convert("I;16"), "PNG")
    yield "CMYK JPEG", photos.saved(photo.convert("CMYK"), "JPEG")
    yield "JPEG of 3 megapixels", photos.of_bytes((2400, 1250), 600_000)

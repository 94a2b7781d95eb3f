"""The protocol between the service and its image workers: each job and each result is one frame.

A frame is two lengths (4 bytes each, big-endian), a JSON object and the image's bytes. The worker imports this
module, so it must not import the service.
"""

import json
from dataclasses import asdict, dataclass, field
from struct import Struct

from bridge.images.limits import MAX_SIDE, ImageLimits, Rejection, Size

LENGTHS = Struct(">II")


@dataclass(frozen=True, slots=True)
class Job:
    """A job for an image of `media_type`.

    `size`, `orientation`: as stored in the file, if the service has read its header. `verify`: check that the image can
    be decoded, and do not convert it. `box`: limits of the (long, short) side. `max_bytes`: limit of the encoded
    result. `statistics`: also measure the pixels.
    """

    media_type: str
    limits: ImageLimits
    size: Size | None = None
    orientation: int = 1
    verify: bool = False
    box: Size = (MAX_SIDE, MAX_SIDE)
    max_bytes: int | None = None
    statistics: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a job: an `error` with its `message`, or the image.

    `size`, `source_size`: the new and the original size, with the orientation applied. `media_type`: "" if the bytes
    are unchanged. `actions`: descriptions of the changes. `colours`, `brightness`: the statistics.
    """

    error: Rejection | None = None
    message: str = ""
    media_type: str = ""
    size: Size = (0, 0)
    source_size: Size = (0, 0)
    actions: list[str] = field(default_factory=list)
    colours: list[tuple[str, float]] = field(default_factory=list)
    brightness: float = 0.0


def fitted(size: Size, box: Size) -> Size:
    """Shrink an upright size to the `box` (long, short side). The aspect ratio is kept."""
    width, height = box if size[0] >= size[1] else box[::-1]
    scale = min(1.0, width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def head_of_frame(message: Job | Result, size: int) -> bytes:
    """Build the start of a frame. The data follows. `size`: the length of the data in bytes."""
    text = json.dumps(asdict(message)).encode()
    return LENGTHS.pack(len(text), size) + text


def parse_job(text: bytes) -> Job:
    fields = json.loads(text)
    size = fields["size"] and tuple(fields["size"])
    return Job(**{**fields, "limits": ImageLimits(**fields["limits"]), "size": size})


def parse_result(text: bytes) -> Result:
    """Parse JSON from a worker as a result. Raises ValueError, TypeError or KeyError for any other content."""
    fields = json.loads(text)
    width, height = fields["size"]
    return Result(**{**fields, "size": (int(width), int(height)), "source_size": tuple(fields["source_size"])})

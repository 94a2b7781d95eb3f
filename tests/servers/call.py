"""A recorded call: the request that a server received, parsed by its protocol."""

import binascii
import io
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from PIL import Image as Pillow

REPLACEMENT = "sha256:"


class RefusedError(Exception):
    """Raised when the server rejects a request; the protocol formats `status` and `message`."""

    def __init__(self, status: int, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.facts = facts

    @property
    def headers(self) -> dict[str, str]:
        """Return the scripted headers, with `retry-after`."""
        wait = self.facts.get("retry_after")
        return {**self.facts.get("headers", {}), **({} if wait is None else {"retry-after": f"{wait:g}"})}


@dataclass(frozen=True)
class Picture:
    """A decoded image: the received bytes, their format and size, and the media type that the client declared."""

    data: bytes = field(repr=False)
    format: str
    size: tuple[int, int]
    media_type: str = ""

    @property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()


@dataclass
class Call:
    """A client's request; each field has the value from the place that the protocol defines for it.

    `parts`: the types of the parts of the first user message, in order. `turns`: role and text of later messages.
    """

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes = field(repr=False)
    body: Any = None
    model: str = ""
    stream: bool = False
    schema: Any = None
    mode: str = "text"
    prompt: str = ""
    system: str = ""
    image: Picture | None = None
    images: list[Picture] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def texts(self) -> list[str]:
        return [self.system, self.prompt, *(text for _, text in self.turns)]

    def read_json(self) -> dict[str, Any]:
        try:
            self.body = json.loads(self.raw)
        except ValueError as error:
            raise RefusedError(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(self.body, dict):
            raise RefusedError(400, "The body is not an object.")
        return self.body

    def add_image(self, encoded: str, media_type: str = "", refused: frozenset[str] = frozenset()) -> None:
        """Decode an image in either base64 alphabet; reject an unreadable one or a wrong media type."""
        picture = decode_picture(encoded, media_type)
        if picture.format in refused:
            raise RefusedError(400, "Failed to load image or audio file", image=True)
        self.images.append(picture)
        self.image = self.image or picture


def decode_picture(encoded: str, media_type: str) -> Picture:
    try:
        data = b64decode(encoded.translate(str.maketrans("-_", "+/")), validate=True)
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
            file_format, size = picture.format or "", picture.size
    except (binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise RefusedError(400, "The image could not be read.", image=True) from error
    if media_type and Pillow.MIME.get(file_format) != media_type:
        raise RefusedError(400, f"The image is declared as {media_type}, but is not.", image=True)
    return Picture(data, file_format, size, media_type)


def without_images(body: Any, pictures: list[Picture]) -> Any:
    """Return the body with the base64 of every image replaced by its SHA-256, for golden files."""
    known = {b64encode(picture.data).decode(): REPLACEMENT + picture.sha256 for picture in pictures}

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        if not isinstance(node, str):
            return node
        head, comma, tail = node.rpartition(",")
        plain = tail.translate(str.maketrans("-_", "+/"))
        return f"{head}{comma}{known[plain]}" if plain in known else node

    return walk(body)


def words(text: str) -> frozenset[str]:
    """Split a text at white space into a set of names."""
    return frozenset(text.split())

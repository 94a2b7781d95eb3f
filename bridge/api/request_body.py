"""Read a JSON or multipart request body within limits of size and time. No temporary files are used."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from bridge.errors import BodyTooLarge, InvalidJson, InvalidRequest, RequestTimeout
from bridge.settings import Settings
from providers.base import JsonObject

UPLOAD_PART = "image"
_UTF_8 = (b"utf-8", b"utf8", b"us-ascii")
_GRACE_SECONDS = 10.0
_MAX_VALUES = 200_000  # commas and brackets; parsing blocks the event loop for at most 0.15 s


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The fields of a request, and the uploaded image, if any."""

    fields: JsonObject
    upload: bytes | None = None


async def read_body(request: Request, settings: Settings, *, optional: bool = False) -> RequestBody:
    """Read the body according to its content type. `optional`: the body may be empty.

    The settings limit its size, its time, and after ten seconds its average rate. Raises BodyTooLarge, InvalidJson,
    InvalidRequest or RequestTimeout.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > settings.body_limit:
        raise BodyTooLarge(settings.body_limit)
    first = min(settings.timeout, _GRACE_SECONDS) if settings.min_send_rate else settings.timeout
    try:
        async with asyncio.timeout(first) as deadline:
            chunks = _chunks(request, settings, deadline)
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return await _read_multipart(request, chunks, settings.body_limit)
            content = b"".join([chunk async for chunk in chunks])
    except ClientDisconnect:
        raise InvalidJson("The request ended before its body was complete.") from None
    except TimeoutError:
        raise RequestTimeout(
            f"The request body took longer than {settings.timeout:g} seconds, or arrived at less than "
            f"{settings.min_send_rate} bytes per second."
        ) from None
    return RequestBody({} if optional and not content else parse_object(content))


async def _chunks(request: Request, settings: Settings, deadline: asyncio.Timeout) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of the body. Each chunk extends the deadline by the time that it takes at `min_send_rate`."""
    received = 0
    start = asyncio.get_running_loop().time()
    async for chunk in request.stream():
        received += len(chunk)
        if received > settings.body_limit:
            raise BodyTooLarge(settings.body_limit)
        if settings.min_send_rate:
            deadline.reschedule(start + min(settings.timeout, _GRACE_SECONDS + received / settings.min_send_rate))
        yield chunk


def parse_object(text: bytes | str, name: str = "The body") -> JsonObject:
    """Parse a JSON object. Raises InvalidJson with the position, or InvalidRequest for too many values."""
    _check_size(text, name)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"{name} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidJson(f"{name} is JSON, but not an object.")
    return value


def _check_size(text: bytes | str, name: str) -> None:
    """Raise InvalidRequest for too many values. (`find` is faster than `count` on base64.)"""
    left = _MAX_VALUES
    for character in ",[{" if len(text) > _MAX_VALUES else "":
        mark: Any = character if isinstance(text, str) else character.encode()
        at = text.find(mark)
        while at >= 0 and left:
            left -= 1
            at = text.find(mark, at + 1)
    if not left:
        raise InvalidRequest(f"{name} has more values than the limit of {_MAX_VALUES}.")


async def _read_multipart(request: Request, chunks: AsyncGenerator[bytes, None], limit: int) -> RequestBody:
    _, parameters = parse_options_header(request.headers["content-type"])
    if parameters.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise InvalidRequest("Send the multipart body as UTF-8.")  # not every Python codec decodes text
    parser = MultiPartParser(request.headers, chunks, max_files=8, max_fields=64, max_part_size=limit)
    parser.spool_max_size = sys.maxsize  # starlette 1.10 would write parts over 1 MiB to files
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The multipart body cannot be parsed: {error.message}") from None
    parts = [(name, part if isinstance(part, str) else await part.read()) for name, part in form.multi_items()]
    uploads = [content for name, content in parts if name == UPLOAD_PART]
    if len(uploads) > 1:
        raise InvalidRequest("The request has two images. Caption them one at a time.", (("/image", "two parts"),))
    upload = uploads[0] if uploads else None
    if isinstance(upload, str):
        raise InvalidRequest("Send the part 'image' as a file (curl -F image=@photo.jpg).", (("/image", "not a file"),))
    texts = [(name, _text(name, content)) for name, content in parts if name != UPLOAD_PART]
    _check_size("".join(text for _, text in texts), "The body")
    fields = _merge(texts)
    nested = parse_object(fields.pop("request"), "The part 'request'") if "request" in fields else {}
    return RequestBody({**nested, **fields}, upload)


def _text(name: str, content: bytes | str) -> str:
    try:
        return content if isinstance(content, str) else content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"The part '{name}' is not text. Send the image as the part 'image' (curl -F image=@photo.jpg).",
            ((f"/{name}", "not UTF-8 text"),),
        ) from None


def _merge(texts: list[tuple[str, str]]) -> JsonObject:
    """Convert multipart fields to request fields. JSON objects and lists are parsed. `context` may be repeated."""
    fields: JsonObject = {}
    for name, text in texts:
        value: Any = text
        if name != "request" and text.lstrip()[:1] in ("{", "["):
            with suppress(ValueError):
                value = from_json(text, allow_inf_nan=False)
        if name not in fields:
            fields[name] = value
        elif name == "context":
            previous = fields[name] if isinstance(fields[name], list) else [fields[name]]
            fields[name] = [*previous, value]
        else:
            raise InvalidRequest(f"The part '{name}' is repeated.", ((f"/{name}", "repeated"),))
    return fields

"""Read a request's body: bounded while it arrives, JSON or multipart, never a file on disk."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from bridge.deadline import DeadlineExceeded
from bridge.errors import BodyTooLarge, InvalidJson, InvalidRequest
from bridge.settings import Settings

JsonObject = dict[str, Any]
_FILE_PARTS = {"image"}
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]*)", re.IGNORECASE)
CHUNK_SECONDS = 30.0
# Commas and brackets of a body that is parsed on the loop: 0.15 s at the most. A book of prose has fifty thousand.
_MOST_PARTS = 200_000


@dataclass(frozen=True, slots=True)
class Body:
    """A request's fields, and the image that was uploaded beside them."""

    fields: JsonObject
    upload: bytes | None = None


class MemoryMultiPartParser(MultiPartParser):
    """Starlette's parser without its temporary file: parts over 1 MiB would be spooled to disk (measured, 1.10)."""

    spool_max_size = sys.maxsize


async def read(
    request: Request, settings: Settings, *, optional: bool = False, chunk_within: float = CHUNK_SECONDS
) -> Body:
    """The body by its content type; `optional`: none at all is no fields.

    It has to arrive within the service's own time, and no piece of it may take longer than `chunk_within` seconds.
    Raises BodyTooLarge, InvalidJson, InvalidRequest or DeadlineExceeded.
    """
    limit, end = settings.body_limit, asyncio.get_running_loop().time() + settings.timeout
    _check_announced(request, limit)
    try:
        async with asyncio.timeout_at(end) as patience:
            chunks = _bounded(request.stream(), limit, patience, end, chunk_within)
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return await _multipart(request, chunks, limit)
            content = b"".join([chunk async for chunk in chunks])
    except ClientDisconnect:
        raise InvalidJson("The request ended before its body was whole.") from None
    except TimeoutError:
        stalled = (patience.when() or end) < end
        raise DeadlineExceeded(
            chunk_within if stalled else settings.timeout, "waiting for the request's body"
        ) from None
    return Body({} if optional and not content else parse_object(content))


def _check_announced(request: Request, limit: int) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(limit)


async def _bounded(
    chunks: AsyncIterator[bytes], limit: int, patience: asyncio.Timeout, end: float, chunk_within: float
) -> AsyncGenerator[bytes, None]:
    """The chunks up to the limit, each of them in time; a large body has a hundred."""
    received = 0
    clock = asyncio.get_running_loop().time
    while True:
        patience.reschedule(min(end, clock() + chunk_within))
        chunk = await anext(chunks, None)
        if chunk is None:
            return
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge(limit)
        yield chunk


def parse_object(text: bytes | str, what: str = "The body") -> JsonObject:
    """A JSON object. Raises InvalidJson with the place of the mistake, InvalidRequest for what holds too much."""
    _check_values(text, what)
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"{what} is not valid JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidJson(f"{what} is JSON, but not an object.")
    return value


def _check_values(text: bytes | str, what: str) -> None:
    """Raise InvalidRequest where there are too many; `count` would look at each byte of a picture."""
    left = _MOST_PARTS
    for mark in ",[{" if len(text) > _MOST_PARTS else "":
        sought: Any = mark if isinstance(text, str) else mark.encode()
        at = text.find(sought)
        while at >= 0 and left:
            left -= 1
            at = text.find(sought, at + 1)
    if not left:
        raise InvalidRequest(f"{what} holds more values than any request needs.")


async def _multipart(request: Request, chunks: AsyncGenerator[bytes, None], limit: int) -> Body:
    charset = _CHARSET.search(request.headers["content-type"])
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidRequest("Send the multipart body as UTF-8.")  # Python knows charsets that read as no text
    parser = MemoryMultiPartParser(request.headers, chunks, max_files=8, max_fields=64, max_part_size=limit)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The multipart body cannot be read: {error.message}") from None
    uploads: list[bytes] = []
    texts: list[tuple[str, str]] = []
    try:
        for name, value in form.multi_items():
            if name in _FILE_PARTS:
                uploads.append(await _upload(name, value))
            else:
                texts.append((name, await _text(name, value)))
    finally:
        await form.close()
    _check_values("".join(text for _, text in texts), "The body")
    fields: JsonObject = {}
    for name, text in texts:
        _add(fields, name, text)
    if len(uploads) > 1:
        raise InvalidRequest("The request holds two images; caption them one at a time.", (("/image", "two parts"),))
    whole = parse_object(fields.pop("request"), "The part 'request'") if "request" in fields else {}
    return Body({**whole, **fields}, uploads[0] if uploads else None)


async def _upload(name: str, value: UploadFile | str) -> bytes:
    if isinstance(value, str):
        raise InvalidRequest(
            f"The part '{name}' is text; send it as a file (curl -F {name}=@photo.jpg).",
            ((f"/{name}", "not a file"),),
        )
    return await value.read()


async def _text(name: str, value: UploadFile | str) -> str:
    if isinstance(value, str):
        return value
    try:
        return (await value.read()).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"The part '{name}' is not text. Send the picture as the part 'image' (curl -F image=@photo.jpg).",
            ((f"/{name}", "not UTF-8 text"),),
        ) from None


def _add(fields: JsonObject, name: str, text: str) -> None:
    """A part that reads as a JSON object or list is one; `context` may come several times."""
    value: Any = text
    if name != "request" and text.lstrip()[:1] in ("{", "["):
        try:
            value = from_json(text, allow_inf_nan=False)
        except ValueError:
            value = text
    if name == "context" and name in fields:
        before = fields[name] if isinstance(fields[name], list) else [fields[name]]
        value = [*before, value]
    elif name in fields:
        raise InvalidRequest(f"The part '{name}' came twice.", ((f"/{name}", "given twice"),))
    fields[name] = value

"""Read the JSON object out of what a model wrote, forgiving the spelling but never the content.

Fences, prose around the object and raw control characters inside strings are forgiven: vLLM with xgrammar
writes such characters where a string has length bounds (observed on vLLM 0.32), and models without constrained
decoding like to explain themselves.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from providers.base import JsonObject
from providers.text import whole_characters

T = TypeVar("T")
_QUICK = 16 * 1024  # characters that are read in less time than others would notice, if the schema is small
_SMALL = 200  # values in a small schema
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_STARTS = 64
_MAX_SCANS = 8  # how often, in whole texts, an object that is not there is looked for


async def off_the_loop(work: Callable[[], T], text: str, schema: JsonObject) -> T:
    """Read a text by its schema: in a thread, unless both are small and no alternatives have to be tried."""
    if len(text) < _QUICK and _is_small(schema):
        return work()
    return await asyncio.to_thread(work)


def _is_small(schema: JsonObject) -> bool:
    """Only below such a schema the text's length alone says what reading it costs."""
    found = 0
    waiting: list[Any] = [schema]
    while waiting and found <= _SMALL:
        inner = waiting.pop()
        found += 1
        if isinstance(inner, dict):
            if "anyOf" in inner:
                return False
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
    return not waiting


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse_constant)


def objects(text: str) -> Iterator[dict[str, Any]]:
    """Every JSON object that could be meant: the whole text first, then fenced ones, then any inside prose."""
    text = text.strip().removeprefix("\ufeff")
    whole = _decode(text)
    if whole is not None:
        yield whole[0]
        return
    for fenced in text.split("```", 2 * _MAX_STARTS)[1:-1:2]:
        start = fenced.find("{")
        if start >= 0 and (found := _decode(fenced[start:].strip())) is not None:
            yield found[0]
    yield from _inside(text)


def _inside(text: str) -> Iterator[dict[str, Any]]:
    start = text.find("{")
    budget = _MAX_SCANS * len(text)
    for _ in range(_MAX_STARTS):
        if start < 0 or budget < 0:
            return
        found = _decode(text, start)
        budget -= (found[1] if found else len(text)) - start
        if found is not None:
            yield found[0]
        start = text.find("{", found[1] if found else start + 1)


def _decode(text: str, start: int | None = None) -> tuple[dict[str, Any], int] | None:
    """The object at `start` and where it ends; without `start` it must be the whole text."""
    try:
        value, end = _DECODER.raw_decode(text, start or 0)
        value = _whole(value) if _HALF.search(text, start or 0, end) else value
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (start is None and text[end:].strip()):
        return None
    return value, end


def _whole(value: Any) -> Any:
    """The value with every half of a character replaced: JSON can escape one, and UTF-8 cannot hold it."""
    if isinstance(value, dict):
        return {whole_characters(name): _whole(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return whole_characters(value) if isinstance(value, str) else value

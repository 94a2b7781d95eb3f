"""Find the JSON object in the text that a model wrote, even while the text is incomplete.

Code fences and explanations around the object are ignored: models add them if the server does not enforce the schema.
So are the thoughts of a reasoning model, which some servers do not separate (perplexityai/api-discussion#245).
Raw control characters inside strings are accepted: vLLM 0.32 writes them if the schema limits a string's length.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from pydantic_core import from_json

from bridge.deadline import Deadline
from bridge.run import Run
from perspectives.errors import Problem, ValidationFailed
from perspectives.perspective import Perspective
from perspectives.validation import MAX_ANSWER_BYTES, Validated, Validator
from providers.base import JsonObject
from providers.dialects import restore
from providers.text import whole_characters

T = TypeVar("T")
PARTIAL_INTERVAL = 0.05  # seconds between two reports of the object so far
_COST_FACTOR = 20  # at most 1/20 of the time is spent on parsing
_MAX_CANDIDATES = 16  # how many objects of one answer are validated
_MAX_STARTS = 64  # how many "{" of one answer are tried as the start of an object
_MAX_SCANS = 8  # the search may scan 8 times as many characters as the text has
_NOT_JSON = Problem("", "The answer is not a JSON object.")
_TOO_LONG = Problem("", f"The answer is longer than {MAX_ANSWER_BYTES:,} characters.")
_TOO_DEEP = Problem("", "The answer is nested too deeply.")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Reading:
    """A validated answer: a `result` with warnings, or `problems` of `object`, the first object in the text."""

    text: str
    object: JsonObject | None
    result: JsonObject | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def json(self) -> str:
        """Return the object as JSON, or the complete text if it contains no object."""
        try:
            return self.text if self.object is None else json.dumps(self.object)
        except RecursionError:
            return self.text


async def read_answer(text: str, perspective: Perspective, deadline: Deadline) -> Reading:
    """Call `read` with the perspective's validator. Raises DeadlineExceeded."""
    return await _off_loop(partial(read, text, perspective.validator), text, perspective, deadline)


def read(text: str, validator: Validator) -> Reading:
    """Find the first object in the text that validates. If none does, return the problems of the first object."""
    if len(text) > MAX_ANSWER_BYTES:
        return Reading(text, None, problems=(_TOO_LONG,))
    first: JsonObject | None = None
    problems: tuple[Problem, ...] = ()
    for candidate in islice(objects(text[_thoughts_end(text) :]), _MAX_CANDIDATES):
        first = candidate if first is None else first
        try:
            valid = _validate(candidate, validator)
        except ValidationFailed as error:
            problems = problems or error.problems
        except RecursionError:
            problems = problems or (_TOO_DEEP,)
        else:
            return Reading(text, candidate, valid.value, valid.warnings)
    return Reading(text, first, problems=problems or (_NOT_JSON,))


def _thoughts_end(text: str) -> int:
    """Return an index behind the objects in the thoughts, 0 without thoughts. Their <think> may be in the prompt."""
    return 0 if text.lstrip().startswith(("{", "```")) else text.rfind("</think>") + 1


def _validate(candidate: JsonObject, validator: Validator) -> Validated:
    """Validate the object, if necessary again without the nulls that strict dialects require for absent properties."""
    try:
        return validator.validate(candidate)
    except ValidationFailed:
        restored = restore(candidate, validator.json_schema)
        if restored == candidate:
            raise
    return validator.validate(restored)


async def _off_loop(work: Callable[[], T], text: str, perspective: Perspective, deadline: Deadline) -> T:
    """Run `work`, in a thread if validating this text takes long. At the deadline, the thread is not waited for."""
    if perspective.validator.is_cheap(len(text)):
        return work()
    async with deadline.within("reading the answer"):
        return await asyncio.to_thread(work)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_reject_constant)


def objects(text: str) -> Iterator[JsonObject]:
    """Yield the outermost JSON objects in the text, in order."""
    start, budget = text.find("{"), _MAX_SCANS * len(text)
    for _ in range(_MAX_STARTS):
        if start < 0 or budget < 0:
            return
        value, end = _decode(text, start)
        budget -= end - start
        if value is not None:
            yield value
        start = text.find("{", start + 1 if value is None else end)


def _decode(text: str, start: int) -> tuple[JsonObject | None, int]:
    """Parse the object at index `start`. Return it (None if it is invalid) and the index where the parser stopped."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        return _replace_surrogates(value) if _SURROGATE.search(text, start, end) else value, end
    except (ValueError, RecursionError):
        return None, len(text)


def _replace_surrogates(value: Any) -> Any:
    """Replace unpaired surrogates in every string. JSON escapes can produce them, and UTF-8 cannot encode them."""
    if isinstance(value, dict):
        return {whole_characters(name): _replace_surrogates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    return whole_characters(value) if isinstance(value, str) else value


def partial_object(text: str, schema: JsonObject) -> JsonObject | None:
    """Parse an unfinished object, whose last string may be incomplete. Return None if no object has begun."""
    thoughts_end = _thoughts_end(text)
    start = text.find("{", thoughts_end)
    if start < 0 or text.find("<think>", thoughts_end, start) >= 0:
        return None
    try:
        value = from_json(text[start:], allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None
    restored = restore(value, schema) if isinstance(value, dict) else None
    return restored if isinstance(restored, dict) else None


class PartialObjects:
    """Collects the text of one call. At intervals, reports the object so far to `run` if it has changed."""

    def __init__(self, run: Run, perspective: Perspective, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._perspective = perspective
        self._clock = clock
        self._pieces: list[str] = []
        self._last: JsonObject | None = None
        self._next = 0.0

    async def add(self, piece: str) -> None:
        """Append a piece of text. If the interval has passed, parse the text and report the object so far."""
        self._pieces.append(piece)
        start = self._clock()
        if not self._run.streaming or start < self._next:
            return
        text = "".join(self._pieces)
        work = partial(partial_object, text, self._perspective.json_schema)
        result = await _off_loop(work, text, self._perspective, self._run.deadline)
        end = self._clock()
        self._next = end + max(PARTIAL_INTERVAL, _COST_FACTOR * (end - start))
        if result and result != self._last:
            self._last = result
            self._run.partial(result)

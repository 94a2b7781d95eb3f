"""Parse untrusted input: the fields of a request, and the JSON object in the text of a model.

Code fences, prose around the object and raw control characters inside strings are accepted in a model's text: vLLM with
xgrammar writes such characters where a string has length bounds (observed on vLLM 0.32), and models without constrained
decoding explain themselves. The content is never changed.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from bridge.errors import InvalidRequest
from bridge.settings import suggestion
from perspectives.errors import Problem, ValidationFailed
from perspectives.perspective import Perspective
from perspectives.validation import MAX_ANSWER_BYTES, Validated, Validator
from providers.base import JsonObject
from providers.dialects import restore
from providers.text import whole_characters

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_MAX_ENTRIES = 10_000
_MAX_DEPTH = 4
_MAX_NAME = 100
_MAX_PROBLEMS = 20
_NESTED_FIELDS = frozenset({"path", "url", "base64", "kind", "base_url", "api_key", "default_model", "on"})
_OWN_LIMITS = frozenset({"perspective", "perspectives", "synthesize", "json_schema", "schema"})
_MAX_CANDIDATES = 16  # objects of one answer that are validated
_NOT_JSON = Problem("", "The answer is not a JSON object.")
_TOO_LONG = Problem("", f"The answer is longer than {MAX_ANSWER_BYTES:,} characters.")
_TOO_DEEP = Problem("", "The answer is nested too deeply.")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_MAX_STARTS = 64
_MAX_SCANS = 8  # limit of the characters scanned for an object, in lengths of the text


def parse_request(model: type[M], fields: dict[str, Any]) -> M:
    """Return the fields as `model`. Raises InvalidRequest that names every invalid field."""
    _limit_entries(fields)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        listed = error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]
        known = {*model.model_fields, *_NESTED_FIELDS}
        problems = tuple((_pointer(problem["loc"]), _sentence(problem, known)) for problem in listed)
        summary = "; ".join(f"{pointer.lstrip('/') or 'the body'}: {text}" for pointer, text in problems[:5])
        raise InvalidRequest(f"The request is not valid. {summary}.", problems) from None


def _limit_entries(fields: dict[str, Any]) -> None:
    """Raise InvalidRequest for too many entries: each of them could be a mistake, reported by a sentence.

    Inline perspectives and schemas have their own limits.
    """
    count = 0
    pending: list[tuple[Any, str, int]] = [(fields, "", 0)]
    while pending:
        value, pointer, depth = pending.pop()
        count += len(value)
        if count > _MAX_ENTRIES:
            raise InvalidRequest(
                f"{pointer.lstrip('/') or 'The body'} has too many entries. A request may have {_MAX_ENTRIES:,}.",
                ((pointer, "too many entries"),),
            )
        if depth < _MAX_DEPTH:
            pending += [inner for inner in _children(value, pointer, depth + 1) if isinstance(inner[0], dict | list)]


def _children(value: Any, pointer: str, depth: int) -> Iterator[tuple[Any, str, int]]:
    if isinstance(value, list):
        return ((inner, pointer, depth) for inner in value)
    return ((inner, pointer + _pointer((name,)), depth) for name, inner in value.items() if name not in _OWN_LIMITS)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + _shortened(str(step)).replace("~", "~0").replace("/", "~1") for step in location)


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"


def _sentence(problem: Any, known: set[str]) -> str:
    if problem["type"] == "extra_forbidden":
        hint = suggestion(_shortened(str(problem["loc"][-1])), known).strip().replace("Did", "did")
        return f"is not a field of this request{f' ({hint})' if hint else ''}"
    if problem["type"] == "missing":
        return "is required"
    text = str(problem["msg"])
    return text[0].lower() + text[1:]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text, the object in it, and the object as it is valid or its problems."""

    text: str
    object: JsonObject | None
    result: JsonObject | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def json(self) -> str:
        """Return the object without the prose around it, or the text when it has none."""
        try:
            return self.text if self.object is None else json.dumps(self.object)
        except RecursionError:
            return self.text


async def read_answer(text: str, perspective: Perspective) -> Reading:
    """Return the first valid object in the text, else the problems of its first object."""
    validator = perspective.validator
    return await off_loop(lambda: read(text, validator), validator.is_cheap(len(text)))


def read(text: str, validator: Validator) -> Reading:
    """Return the first valid object in the text, else the problems of its first object."""
    if len(text) > MAX_ANSWER_BYTES:
        return Reading(text, None, problems=(_TOO_LONG,))
    first: JsonObject | None = None
    problems: tuple[Problem, ...] = ()
    for candidate in islice(objects(text), _MAX_CANDIDATES):
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


def _validate(candidate: JsonObject, validator: Validator) -> Validated:
    """Validate the object as it is, then as the strict dialects write it, with null for an absent property.

    Raises ValidationFailed.
    """
    try:
        return validator.validate(candidate)
    except ValidationFailed:
        restored = restore(candidate, validator.json_schema)
        if restored == candidate:
            raise
    return validator.validate(restored)


async def off_loop(work: Callable[[], T], is_cheap: bool) -> T:
    """Return the result of `work`, computed in a thread unless it is cheap."""
    return work() if is_cheap else await asyncio.to_thread(work)


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_reject_constant)


def objects(text: str) -> Iterator[JsonObject]:
    """Yield every JSON object that may be the answer: the whole text, else fenced ones, then any inside prose."""
    text = text.strip().removeprefix("\ufeff")
    whole = _decode(text)
    if whole is not None:
        yield whole[0]
        return
    for fenced in text.split("```", 2 * _MAX_STARTS)[1:-1:2]:
        start = fenced.find("{")
        if start >= 0 and (decoded := _decode(fenced[start:].strip())) is not None:
            yield decoded[0]
    yield from _objects_in_prose(text)


def _objects_in_prose(text: str) -> Iterator[JsonObject]:
    start = text.find("{")
    budget = _MAX_SCANS * len(text)
    for _ in range(_MAX_STARTS):
        if start < 0 or budget < 0:
            return
        decoded = _decode(text, start)
        budget -= (decoded[1] if decoded else len(text)) - start
        if decoded is not None:
            yield decoded[0]
        start = text.find("{", decoded[1] if decoded else start + 1)


def _decode(text: str, start: int | None = None) -> tuple[JsonObject, int] | None:
    """Return the object at `start` and its end; without `start` the object must be the whole text."""
    try:
        value, end = _DECODER.raw_decode(text, start or 0)
        value = _replace_surrogates(value) if _SURROGATE.search(text, start or 0, end) else value
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (start is None and text[end:].strip()):
        return None
    return value, end


def _replace_surrogates(value: Any) -> Any:
    """Replace every unpaired surrogate: JSON can escape one, and UTF-8 cannot encode it."""
    if isinstance(value, dict):
        return {whole_characters(name): _replace_surrogates(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    return whole_characters(value) if isinstance(value, str) else value


def partial_object(text: str, schema: JsonObject) -> JsonObject | None:
    """Return the object that an unfinished text holds, its last string cut; None before it begins."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value = from_json(text[start:], allow_partial="trailing-strings", allow_inf_nan=False)
    except ValueError:
        return None
    restored = restore(value, schema) if isinstance(value, dict) else None
    return restored if isinstance(restored, dict) else None

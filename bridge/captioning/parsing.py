"""Parse the fields of a request into its model."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.errors import InvalidRequest
from perspectives.errors import below, suggestion

M = TypeVar("M", bound=BaseModel)
_MAX_ENTRIES = 10_000
_MAX_DEPTH = 4
_MAX_PROBLEMS = 20
_NESTED_FIELDS = frozenset({"path", "url", "base64", "kind", "base_url", "api_key", "default_model", "on"})
_OWN_LIMITS = frozenset({"perspective", "perspectives", "synthesize", "json_schema", "schema"})


def parse_request(model: type[M], fields: dict[str, Any]) -> M:
    """Validate the fields as `model`. Raises InvalidRequest, which names up to 20 invalid fields."""
    _limit_entries(fields)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        listed = error.errors(include_url=False, include_input=False)[:_MAX_PROBLEMS]
        known = {*model.model_fields, *_NESTED_FIELDS}
        problems = tuple((below("", *problem["loc"]), _sentence(problem, known)) for problem in listed)
        summary = "; ".join(f"{pointer.lstrip('/') or 'the body'}: {text}" for pointer, text in problems[:5])
        raise InvalidRequest(f"The request is not valid. {summary}.", problems) from None


def _limit_entries(fields: dict[str, Any]) -> None:
    """Raise InvalidRequest if there are too many entries outside of inline perspectives and schemas."""
    count = 0  # pydantic spends 2 µs on each invalid entry
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
            pending += [(inner, place, depth + 1) for inner, place in _children(value, pointer)]


def _children(value: Any, pointer: str) -> Iterator[tuple[Any, str]]:
    """Yield the objects and lists in `value`, each with its JSON Pointer. Items of a list get the list's pointer."""
    items = [(pointer, item) for item in value] if isinstance(value, list) else value.items()
    for name, inner in items:
        if isinstance(inner, dict | list) and name not in _OWN_LIMITS:
            yield inner, pointer if isinstance(value, list) else below(pointer, name)


def _sentence(problem: Any, known: set[str]) -> str:
    if problem["type"] == "extra_forbidden":
        hint = suggestion(str(problem["loc"][-1]), known).strip().replace("Did", "did")
        return f"is not a field of this request{f' ({hint})' if hint else ''}"
    if problem["type"] == "missing":
        return "is required"
    text = str(problem["msg"])
    return text[0].lower() + text[1:]

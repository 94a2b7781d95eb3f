"""From fields to a request object, or one readable error that names every field that is wrong."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)
_CROWD = 10_000
_DEPTH = 4
_NAME = 100
_TOLD = 20
_OWN_LIMITS = frozenset({"perspective", "perspectives", "synthesize", "json_schema", "schema"})


def validate(model: type[M], fields: dict[str, Any]) -> M:
    """The fields as `model`. Raises InvalidRequest naming every field that is wrong."""
    _refuse_crowds(fields)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:_TOLD]
        problems = tuple((_pointer(one["loc"]), _sentence(one)) for one in found)
        shown = "; ".join(f"{pointer.lstrip('/') or 'the body'}: {text}" for pointer, text in problems[:5])
        raise InvalidRequest(f"The request is not valid. {shown}.", problems) from None


def _refuse_crowds(fields: dict[str, Any]) -> None:
    """Refuse what nobody means: a million items would be a million mistakes, each with its sentence.

    Perspectives and schemas that come whole have limits of their own.
    """
    found = 0
    waiting: list[tuple[Any, str, int]] = [(fields, "", 0)]
    while waiting:
        value, pointer, depth = waiting.pop()
        found += len(value)
        if found > _CROWD:
            raise InvalidRequest(
                f"{pointer.lstrip('/') or 'The body'} holds too many entries; a whole request may have {_CROWD:,}.",
                ((pointer, "too many entries"),),
            )
        if depth < _DEPTH:
            waiting += [inner for inner in _inside(value, pointer, depth + 1) if isinstance(inner[0], dict | list)]


def _inside(value: Any, pointer: str, depth: int) -> Iterator[tuple[Any, str, int]]:
    if isinstance(value, list):
        return ((inner, pointer, depth) for inner in value)
    return ((inner, pointer + _pointer((name,)), depth) for name, inner in value.items() if name not in _OWN_LIMITS)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + _shortened(str(step)).replace("~", "~0").replace("/", "~1") for step in location)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME else name[:_NAME] + "…"


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    if error["type"] == "missing":
        return "is required"
    text = str(error["msg"])
    return text[0].lower() + text[1:]

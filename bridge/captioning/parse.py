"""From fields to a request object, or one readable error that names every field that is wrong."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bridge.captioning.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], fields: dict[str, Any]) -> M:
    """The fields as `model`. Raises InvalidRequest naming every field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = tuple((_pointer(one["loc"]), _sentence(one)) for one in error.errors(include_url=False))
        shown = "; ".join(f"{pointer.lstrip('/') or 'the body'}: {text}" for pointer, text in problems[:5])
        raise InvalidRequest(f"The request is not valid. {shown}.", problems) from None


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    if error["type"] == "missing":
        return "is required"
    text = str(error["msg"])
    return text[0].lower() + text[1:]

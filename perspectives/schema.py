"""A schema, compiled once: what the model is asked for and what its answer is held to."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from perspectives.errors import InvalidPerspective, Problem, ValidationFailed, below
from perspectives.leaves import kind
from perspectives.limits import MAX_PROBLEMS
from perspectives.plain import JsonObject, plain
from perspectives.portable import portable
from perspectives.validation import Answer, model_for

_CACHED = 128
_TOO_MANY = 10_000
_CACHEABLE = 32_768
"""Characters of schema text up to which the compiled form is kept; larger ones are rare and take memory."""


@dataclass(frozen=True, eq=False)
class CompiledSchema:
    """`json_schema` is the portable schema, `model` a pydantic model class that does all of its validation.

    The model takes an answer as Python value (`model_validate`) or text (`model_validate_json`).
    """

    json_schema: JsonObject
    model: type[BaseModel]

    def validate(self, value: object) -> JsonObject:
        """The answer as plain JSON by the user's names, in the schema's order. Raises ValidationFailed.

        Absent optional properties stay absent, `null` for one that does not allow it counts as absent, and
        properties of which the schema says nothing are dropped unless `additionalProperties` decides.
        """
        try:
            return self.dump(self.model.model_validate(value))
        except ValidationError as error:
            raise ValidationFailed(self.problems(error)) from None

    def dump(self, instance: BaseModel) -> JsonObject:
        """The plain object inside an instance of `model`."""
        return cast(Answer, instance).root

    def problems(self, exc: ValidationError) -> tuple[Problem, ...]:
        """What is wrong with the answer, at most 20 of it; the sentences hold nothing of the answer's text."""
        if exc.error_count() > _TOO_MANY:
            return (Problem("", f"The answer has {exc.error_count()} mistakes."),)
        errors = exc.errors(include_url=False)
        told = [
            Problem(below("", *error["loc"]), _sentence(cast(JsonObject, error))) for error in errors[:MAX_PROBLEMS]
        ]
        more = len(errors) - len(told)
        return (*told, Problem("", f"And {more} more problems.")) if more > 0 else tuple(told)


def compile_schema(schema: JsonObject, *, pointer: str = "") -> CompiledSchema:
    """Compile a JSON Schema of the portable subset; `pointer` is where it stands in its document.

    The last 128 are kept, by their text; a schema is no secret. Raises InvalidPerspective.
    """
    try:
        text = json.dumps(plain(schema), ensure_ascii=False, separators=(",", ":"))
        return _cached(text) if len(text) <= _CACHEABLE else _compiled(text)
    except InvalidPerspective as error:
        raise InvalidPerspective(problem.under(pointer) for problem in error.problems) from None


def _compiled(text: str) -> CompiledSchema:
    schema = portable(json.loads(text))
    return CompiledSchema(schema, model_for(schema))


_cached = lru_cache(maxsize=_CACHED)(_compiled)

_SENTENCES: dict[str, str] = {
    "missing": "Is missing.",
    "extra_forbidden": "Is not a property of this object; leave it out.",
    "string_type": "Must be text, not {kind}.",
    "string_too_short": "Must have at least {min_length} characters.",
    "string_too_long": "Must have at most {max_length} characters.",
    "list_type": "Must be a list, not {kind}.",
    "too_short": "Must have at least {min_length} items, not {actual_length}.",
    "too_long": "Must have at most {max_length} items.",
    "dict_type": "Must be an object, not {kind}.",
    "none_required": "Must be null, not {kind}.",
    "json_invalid": "Is not whole JSON.",
    "misfit": "{sentence}",
}


def _sentence(error: dict[str, Any]) -> str:
    """Our words for pydantic's error types."""
    values = {**error.get("ctx", {}), "kind": kind(error.get("input"))}
    return _SENTENCES.get(error["type"], "Does not fit the schema.").format(**values)

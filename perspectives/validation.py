"""A portable schema -> a pydantic model that checks a whole answer.

Objects become typed dictionaries of pydantic's core and not model classes: a property may have any name
(`model_config`, `__class__`, `_x`, `hair-color`; as model fields these shadow, vanish or raise, measured with
pydantic 2.14), an absent property is absent, the result is plain JSON, and a thousand properties compile in
milliseconds. One root model holds them, so that whatever wants a model class has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, RootModel, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core import core_schema as core

from perspectives import leaves, patterns
from perspectives.constraints import type_of
from perspectives.effort import FIELDS_A_STEP, VALUES_A_TRY, one_answer, spend, spent, values_in
from perspectives.formats import FORMATS
from perspectives.limits import MAX_ITEMS, MAX_MISTAKES
from perspectives.plain import JsonObject


class Answer(RootModel[JsonObject]):
    """An answer that fits; `root` is the plain object. Every compiled schema has a subclass of its own."""

    checks: ClassVar[CoreSchema] = core.dict_schema()
    portable: ClassVar[JsonObject] = {"type": "object"}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core.model_schema(cls, cls.checks, root_model=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, checks: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(cls.portable)


def model_for(schema: JsonObject) -> type[Answer]:
    """A model class whose validation is the schema's."""

    class Caption(Answer):
        checks = _whole(schema)
        portable = schema

    return Caption


@dataclass(frozen=True, slots=True)
class _How:
    """`lenient`: spelling is forgiven. `fully`: every wrong item is told; else each list and map stops at its first."""

    lenient: bool
    fully: bool = False


def _whole(schema: JsonObject) -> CoreSchema:
    """Checks of a whole answer: to the first wrong item of each list, then once more for the others if it is small.

    10,000 empty objects that lack 1,000 properties each would be ten million mistakes and 4 GB of them, out of an
    answer of 30 kB (measured).
    """
    places = _places(schema)

    def check(value: Any, quickly: core.ValidatorFunctionWrapHandler) -> Any:
        with one_answer():
            try:
                return quickly(value)
            except ValidationError as first:
                if spent() or not _within(value, MAX_MISTAKES // places):
                    raise
                return every_mistake(value, first)

    def every_mistake(value: Any, first: ValidationError) -> Any:
        try:
            return fully().validate_python(value)
        except ValidationError:
            if spent():  # what was checked too late would be told as a mistake
                raise first from None
            raise

    @cache
    def fully() -> SchemaValidator:
        return SchemaValidator(_checks(schema, _How(lenient=True, fully=True)))

    return core.no_info_wrap_validator_function(check, _checks(schema, _How(lenient=True)))


def _places(node: JsonObject) -> int:
    others = node.get("additionalProperties")
    inner = [*node.get("anyOf", ()), *node.get("properties", {}).values(), node.get("items"), others]
    return 1 + sum(_places(one) for one in inner if isinstance(one, dict))


def _within(value: Any, most: int) -> bool:
    """Whether an answer holds no more values than that."""
    found, waiting = 0, [value]
    while waiting and found + len(waiting) <= most:
        inner = waiting.pop()
        found += 1
        waiting += inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
    return not waiting


def _checks(node: JsonObject, how: _How) -> CoreSchema:
    if "anyOf" in node:
        return _any_of(node["anyOf"], how)
    stated = node.get("type", [])
    types = stated if isinstance(stated, list) else [stated]
    named = [word for word in types if word != "null"]
    checks = _of_type(named[0], node, how) if named else core.none_schema()
    if not types:
        checks = core.no_info_plain_validator_function(leaves.anything)
    elif named and "null" in types:
        checks = core.nullable_schema(checks)
    for values in (node.get("enum"), [node["const"]] if "const" in node else None):
        if values is not None:
            checks = core.no_info_after_validator_function(leaves.one_of(values), checks)
    return checks


def _of_type(word: str, node: JsonObject, how: _How) -> CoreSchema:
    if word == "object":
        return _object(node, how)
    if word == "array":
        return _array(node, how)
    if word == "string":
        return _string(node)
    if word == "boolean":
        return core.no_info_plain_validator_function(leaves.boolean(lenient=how.lenient))
    whole = word == "integer"
    return core.no_info_plain_validator_function(leaves.number(node, whole=whole, lenient=how.lenient))


def _string(node: JsonObject) -> CoreSchema:
    checks: CoreSchema = core.str_schema(
        min_length=node.get("minLength"), max_length=node.get("maxLength"), strict=True
    )
    checks = core.no_info_after_validator_function(leaves.characters, checks)
    if "pattern" in node:
        pattern = node["pattern"]
        matcher = patterns.compiled(pattern)
        checks = core.no_info_after_validator_function(leaves.matching(pattern, matcher), checks)
    if "format" in node:
        form = leaves.formatted(node["format"], FORMATS[node["format"]])
        checks = core.no_info_after_validator_function(form, checks)
    return checks


def _array(node: JsonObject, how: _How) -> CoreSchema:
    checks: CoreSchema = core.list_schema(
        _checks(node.get("items", {}), how),
        min_length=node.get("minItems"),
        max_length=min(node.get("maxItems", MAX_ITEMS), MAX_ITEMS),
        fail_fast=not how.fully,
        strict=True,
    )
    if node.get("uniqueItems"):
        checks = core.no_info_after_validator_function(leaves.distinct, checks)
    return checks


def _object(node: JsonObject, how: _How) -> CoreSchema:
    checks = _properties(node, how)
    tries = len(node.get("properties", ())) // FIELDS_A_STEP // VALUES_A_TRY
    return core.no_info_before_validator_function(_paid(tries), checks) if tries else checks


def _paid(tries: int) -> Callable[[Any], Any]:
    """Count a wide object: each of its properties is looked up, even in 300,000 empty ones."""

    def check(value: Any) -> Any:
        spend(tries)
        return value

    return check


def _properties(node: JsonObject, how: _How) -> CoreSchema:
    required = set(node.get("required", ()))
    fields = {name: _field(inner, name in required, how) for name, inner in node.get("properties", {}).items()}
    others = node.get("additionalProperties", how.lenient and "drop")
    if others is False:
        return core.typed_dict_schema(fields, extra_behavior="forbid", strict=True)
    if others == "drop":
        return core.typed_dict_schema(fields, extra_behavior="ignore", strict=True)
    whole = core.typed_dict_schema(fields, extra_behavior="allow", strict=True)
    checks = core.no_info_after_validator_function(leaves.named, whole)
    return core.no_info_after_validator_function(_others({} if others is True else others, fields, how), checks)


def _others(node: JsonObject, fields: Mapping[str, Any], how: _How) -> Callable[[JsonObject], JsonObject]:
    """Check what stands beside the named properties."""
    rest = SchemaValidator(core.dict_schema(core.str_schema(), _checks(node, how), fail_fast=not how.fully))

    def check(value: JsonObject) -> JsonObject:
        others = {name: inner for name, inner in value.items() if name not in fields}
        return {**value, **rest.validate_python(others)} if others else value

    return check


def _field(node: JsonObject, required: bool, how: _How) -> core.TypedDictField:
    checks = _checks(node, how)
    if how.lenient and not required and not _takes_null(node):
        checks = core.no_info_before_validator_function(leaves.null_is_absent, checks)
    return core.typed_dict_field(checks, required=required)


def _takes_null(node: JsonObject) -> bool:
    if "anyOf" in node:
        return any(_takes_null(branch) for branch in node["anyOf"])
    if node.get("const", "") is None or None in node.get("enum", ()):
        return True
    if "const" in node or "enum" in node:
        return False
    return "type" not in node or node["type"] == "null" or "null" in node["type"]


def _any_of(branches: list[JsonObject], how: _How) -> CoreSchema:
    """Alternatives: exactly as they stand first, then with lenience. Beside null, a single one needs no choice."""
    named = [branch for branch in branches if branch != {"type": "null"}]
    if len(named) == 1:
        checks = _checks(named[0], how)
        return core.nullable_schema(checks) if len(branches) > 1 else checks
    choice = _Choice(branches, how)
    return core.no_info_plain_validator_function(choice.check)


class _Choice:
    def __init__(self, branches: list[JsonObject], how: _How) -> None:
        self._types = [_type_word(branch) for branch in branches]
        kinds = [replace(how, lenient=False), how] if how.lenient else [how]
        self._ways = [
            (SchemaValidator(_checks(branch, kind)), 1 + _places(branch) // FIELDS_A_STEP)
            for kind in kinds
            for branch in branches
        ]

    def check(self, value: Any) -> Any:
        errors: list[ValidationError] = []
        values = values_in(value)
        for validator, steps in self._ways:
            spend(1 + values * steps // VALUES_A_TRY)
            try:
                return validator.validate_python(value)
            except ValidationError as error:
                errors.append(error)
        raise self._complaint(value, errors)

    def _complaint(self, value: Any, errors: list[ValidationError]) -> Exception:
        """What the one alternative of the value's own type says; a list of the alternatives otherwise."""
        same = [index for index, word in enumerate(self._types) if word == type_of(value)]
        if len(same) == 1:
            return errors[len(errors) - len(self._types) + same[0]]
        return leaves.misfit(f"Must fit one of the alternatives: {', '.join(self._types)}.")


def _type_word(node: JsonObject) -> str:
    stated = node.get("type", "any")
    return stated if isinstance(stated, str) else " or ".join(stated)

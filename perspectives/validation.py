"""A portable schema -> a pydantic model that checks a whole answer.

Objects become typed dictionaries of pydantic's core and not model classes: a property may have any name
(`model_config`, `__class__`, `_x`, `hair-color`; as model fields these shadow, vanish or raise, measured with
pydantic 2.14), an absent property is absent, the result is plain JSON, and a thousand properties compile in
milliseconds. One root model holds them, so that whatever wants a model class has one.
"""

from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, RootModel, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core import core_schema as core

from perspectives import leaves, patterns
from perspectives.constraints import type_of
from perspectives.formats import FORMATS
from perspectives.limits import MAX_ITEMS
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
        checks = _checks(schema, lenient=True)
        portable = schema

    return Caption


def _checks(node: JsonObject, *, lenient: bool) -> CoreSchema:
    if "anyOf" in node:
        return _any_of(node["anyOf"], lenient)
    stated = node.get("type", [])
    types = stated if isinstance(stated, list) else [stated]
    named = [word for word in types if word != "null"]
    checks = _of_type(named[0], node, lenient) if named else core.none_schema()
    if not types:
        checks = core.no_info_plain_validator_function(leaves.anything)
    elif named and "null" in types:
        checks = core.nullable_schema(checks)
    for values in (node.get("enum"), [node["const"]] if "const" in node else None):
        if values is not None:
            checks = core.no_info_after_validator_function(leaves.one_of(values), checks)
    return checks


def _of_type(word: str, node: JsonObject, lenient: bool) -> CoreSchema:
    if word == "object":
        return _object(node, lenient)
    if word == "array":
        return _array(node, lenient)
    if word == "string":
        return _string(node)
    if word == "boolean":
        return core.no_info_plain_validator_function(leaves.boolean(lenient=lenient))
    whole = word == "integer"
    return core.no_info_plain_validator_function(leaves.number(node, whole=whole, lenient=lenient))


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


def _array(node: JsonObject, lenient: bool) -> CoreSchema:
    checks: CoreSchema = core.list_schema(
        _checks(node.get("items", {}), lenient=lenient),
        min_length=node.get("minItems"),
        # A million wrong items would be a million mistakes, and gigabytes of them (measured).
        max_length=min(node.get("maxItems", MAX_ITEMS), MAX_ITEMS),
        strict=True,
    )
    if node.get("uniqueItems"):
        checks = core.no_info_after_validator_function(leaves.distinct, checks)
    return checks


def _object(node: JsonObject, lenient: bool) -> CoreSchema:
    required = set(node.get("required", ()))
    fields = {name: _field(inner, name in required, lenient) for name, inner in node.get("properties", {}).items()}
    others = node.get("additionalProperties", lenient and "drop")
    if others is False:
        return core.typed_dict_schema(fields, extra_behavior="forbid", strict=True)
    if others == "drop":
        return core.typed_dict_schema(fields, extra_behavior="ignore", strict=True)
    extras = _checks({} if others is True else others, lenient=lenient)
    whole = core.typed_dict_schema(fields, extra_behavior="allow", extras_schema=extras, strict=True)
    return core.no_info_after_validator_function(leaves.named, whole)


def _field(node: JsonObject, required: bool, lenient: bool) -> core.TypedDictField:
    checks = _checks(node, lenient=lenient)
    if lenient and not required and not _takes_null(node):
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


def _any_of(branches: list[JsonObject], lenient: bool) -> CoreSchema:
    """Alternatives: exactly as they stand first, then with lenience. Beside null, a single one needs no choice."""
    named = [branch for branch in branches if branch != {"type": "null"}]
    if len(named) == 1:
        checks = _checks(named[0], lenient=lenient)
        return core.nullable_schema(checks) if len(branches) > 1 else checks
    choice = _Choice(branches, lenient)
    return core.no_info_plain_validator_function(choice.check)


class _Choice:
    def __init__(self, branches: list[JsonObject], lenient: bool) -> None:
        self._types = [_type_word(branch) for branch in branches]
        self._exact = [SchemaValidator(_checks(branch, lenient=False)) for branch in branches]
        self._lenient = [SchemaValidator(_checks(branch, lenient=True)) for branch in branches] if lenient else []

    def check(self, value: Any) -> Any:
        errors: list[ValidationError] = []
        for validator in [*self._exact, *self._lenient]:
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

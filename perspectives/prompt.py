"""Render the prompt of a perspective with variables, and render a result as text with the context template."""

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from perspectives.errors import MissingVariables, Problem, UnknownVariables, shortened
from perspectives.json_values import JsonObject

if TYPE_CHECKING:
    from perspectives.perspective import Perspective

IDENTIFIER = r"[^\W\d]\w*"
PLACEHOLDER = re.compile(rf"\{{({IDENTIFIER})\}}")  # all other braces are literal, such as those of JSON examples
MAX_RENDERED = 1_000_000  # maximum characters of a rendered text: a template can contain a long field many times
FIELD = re.compile(r"\{([^{}]+)\}")
_PATH = re.compile(r"[^.\[\]]+(\.[^.\[\]]+|\[(\*|\d{1,6})\])*")
"""A field, a field in an object (`scene.light`), an item (`tags[0]`), or all items (`objects[*].label`)."""
_STEP = re.compile(r"[^.\[\]]+")
_NAME_LIKE = re.compile(r"[\w.\[\]*!-]+")
_SCALARS = ("string", "number", "integer", "boolean", "null")
_MAIN = ("label", "tag", "name", "title", "caption", "text")


def render(perspective: "Perspective", variables: Mapping[str, str]) -> str:
    """Replace the placeholders in the prompt by the values of the variables.

    Placeholders inside values are not replaced. All other braces are literal. Raises MissingVariables or
    UnknownVariables with all such names.
    """
    known = tuple(variable.name for variable in perspective.variables)
    missing = tuple(
        variable.name for variable in perspective.variables if variable.required and variable.name not in variables
    )
    unknown = tuple(name for name in variables if name not in known)
    if missing:
        raise MissingVariables(missing, unknown)
    if unknown:
        raise UnknownVariables(unknown, known)
    values = {variable.name: variable.default or "" for variable in perspective.variables} | dict(variables)
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), perspective.prompt)


def render_caption(perspective: "Perspective", result: JsonObject) -> str:
    """Render the result as text.

    The context template is used if it names a field of the schema, even if that field is empty, such as the alt text of
    a decorative image. Otherwise the first text in the result is returned, or compact JSON.
    """
    schema, template = perspective.json_schema, perspective.context_template or ""
    if any(_steps(path, schema.get("properties", ())) for path in FIELD.findall(template)):
        return fill_template(template, result, schema)
    first = next((value for value in result.values() if isinstance(value, str) and value.strip()), None)
    return first if first is not None else json.dumps(result, ensure_ascii=False, separators=(",", ":"))


def fill_template(template: str, result: JsonObject, schema: JsonObject) -> str:
    """Replace fields such as `{caption}` or `{objects[*].label}` by their values. Other braces are literal."""
    names, parts, size, end = schema.get("properties", {}), list[str](), 0, 0
    for match in FIELD.finditer(template):
        path = match[1]
        value = match[0] if _is_literal(path, names) else _readable(_values(result, _steps(path, names)))
        parts.append(template[end : match.start()] + value)
        size, end = size + len(parts[-1]), match.end()
        if size > MAX_RENDERED:
            break  # many fields may repeat a long value
    return shortened("".join(parts) + template[end:], MAX_RENDERED)


def unknown_paths(template: str, schema: JsonObject) -> list[str]:
    """Return the paths in a template that match no field of the schema."""
    return [
        path
        for path in dict.fromkeys(FIELD.findall(template))
        if _NAME_LIKE.fullmatch(path) and not _is_declared(path, schema)
    ]


def template_warnings(template: str, schema: JsonObject, pointer: str) -> list[Problem]:
    """Return warnings about the paths in a template that match no field of the schema."""
    return [
        Problem(
            pointer,
            f"Names '{path}', which is not a field of the answer; "
            f"it {'stays as it is written' if _is_literal(path, schema.get('properties', ())) else 'is left empty'}.",
        )
        for path in unknown_paths(template, schema)
    ]


def _steps(path: str, names: Collection[str]) -> list[str]:
    """Split a path into names, indexes and `*`. Return [] if the path does not begin with a field in `names`."""
    if path in names:
        return [path]
    steps = _STEP.findall(path) if _PATH.fullmatch(path) else []
    return steps if steps and steps[0] in names else []


def _is_declared(path: str, schema: JsonObject) -> bool:
    """Return whether the schema has a field at this path. Where it declares no properties, every path is accepted."""
    steps = _steps(path, schema.get("properties", ()))
    node: Any = schema
    for step in steps:
        if not isinstance(node, dict):
            return True
        declared, kind = node.get("properties"), node.get("type")
        if declared is not None and step not in declared:
            return False
        if kind in _SCALARS or (kind == "array" and step != "*" and not step.isdecimal()):
            return False
        node = node.get("items") if declared is None else declared[step]
    return bool(steps)


def _is_literal(path: str, names: Collection[str]) -> bool:
    return not path.isidentifier() and not _steps(path, names)


def _values(result: JsonObject, steps: list[str]) -> list[Any]:
    """Return the values at a path. The step `*` selects every item of a list."""
    values: list[Any] = [result] if steps else []
    for step in steps:
        following: list[Any] = []
        for value in values:
            if isinstance(value, Mapping) and step in value:
                following.append(value[step])
            elif isinstance(value, list) and step == "*":
                following += value
            elif isinstance(value, list) and step.isdecimal():
                following += value[int(step) : int(step) + 1]
        values = following
    return values


def _readable(value: Any) -> str:
    """Format a value in one line: of an object its label, name or similar, otherwise its texts or all values."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(text for text in map(_readable, value) if text)
    if not isinstance(value, Mapping):
        return json.dumps(value)
    texts = {name: text for name, text in value.items() if isinstance(text, str) and text.strip()}
    main = next((texts[name] for name in _MAIN if name in texts), None)
    if main is not None or texts:
        return main or " ".join(texts.values())
    return ", ".join(f"{name}: {text}" for name, item in value.items() if (text := _readable(item)))

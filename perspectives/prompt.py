"""Render the prompt of a perspective with its variables, and a result as text by its context template."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perspectives.errors import MissingVariables, Problem, UnknownVariables
from perspectives.json_values import JsonObject
from perspectives.variables import PLACEHOLDER

if TYPE_CHECKING:
    from perspectives.perspective import Perspective

MAX_RENDERED = 1_000_000
"""Characters of a rendered result. A short template can name a long field often."""
FIELD = re.compile(r"\{([^{}]+)\}")
_NAME_LIKE = re.compile(r"[\w.\[\]!-]+")
_MAIN = ("label", "tag", "name", "title", "caption", "text")


def render(perspective: "Perspective", variables: Mapping[str, str]) -> str:
    """Return the prompt with the variables' values. Values are not rendered again, other braces are literal.

    Raises MissingVariables and UnknownVariables, each with every name.
    """
    known = tuple(variable.name for variable in perspective.variables)
    missing = tuple(
        variable.name for variable in perspective.variables if variable.required and variable.name not in variables
    )
    if missing:
        raise MissingVariables(missing)
    unknown = tuple(name for name in variables if name not in known)
    if unknown:
        raise UnknownVariables(unknown, known)
    values = {variable.name: variable.default or "" for variable in perspective.variables} | dict(variables)
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), perspective.prompt)


def render_caption(perspective: "Perspective", result: JsonObject) -> str:
    """Return the result as text: by the context template, else its first text, else compact JSON.

    A template that names a field of the schema is used even if the field is empty, such as a decorative image's
    alt text.
    """
    names = set(perspective.json_schema.get("properties", ()))
    template = perspective.context_template or ""
    if names.intersection(FIELD.findall(template)):
        return _filled(template, result, names)
    first = next((value for value in result.values() if isinstance(value, str) and value.strip()), None)
    return first if first is not None else json.dumps(result, ensure_ascii=False, separators=(",", ":"))


def template_warnings(template: str, names: set[str], pointer: str) -> list[Problem]:
    """Return a warning for every name in a template that is not a field of the answer."""
    return [
        Problem(
            pointer,
            f"Names '{name}', which is not a field of the answer; "
            f"it {'is left empty' if name.isidentifier() else 'stays as it is written'}.",
        )
        for name in dict.fromkeys(FIELD.findall(template))
        if name not in names and _NAME_LIKE.fullmatch(name)
    ]


def _filled(template: str, result: JsonObject, names: set[str]) -> str:
    parts, size, end = [], 0, 0
    for match in FIELD.finditer(template):
        name = match[1]
        value = _readable(result.get(name)) if name in names else "" if name.isidentifier() else match[0]
        parts.append(template[end : match.start()] + value)
        size, end = size + len(parts[-1]), match.end()
        if size > MAX_RENDERED:
            return "".join(parts)[:MAX_RENDERED] + "…"
    return "".join(parts) + template[end:]


def _readable(value: Any) -> str:
    """Write a value in one line: lists with commas, objects by their label, tag or name, else by their texts."""
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

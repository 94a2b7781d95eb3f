"""`context_template`: a result in one text, `{field}` by `{field}`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from perspectives.errors import Problem
from perspectives.limits import MAX_RENDERED
from perspectives.plain import JsonObject

BRACES = re.compile(r"\{([^{}]+)\}")
_NAME_LIKE = re.compile(r"[\w.\[\]!-]+")
_MAIN = ("label", "tag", "name", "title", "caption", "text")
"""Properties that stand for their object, the first that is there."""


def template_warnings(template: str, names: set[str], pointer: str) -> list[Problem]:
    """What a template names and the answer does not have."""
    unknown = [name for name in dict.fromkeys(BRACES.findall(template)) if name not in names]
    return [
        Problem(pointer, f"Names '{name}', which is not a field of the answer; it {_fate(name)}.")
        for name in unknown
        if _NAME_LIKE.fullmatch(name)
    ]


def _fate(name: str) -> str:
    return "is left empty" if name.isidentifier() else "stays as it is written"


def filled(template: str, result: JsonObject, names: set[str]) -> str:
    """The template with the result's values; one pass, names that are no field are left empty.

    A text that grows beyond `MAX_RENDERED` characters ends there: a short template can name a long field often.
    """
    parts, size, at = [], 0, 0
    for match in BRACES.finditer(template):
        part = template[at : match.start()] + _value(match, result, names)
        parts.append(part)
        size, at = size + len(part), match.end()
        if size > MAX_RENDERED:
            return "".join(parts)[:MAX_RENDERED] + "…"
    return "".join(parts) + template[at:]


def _value(match: re.Match[str], result: JsonObject, names: set[str]) -> str:
    name = match[1]
    if name in names:
        return readable(result.get(name))
    return "" if name.isidentifier() else match[0]


def readable(value: Any) -> str:
    """A value as a person would write it in a line: lists by commas, objects by what names them."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(text for text in map(readable, value) if text)
    return _object(value) if isinstance(value, Mapping) else json.dumps(value)


def _object(value: Mapping[str, Any]) -> str:
    """Its label or tag; else all its texts, such as the two ends of an edge and what joins them."""
    main = next((value[name] for name in _MAIN if isinstance(value.get(name), str) and value[name].strip()), None)
    if main is not None:
        return str(main)
    texts = [inner for inner in value.values() if isinstance(inner, str) and inner.strip()]
    if texts:
        return " ".join(texts)
    return ", ".join(f"{name}: {text}" for name, inner in value.items() if (text := readable(inner)))

"""What goes to the model and what comes out for people: the prompt filled in, the result as text."""

import json
from collections.abc import Mapping

from perspectives.errors import MissingVariables, UnknownVariables
from perspectives.perspective import Perspective
from perspectives.plain import JsonObject
from perspectives.template import BRACES, filled
from perspectives.variables import PLACEHOLDER


def prompt(perspective: Perspective, variables: Mapping[str, str]) -> str:
    """The prompt with the variables' values; values are not read again, other braces stay as they are.

    Raises MissingVariables with every name that has no default and no value, UnknownVariables with every value
    that nobody asked for.
    """
    known = tuple(one.name for one in perspective.variables)
    missing = tuple(one.name for one in perspective.variables if one.required and one.name not in variables)
    if missing:
        raise MissingVariables(missing)
    unknown = tuple(name for name in variables if name not in known)
    if unknown:
        raise UnknownVariables(unknown, known)
    values = {one.name: variables.get(one.name, one.default or "") for one in perspective.variables}
    return PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), perspective.prompt)


def caption(perspective: Perspective, result: JsonObject) -> str:
    """The result as text: the context template, else the first text, else compact JSON.

    A template of real fields is taken at its word, blank ones too: the alt text of a decorative picture is empty.
    """
    names = set(perspective.json_schema["properties"])
    template = perspective.context_template or ""
    if names.intersection(BRACES.findall(template)):
        return filled(template, result, names)
    first = next((value for value in result.values() if isinstance(value, str) and value.strip()), None)
    return first if first is not None else json.dumps(result, ensure_ascii=False, separators=(",", ":"))

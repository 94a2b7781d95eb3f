"""The grammar of `providers.toml`, and every mistake in it in a sentence with its place."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from bridge.config.configured import PROBE_INTERVAL, Strategy
from providers import factory

Name = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^@/\s][^@/]*$")]
Count = Annotated[int, Field(ge=1, strict=True)]
Seconds = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of the file: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid")


class Keyed(Table):
    """Of `api_key`, `api_key_env` and `api_key_file` at most one is given."""

    api_key: str = Field("", repr=False)
    api_key_env: str = ""
    api_key_file: str = ""


class EndpointEntry(Keyed):
    """One of a provider's `endpoints`. What it does not say, its provider says for all of them."""

    base_url: str = ""
    name: Annotated[str, StringConstraints(max_length=80)] = ""
    weight: Positive = 1
    enabled: Annotated[bool, Field(strict=True)] = True
    max_concurrency: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout: Seconds | None = None
    probe_interval: Seconds | None = None


class BreakerEntry(Table):
    """`breaker = {failures = 5, open_seconds = 30}`."""

    failures: Count = 5
    open_seconds: Positive = 30


class FallbackEntry(Table):
    """One of a provider's `fallbacks`."""

    provider: str = ""
    model: str = ""
    on: Literal["any", "refusal"] = "any"


def _as_table(value: object) -> object:
    """An address alone is an endpoint too."""
    return {"base_url": value} if isinstance(value, str) else value


class Entry(Table):
    """One `[providers.<name>]` table. None of a list is one that was left out."""

    kind: str
    base_url: str = ""
    api_key: str = Field("", repr=False)
    api_key_env: str = ""
    api_key_file: str = ""
    default_model: str = ""
    models: tuple[str, ...] = ()
    endpoints: list[Annotated[EndpointEntry | None, BeforeValidator(_as_table)]] | None = None
    strategy: Strategy = "least_connections"
    max_concurrency: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout: Seconds = 0
    probe_interval: Seconds = PROBE_INTERVAL
    breaker: BreakerEntry = BreakerEntry()
    fallbacks: list[FallbackEntry | None] = Field(default_factory=list, max_length=8)
    options: dict[str, Any] = Field(default_factory=dict)


class File(Table):
    """The whole of `providers.toml`."""

    providers: dict[Name, Entry] = Field(default_factory=dict)
    routing: dict[str, str] = Field(default_factory=dict)


# By pydantic's types of errors.
_WORDS = {
    "string_type": "text in quotes",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a number with an end",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "literal_error": "{expected}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_NESTED: dict[str, type[Table]] = {"endpoints": EndpointEntry, "breaker": BreakerEntry, "fallbacks": FallbackEntry}


def read(file: Path, mistakes: list[str]) -> tuple[File, frozenset[str]]:
    """What is usable of the file, so that the rest of it is checked too, and every name that it gives a provider."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return File(), frozenset()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        mistakes.append(f"{file.name}: cannot be read: {error}.")
        return File(), frozenset()
    providers = content.get("providers")
    declared = frozenset(providers if isinstance(providers, dict) else ())
    while True:
        try:
            return File.model_validate(content), declared
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        mistakes += [f"{file.name}: {_place(one['loc'])}: {_sentence(one)}" for one in found]
        for one in reversed(found):  # the last of a list goes first, so that the others keep their places
            _leave_out(content, one["loc"])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in location if step != "[key]")


def _sentence(mistake: Any) -> str:
    location, kind = mistake["loc"], mistake["type"]
    if kind == "extra_forbidden":
        return f"is not one of {', '.join(_table(location).model_fields)}."
    if location[-1] == "[key]":
        return "a provider's name is 1 to 80 characters without '@' and '/', and does not begin with a space."
    if location[2:] == ("kind",):
        return f"must be one of {', '.join(spec.kind for spec in factory.specs())}."
    if kind in _WORDS:
        return f"must be {_WORDS[kind].format(**mistake.get('ctx', {}))}."
    return f"{mistake['msg']}."


def _table(location: tuple[int | str, ...]) -> type[Table]:
    """The table that a key stands in."""
    if len(location) == 1:
        return File
    return _NESTED.get(str(location[2]), Entry) if len(location) > 3 else Entry


def _leave_out(content: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Remove what is wrong; a provider as a whole when nothing could be said of it without that key."""
    path = [step for step in location if step != "[key]"]
    if len(path) == 3 and path[2] == "kind":
        path.pop()
    node: Any = content
    for step in path[:-1]:
        node = node[step]
    if path[2:3] in (["endpoints"], ["fallbacks"]) and isinstance(node, list):
        node[int(path[-1])] = None  # so that the others keep their places
    elif isinstance(node, list):
        del node[int(path[-1])]
    else:
        node.pop(path[-1], None)

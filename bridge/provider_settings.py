"""The providers this deployment knows: `providers.toml` over the environment names users already have."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bridge.settings import SettingsError, environment, unknown
from providers import factory
from providers.addresses import normalise, origin
from providers.base import ProviderConfig, Spec

Name = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[^@/\s][^@/]*$")]


class Entry(BaseModel):
    """One `[providers.<name>]` table. Of `api_key`, `api_key_env` and `api_key_file` at most one is given."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    base_url: str = ""
    api_key: str = Field("", repr=False)
    api_key_env: str = ""
    api_key_file: str = ""
    default_model: str = ""
    models: tuple[str, ...] = ()
    max_concurrency: int | None = Field(None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


class File(BaseModel):
    """The whole of `providers.toml`."""

    model_config = ConfigDict(extra="forbid")

    providers: dict[Name, Entry] = Field(default_factory=dict)
    routing: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Configured:
    """Every provider that can be named, by name, and the rules that pick one by the model's name.

    `explicit`: those that `providers.toml` names. `stated`: those and the kinds whose key or address the environment
    states; the others stand at their kind's usual address, where nobody may have meant anything.
    """

    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    routing: tuple[tuple[str, str], ...] = ()
    explicit: frozenset[str] = frozenset()
    stated: frozenset[str] = frozenset()

    def routed(self, model: str) -> str | None:
        """The provider whose rule matches `model` first, whatever the case."""
        lowered = model.lower()
        return next((name for pattern, name in self.routing if fnmatchcase(lowered, pattern.lower())), None)

    def of_origin(self, kind: str, base_url: str) -> ProviderConfig | None:
        """The stated provider of this kind at this origin (scheme, host, port)."""
        return next((one for one in self._at(base_url) if one.kind == kind), None)

    def has_origin(self, base_url: str) -> bool:
        """Whether any stated provider lives at this origin."""
        return any(True for _ in self._at(base_url))

    def _at(self, base_url: str) -> Iterator[ProviderConfig]:
        wanted = origin(base_url)
        return (one for name, one in self.providers.items() if name in self.stated and origin(one.base_url) == wanted)


def load(file: Path, environment: Mapping[str, str]) -> Configured:
    """Read `file` (it may be absent) and `environment`. Raises SettingsError with every mistake."""
    mistakes: list[str] = []
    content, declared = _read(file, mistakes)
    implicit = {spec.kind: _implicit(spec, environment, mistakes) for spec in factory.specs()}
    named = {}
    for name, entry in content.providers.items():
        config = _explicit(name, entry, implicit, environment, f"{file.name}: providers.{name}", mistakes)
        if config is not None:
            named[name] = config
    everything = {**implicit, **named}
    for pattern, name in content.routing.items():
        if name not in everything and name not in declared:
            mistakes.append(f"{file.name}: routing.{pattern!r}: no provider is named {name!r}.")
    if mistakes:
        raise SettingsError(tuple(mistakes))
    stated = {spec.kind for spec in factory.specs() if any(environment.get(name) for name in _names(spec))}
    return Configured(everything, tuple(content.routing.items()), frozenset(named), frozenset({*named, *stated}))


def _names(spec: Spec) -> tuple[str, ...]:
    return (*spec.url_env, *spec.key_env, *(f"{name}_FILE" for name in spec.key_env))


def doubts() -> Iterator[str]:
    """What the environment may not have meant, a sentence each."""
    names = environment()
    yield from unknown(names)
    yield from ambiguous(names)


def ambiguous(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each kind of provider whose key the environment holds under two names, with two values."""
    for spec in factory.specs():
        given = [name for name in spec.key_env if environment.get(name)]
        if len({environment[name].strip() for name in given}) > 1:
            yield f"{' and '.join(given)} are both set and differ; {given[0]} is used."


def _read(file: Path, mistakes: list[str]) -> tuple[File, frozenset[str]]:
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
            for one in error.errors(include_url=False, include_input=False):
                mistakes.append(f"{file.name}: {_place(one['loc'])}: {_sentence(one['type'], one['loc'], one['msg'])}")
                _leave_out(content, one["loc"])


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in location if step != "[key]")


def _sentence(kind: str, location: tuple[int | str, ...], message: str) -> str:
    if kind == "extra_forbidden":
        return f"is not one of {', '.join(Entry.model_fields if len(location) > 1 else File.model_fields)}."
    if location[-1] == "[key]":
        return "a provider's name is 1 to 80 characters without '@' and '/', and does not begin with a space."
    return f"{message}."


def _leave_out(content: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Remove a key that is wrong; a provider as a whole when nothing could be said of it without that key."""
    table, key, *rest = [*map(str, location), ""]
    if not key:
        content.pop(table, None)
    elif table == "routing" or rest[0] in ("", "kind", "[key]"):
        content[table].pop(key, None)
    elif key in content[table]:
        content[table][key].pop(rest[0], None)


def _implicit(spec: Spec, environment: Mapping[str, str], mistakes: list[str]) -> ProviderConfig:
    """What the environment alone says of a kind; its name is the kind's."""
    url = next((environment[name] for name in spec.url_env if environment.get(name)), spec.base_url)
    key = next((key for name in spec.key_env if (key := _secret(name, environment, mistakes))), "")
    place = next((name for name in spec.url_env if environment.get(name)), spec.kind)
    return ProviderConfig(spec.kind, spec.kind, _address(spec.kind, url, place, mistakes), key, spec.default_model)


def _address(kind: str, url: str, place: str, mistakes: list[str]) -> str:
    try:
        return normalise(kind, url)
    except ValueError as error:
        mistakes.append(f"{place}: {error}")
        return ""


def _secret(name: str, environment: Mapping[str, str], mistakes: list[str]) -> str:
    if environment.get(name):
        return environment[name].strip()
    path = environment.get(f"{name}_FILE")
    return _secret_file(path, f"{name}_FILE", mistakes) if path else ""


def _secret_file(path: str, place: str, mistakes: list[str]) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"{place}: the secret's file cannot be read: {type(error).__name__}.")
        return ""


def _explicit(
    name: str,
    entry: Entry,
    implicit: Mapping[str, ProviderConfig],
    environment: Mapping[str, str],
    place: str,
    mistakes: list[str],
) -> ProviderConfig | None:
    inherited = implicit.get(entry.kind)
    if inherited is None:
        mistakes.append(f"{place}.kind: {entry.kind!r} is not one of {', '.join(implicit)}.")
        return None
    known = factory.spec(entry.kind).options
    for option in entry.options:
        if option not in known:
            mistakes.append(f"{place}.options: {option!r} is not one of {', '.join(known) or '(none)'}.")
    if sum(map(bool, (entry.api_key, entry.api_key_env, entry.api_key_file))) > 1:
        mistakes.append(f"{place}: give only one of api_key, api_key_env and api_key_file.")
    url = _address(entry.kind, entry.base_url, f"{place}.base_url", mistakes) or inherited.base_url
    if not url and entry.kind != "builtin":
        mistakes.append(f"{place}.base_url: a provider of kind {entry.kind!r} needs one.")
    key = _key(entry, environment, place, mistakes)
    if not key and origin(url) == origin(inherited.base_url):
        key = inherited.api_key
    model = entry.default_model or inherited.default_model
    return ProviderConfig(name, entry.kind, url, key, model, entry.models, entry.options, entry.max_concurrency)


def _key(entry: Entry, environment: Mapping[str, str], place: str, mistakes: list[str]) -> str:
    if entry.api_key_file:
        return _secret_file(entry.api_key_file, f"{place}.api_key_file", mistakes)
    if entry.api_key_env:
        key = _secret(entry.api_key_env, environment, mistakes)
        if not key:
            mistakes.append(f"{place}.api_key_env: {entry.api_key_env} is not set.")
        return key
    return entry.api_key.strip()

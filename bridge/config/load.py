"""From the file and the environment to what is configured, with every mistake."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bridge.config.configured import BreakerSettings, Configured, EndpointSettings, Fleet, StandIn
from bridge.config.file import EndpointEntry, Entry, Keyed, read
from bridge.settings import PREFIX, SettingsError, environment, unknown
from providers import factory
from providers.addresses import normalise, origin
from providers.base import ProviderConfig, Spec

_ANY_KIND = "openai-compatible"


def load(file: Path, environment: Mapping[str, str], default: str = "") -> Configured:
    """Read `file` (it may be absent) and `environment`. Raises SettingsError with every mistake.

    `default`: who answers when nobody is named.
    """
    reading = _Reading(environment)
    content, declared = read(file, reading.mistakes)
    implicit = {spec.kind: reading.implicit(spec) for spec in factory.specs()}
    # What the environment implies is not called unasked.
    fleets = {name: Fleet((EndpointSettings(_label(one), one, probe_interval=0),)) for name, one in implicit.items()}
    named = []
    for name, entry in content.providers.items():
        fleet = reading.fleet(name, entry, implicit, f"{file.name}: providers.{name}")
        if fleet is not None:
            fleets[name] = fleet
            named.append((name, entry))
    everything = {name: fleet.endpoints[0].config for name, fleet in fleets.items()}
    for name, entry in named:
        reading.check_fallbacks(name, entry, everything, declared, f"{file.name}: providers.{name}.fallbacks")
    for pattern, name in content.routing.items():
        if name not in everything and name not in declared:
            allowed = ", ".join(everything)
            reading.mistakes.append(
                f"{file.name}: routing.{pattern!r}: no provider is named {name!r}; there are {allowed}."
            )
    if default and default not in everything and default not in declared:
        reading.mistakes.append(f"{PREFIX}PROVIDER: {default!r} is not one of {', '.join(everything)}.")
    if reading.mistakes:
        raise SettingsError(tuple(reading.mistakes))
    stated = frozenset(spec.kind for spec in factory.specs() if any(environment.get(name) for name in _names(spec)))
    known = frozenset(name for name, _ in named)
    return Configured(everything, tuple(content.routing.items()), known, known | stated, fleets)


def mistakes(workspace: Path) -> tuple[str, ...]:
    """What is wrong with the providers, told where other settings are wrong too."""
    try:
        load(workspace / "config" / "providers.toml", environment(), environment().get(f"{PREFIX}PROVIDER", ""))
    except SettingsError as error:
        return error.mistakes
    return ()


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


def _names(spec: Spec) -> tuple[str, ...]:
    return (*spec.url_env, *spec.key_env, *(f"{name}_FILE" for name in spec.key_env))


def _label(config: ProviderConfig) -> str:
    """What an endpoint without a name is called: its host and port."""
    return urlsplit(config.base_url).netloc


@dataclass
class _Reading:
    """The environment that is read, and the mistakes found so far."""

    environment: Mapping[str, str]
    mistakes: list[str] = field(default_factory=list)

    def implicit(self, spec: Spec) -> ProviderConfig:
        """What the environment alone says of a kind; its name is the kind's."""
        url = next((self.environment[name] for name in spec.url_env if self.environment.get(name)), spec.base_url)
        key = next((key for name in spec.key_env if (key := self._secret(name))), "")
        place = next((name for name in spec.url_env if self.environment.get(name)), spec.kind)
        return ProviderConfig(spec.kind, spec.kind, self._address(spec.kind, url, place), key, spec.default_model)

    def fleet(self, name: str, entry: Entry, implicit: Mapping[str, ProviderConfig], place: str) -> Fleet | None:
        """The provider that an entry describes; None where its kind is unknown."""
        inherited = implicit.get(entry.kind)
        if inherited is None:
            self.mistakes.append(f"{place}.kind: {entry.kind!r} is not one of {', '.join(implicit)}.")
            self._check_rest(entry, implicit[_ANY_KIND], place)
            return None
        if name in implicit and name != entry.kind:
            self.mistakes.append(
                f"{place}: this name stands for the kind {name!r}; name one of kind {entry.kind!r} otherwise."
            )
        self._check_options(entry, place)
        model = entry.default_model or inherited.default_model
        shared = ProviderConfig(name, entry.kind, "", "", model, entry.models, entry.options)
        endpoints = self._endpoints(entry, shared, inherited, place)
        enabled = tuple(one for one in endpoints if one.enabled)
        disabled = tuple(one.name for one in endpoints if not one.enabled)
        breaker = BreakerSettings(entry.breaker.failures, entry.breaker.open_seconds)
        fallbacks = tuple(StandIn(one.provider, one.model or None, one.on) for one in entry.fallbacks if one)
        return Fleet(enabled or endpoints, entry.strategy, breaker, fallbacks, disabled)

    def _check_options(self, entry: Entry, place: str) -> None:
        spec = factory.spec(entry.kind)
        for option, value in entry.options.items():
            if option not in spec.options:
                known = ", ".join(spec.options) or "(none)"
                self.mistakes.append(f"{place}.options: {option!r} is not one of {known}.")
            elif not spec.fits(option, value):
                self.mistakes.append(f"{place}.options.{option}: it cannot have this value: {spec.options[option]}.")

    def _check_rest(self, entry: Entry, inherited: ProviderConfig, place: str) -> None:
        """Find the mistakes of an entry whose kind is unknown, too, but for its options."""
        if not entry.base_url and entry.endpoints is None:  # whether it needs an address its kind would tell
            self._key(entry, place)
            return
        as_any = entry.model_copy(update={"kind": _ANY_KIND})
        self._endpoints(as_any, ProviderConfig("", _ANY_KIND, ""), inherited, place)

    def _endpoints(
        self, entry: Entry, shared: ProviderConfig, inherited: ProviderConfig, place: str
    ) -> tuple[EndpointSettings, ...]:
        """Each endpoint of an entry, or the one that it is itself."""
        key = self._key(entry, place)
        if entry.endpoints is None:
            alone = EndpointEntry(base_url=entry.base_url)
            return (self._endpoint(alone, entry, shared, inherited, key, place),)
        if entry.base_url:
            self.mistakes.append(f"{place}: give only one of base_url and endpoints.")
        if entry.kind == "builtin":
            self.mistakes.append(f"{place}.endpoints: a provider of kind 'builtin' has none.")
        found = []
        for position, one in enumerate(entry.endpoints):
            where = f"{place}.endpoints.{position}"
            if one is None:
                continue
            if not one.base_url:
                self.mistakes.append(f"{where}.base_url: an endpoint needs one.")
            own = self._key(one, where) or key
            found.append(self._endpoint(one, entry, shared, inherited, own, where))
        named = _named(found)
        self._check_twice(named, place)
        if None not in entry.endpoints and not any(one.enabled for one in named):
            self.mistakes.append(f"{place}.endpoints: at least one must be enabled.")
        return tuple(named) or (EndpointSettings("", shared),)

    def _endpoint(
        self,
        one: EndpointEntry,
        entry: Entry,
        shared: ProviderConfig,
        inherited: ProviderConfig,
        key: str,
        place: str,
    ) -> EndpointSettings:
        url = self._address(entry.kind, one.base_url, f"{place}.base_url")
        if entry.endpoints is None:
            url = url or inherited.base_url
        if not url and entry.kind != "builtin" and entry.endpoints is None:
            self.mistakes.append(f"{place}.base_url: a provider of kind {entry.kind!r} needs one.")
        if not key and origin(url) == origin(inherited.base_url):
            key = inherited.api_key
        config = replace(shared, base_url=url, api_key=key)
        return EndpointSettings(
            one.name or _label(config),
            config,
            one.weight,
            one.max_concurrency or entry.max_concurrency,
            one.requests_per_minute or entry.requests_per_minute,
            one.tokens_per_minute or entry.tokens_per_minute,
            entry.timeout if one.timeout is None else one.timeout,
            entry.probe_interval if one.probe_interval is None else one.probe_interval,
            one.enabled,
        )

    def _check_twice(self, endpoints: list[EndpointSettings], place: str) -> None:
        """One address may stand twice only with two keys."""
        places = Counter((one.config.base_url, one.config.api_key) for one in endpoints if one.config.base_url)
        for (url, _), count in places.items():
            if count > 1:
                self.mistakes.append(f"{place}.endpoints: {url} stands there {count} times; each may stand once.")
        for name, count in Counter(one.name for one in endpoints).items():
            if name and count > 1 and max(places.values(), default=0) < 2:
                self.mistakes.append(
                    f"{place}.endpoints: {count} endpoints are named {name!r}; give each its own name."
                )

    def check_fallbacks(
        self,
        name: str,
        entry: Entry,
        everything: Mapping[str, ProviderConfig],
        declared: frozenset[str],
        place: str,
    ) -> None:
        """Each fallback names a provider that can be asked, and a model where that has none."""
        for position, one in enumerate(entry.fallbacks):
            if one is None:
                continue
            config = everything.get(one.provider)
            same = one.provider == name and one.model in ("", entry.default_model)
            if same and not set(entry.models) - {entry.default_model}:
                self.mistakes.append(f"{place}.{position}: {name!r} cannot stand in for itself with the same model.")
            elif config is None:
                if one.provider not in declared:
                    self.mistakes.append(
                        f"{place}.{position}.provider: {one.provider!r} is not one of {', '.join(everything)}."
                    )
            elif not (one.model or config.default_model):
                self.mistakes.append(f"{place}.{position}.model: {one.provider!r} has no default_model, so name one.")
            elif not config.base_url and config.kind != "builtin":
                self.mistakes.append(f"{place}.{position}.provider: {one.provider!r} has no base_url.")

    def _address(self, kind: str, url: str, place: str) -> str:
        try:
            return normalise(kind, url)
        except ValueError as error:
            self.mistakes.append(f"{place}: {error}")
            return ""

    def _key(self, entry: Keyed | Entry, place: str) -> str:
        if sum(map(bool, (entry.api_key, entry.api_key_env, entry.api_key_file))) > 1:
            self.mistakes.append(f"{place}: give only one of api_key, api_key_env and api_key_file.")
        if entry.api_key_file:
            return self._secret_file(entry.api_key_file, f"{place}.api_key_file")
        if entry.api_key_env:
            key = self._secret(entry.api_key_env)
            if not key:
                self.mistakes.append(f"{place}.api_key_env: {entry.api_key_env} is not set.")
            return key
        return entry.api_key.strip()

    def _secret(self, name: str) -> str:
        if self.environment.get(name):
            return self.environment[name].strip()
        path = self.environment.get(f"{name}_FILE")
        return self._secret_file(path, f"{name}_FILE") if path else ""

    def _secret_file(self, path: str, place: str) -> str:
        try:
            secret = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.mistakes.append(f"{place}: the secret's file cannot be read: {type(error).__name__}.")
            return ""
        if not secret:
            self.mistakes.append(f"{place}: the secret's file is empty.")
        return secret


def _named(endpoints: list[EndpointSettings]) -> list[EndpointSettings]:
    """Two at one host and port are told apart by their paths, where nobody named them."""
    twice = {name for name, count in Counter(one.name for one in endpoints).items() if count > 1}
    return [
        replace(one, name=one.name + urlsplit(one.config.base_url).path)
        if one.name in twice and one.name == _label(one.config)
        else one
        for one in endpoints
    ]

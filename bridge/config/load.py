"""Combine `providers.toml` and the environment into the configured providers, and report every mistake."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bridge.config import providers_toml
from bridge.config.models import Configured, EndpointSettings, ProviderSettings
from bridge.config.providers_toml import EndpointTable, ProvidersFile, ProviderTable, ServerTable
from bridge.settings import OTHERS, PREFIX, SECRETS, Settings, SettingsError, environment, read_secret
from perspectives.errors import suggestion
from providers import registry
from providers.addresses import base_url, origin
from providers.base import ProviderConfig, Spec


def load(file: Path, environment: Mapping[str, str], default: str = "") -> Configured:
    """Load the providers. `file` may be missing. `default`: for requests that name none. Raises SettingsError."""
    loader = _Loader(environment, file.name)
    implicit = {spec.kind: loader.implicit(spec) for spec in registry.specs()}
    try:
        content = providers_toml.read(file)
    except SettingsError as error:
        raise SettingsError((*error.mistakes, *loader.mistakes)) from None
    fleets = {name: ProviderSettings((_endpoint(config),)) for name, config in implicit.items()}
    for name, table in content.providers.items():
        fleets[name] = loader.provider(name, table, implicit)
    providers = {name: provider.endpoints[0].config for name, provider in fleets.items()}
    loader.check_references(content, providers)
    if default:
        loader.check_provider(f"{PREFIX}PROVIDER", default, providers)
    if loader.mistakes:
        raise SettingsError(tuple(loader.mistakes))
    set_kinds = frozenset(spec.kind for spec in registry.specs() if any(map(environment.get, _variables(spec))))
    explicit = frozenset(content.providers)
    return Configured(providers, tuple(content.routing.items()), explicit, explicit | set_kinds, fleets)


def mistakes(workspace: Path) -> tuple[str, ...]:
    """Return the mistakes in a workspace's providers. They are reported together with those in the settings."""
    try:
        load(workspace / "config" / "providers.toml", environment(), environment().get(f"{PREFIX}PROVIDER", ""))
    except SettingsError as error:
        return error.mistakes
    return ()


def startup_warnings() -> Iterator[str]:
    """Yield a sentence for each environment variable that has no effect or contradicts another one."""
    variables = environment()
    yield from _unused_variables(variables)
    for spec in registry.specs():
        names = [name for name in spec.key_env if variables.get(name)]
        if len({variables[name].strip() for name in names}) > 1:
            yield f"{' and '.join(names)} are both set and differ; {names[0]} is used."


def _unused_variables(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting and has no effect.

    They are not errors, because Kubernetes sets `GRAPHCAP_BRIDGE_PORT` and others for a service graphcap-bridge.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS} | OTHERS
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in known:
            yield f"{name} is not a setting and has no effect.{suggestion(name, known)}"


def _variables(spec: Spec) -> tuple[str, ...]:
    return (*spec.url_env, *spec.key_env, *(f"{name}_FILE" for name in spec.key_env))


def _endpoint(config: ProviderConfig) -> EndpointSettings:
    """Return the endpoint of a provider that only the environment configures. The endpoint is not probed."""
    limit = registry.spec(config.kind).max_concurrency
    return EndpointSettings(urlsplit(config.base_url).netloc, config, max_concurrency=limit, probe_interval=0)


@dataclass
class _Loader:
    """Reads providers from the environment and from the tables of `providers.toml`, and collects mistakes."""

    environment: Mapping[str, str]
    file_name: str
    mistakes: list[str] = field(default_factory=list)

    def implicit(self, spec: Spec) -> ProviderConfig:
        """Return the provider of a kind that only the environment configures. The provider's name is the kind."""
        variable = next((name for name in spec.url_env if self.environment.get(name)), "")
        url = self._try(variable, base_url, spec, self.environment[variable] if variable else spec.base_url)
        key = next((key for name in spec.key_env if (key := self._secret(name))), "")
        return ProviderConfig(spec.kind, spec.kind, url, key, spec.default_model)

    def provider(self, name: str, table: ProviderTable, implicit: Mapping[str, ProviderConfig]) -> ProviderSettings:
        place = f"{self.file_name}: providers.{name}"
        if name in implicit and name != table.kind:
            self.mistakes.append(f"{place}: '{name}' is the name of a kind. Only a provider of that kind can have it.")
        self._check_options(table, f"{place}.options")
        default = implicit[table.kind]
        model = table.default_model or default.default_model
        key = self._key(table, place)
        shared = ProviderConfig(name, table.kind, "", key, model, tuple(table.models), table.options)
        alone = EndpointTable.model_construct(base_url=table.base_url or default.base_url)
        endpoints = [
            self._endpoint(
                endpoint, table, shared, default, f"{place}.endpoints.{position}" if table.endpoints else place
            )
            for position, endpoint in enumerate(table.endpoints or [alone])
        ]
        if table.endpoints:
            self._check_endpoints(table, endpoints, place)
        return ProviderSettings(
            tuple(endpoint for endpoint in endpoints if endpoint.enabled) or tuple(endpoints),
            table.strategy,
            table.breaker,
            tuple(table.fallbacks),
            tuple(endpoint.name for endpoint in endpoints if not endpoint.enabled),
        )

    def _endpoint(
        self, own: EndpointTable, table: ProviderTable, shared: ProviderConfig, default: ProviderConfig, place: str
    ) -> EndpointSettings:
        """Return one endpoint. A key from the environment is used only at the origin of its URL."""
        spec = registry.spec(table.kind)
        url = self._try(f"{place}.base_url", base_url, spec, own.base_url)
        if not own.base_url and spec.is_remote:
            self.mistakes.append(f"{place}.base_url: A provider of kind '{table.kind}' needs a base_url.")
        key = self._key(own, place) or shared.api_key
        if not key and origin(url) == origin(default.base_url):
            key = default.api_key
        config = replace(shared, base_url=url, api_key=key)
        limits = {**table.limits(), **own.limits()}
        if spec.max_concurrency:
            limits.setdefault("max_concurrency", spec.max_concurrency)
            config = replace(config, options={**config.options, "max_concurrency": limits["max_concurrency"]})
        name = own.name or urlsplit(url).netloc
        return EndpointSettings(name, config, own.weight, enabled=own.enabled, **limits)

    def _check_endpoints(self, table: ProviderTable, endpoints: list[EndpointSettings], place: str) -> None:
        if table.base_url:
            self.mistakes.append(f"{place}: Set only one of base_url and endpoints.")
        if not registry.spec(table.kind).is_remote:
            self.mistakes.append(f"{place}.endpoints: A provider of kind '{table.kind}' has no endpoints.")
        if not any(endpoint.enabled for endpoint in endpoints):
            self.mistakes.append(f"{place}.endpoints: At least one endpoint must be enabled.")
        for name, count in Counter(endpoint.name for endpoint in endpoints).items():
            if name and count > 1:
                self.mistakes.append(f"{place}.endpoints: {count} endpoints have the name '{name}'. Name each.")

    def _check_options(self, table: ProviderTable, place: str) -> None:
        spec = registry.spec(table.kind)
        for option, value in table.options.items():
            if option not in spec.options:
                hint = f"{suggestion(option, spec.options)} Known options: {', '.join(spec.options) or 'none'}."
                self.mistakes.append(f"{place}.{option}: Unknown option.{hint}")
            elif not spec.options[option].accepts(value):
                self.mistakes.append(f"{place}.{option}: Invalid value. Expected: {spec.options[option].meaning}")

    def check_references(self, content: ProvidersFile, providers: Mapping[str, ProviderConfig]) -> None:
        """Check that the providers in fallbacks and routing rules exist."""
        for name, table in content.providers.items():
            for position, fallback in enumerate(table.fallbacks):
                place = f"{self.file_name}: providers.{name}.fallbacks.{position}"
                config = self.check_provider(f"{place}.provider", fallback.provider, providers)
                if config is None:
                    continue
                if not (fallback.model or config.default_model):
                    self.mistakes.append(f"{place}.model: '{config.name}' has no default_model. Set a model here.")
                elif not config.base_url and registry.spec(config.kind).is_remote:
                    self.mistakes.append(f"{place}.provider: '{config.name}' has no base_url.")
        for pattern, name in content.routing.items():
            self.check_provider(f"{self.file_name}: routing.{pattern!r}", name, providers)

    def check_provider(self, place: str, name: str, providers: Mapping[str, ProviderConfig]) -> ProviderConfig | None:
        """Return the provider with this name, or record that there is none."""
        if name not in providers:
            hint = f"{suggestion(name, providers)} Known providers: {', '.join(providers)}."
            self.mistakes.append(f"{place}: Unknown provider {name!r}.{hint}")
        return providers.get(name)

    def _key(self, table: ServerTable, place: str) -> str:
        if table.api_key_file:
            return self._try(f"{place}.api_key_file", read_secret, table.api_key_file)
        if table.api_key_env and not (key := self._secret(table.api_key_env)):
            self.mistakes.append(f"{place}.api_key_env: The variable {table.api_key_env} is not set.")
        return key if table.api_key_env else table.api_key.strip()

    def _secret(self, name: str) -> str:
        """Return the value of a variable, or the content of the file that `<name>_FILE` names."""
        path = self.environment.get(f"{name}_FILE")
        value = self.environment.get(name, "").strip()
        return value or (self._try(f"{name}_FILE", read_secret, path) if path else "")

    def _try(self, place: str, read: Callable[..., str], *arguments: object) -> str:
        """Return the result of `read`. If it raises ValueError, record a mistake and return ""."""
        try:
            return read(*arguments)
        except ValueError as error:
            self.mistakes.append(f"{place}: {error}")
            return ""

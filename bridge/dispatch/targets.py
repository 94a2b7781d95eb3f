"""Resolve a request to its targets: the providers and models to call, in order."""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from bridge import errors
from bridge.config.models import Configured, Trigger
from bridge.network.policy import AddressPolicy
from bridge.settings import Settings
from providers import builtin, registry
from providers.addresses import base_url as normalised
from providers.addresses import origin
from providers.base import Credentials, ProviderConfig

ShortText = Annotated[str, StringConstraints(max_length=2_000)]


class Strict(BaseModel):
    """A request object. Unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderOverride(BaseModel):
    """A provider that the request defines (`provider_config`). Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: ShortText = Field(description="A kind of provider, listed in docs/providers.md.", examples=["ollama"])
    name: ShortText | None = None
    environment: ShortText | None = None
    base_url: ShortText | None = Field(None, examples=["http://127.0.0.1:11434"])
    api_key: SecretStr | None = Field(None, description='The provider\'s key; "" means none.')
    default_model: ShortText | None = None
    models: list[Any] | None = None

    @property
    def key(self) -> str:
        """Return the API key as text, "" if there is none."""
        return self.api_key.get_secret_value().strip() if self.api_key else ""


class TargetRequest(Strict):
    """The fields of a request, or of one of its fallbacks, that name a provider and a model."""

    provider: ShortText | None = Field(None, description="A configured provider's name.", examples=["builtin"])
    model: ShortText | None = None
    provider_config: ProviderOverride | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One provider and model to call.

    `label`: the provider's name in the response. `config`: the address of the provider's first endpoint, without a key.
    `trusted`: the address is configured. Any other address came with the request, and is checked on connecting. `on`:
    the failures after which a fallback is called. `provider`: the name of the configured provider, "" if the request
    describes the provider. `endpoint`: the only endpoint to call, "" for any. `own_key`: the key is the caller's.
    """

    label: str
    config: ProviderConfig
    model: str
    credentials: Credentials
    trusted: bool
    on: Trigger = "any"
    provider: str = ""
    endpoint: str = ""
    own_key: bool = False


class Targets:
    """Resolves requests to targets, using the configuration of this deployment."""

    def __init__(self, configured: Configured, settings: Settings, policy: AddressPolicy) -> None:
        """`policy`: which addresses from requests are allowed."""
        self.configured = configured
        self._settings = settings
        self._policy = policy

    def resolve(self, request: TargetRequest, key: str = "") -> Target:
        """Return the target of a request. `key`: the key from a header. Raises UnknownKind or DispatchError."""
        target = self.resolve_provider(request, key)
        model = self._model(request, target)
        if not model:
            raise errors.MissingModel(target.label, target.config.models, target)
        return replace(target, model=model)

    def resolve_provider(self, request: TargetRequest, key: str = "") -> Target:
        """Return the target of a request. The model may be missing. Otherwise raises the errors of `resolve`."""
        if request.provider_config is not None:
            return self._described(request, request.provider_config, key)
        name = request.provider or self.configured.routed(request.model or "") or self._default(request.model)
        config = self.configured.providers.get(name)
        if config is None:
            raise errors.UnknownProvider(name, tuple(self.configured.providers))
        return _configured(name, config, key)

    def fallbacks(self, target: Target) -> tuple[Target, ...]:
        """Return the fallbacks of the target's provider that are configured in `providers.toml`."""
        if not target.provider or target.endpoint:
            return ()
        return tuple(
            replace(self.resolve(TargetRequest(provider=fallback.provider, model=fallback.model)), on=fallback.on)
            for fallback in self.configured.fleets[target.provider].fallbacks
        )

    def _default(self, model: str | None) -> str:
        """Return the default provider. Raises MissingProvider if it is `builtin`, which does not serve `model`."""
        name = self._settings.provider
        if name == builtin.SPEC.kind and model and model != builtin.SPEC.default_model:
            raise errors.MissingProvider(model)
        return name

    def _described(self, request: TargetRequest, override: ProviderOverride, key: str) -> Target:
        """Return the target of a `provider_config`. A configured key is sent only to the configured origin."""
        spec = registry.spec(override.kind)
        label = request.provider or override.name or override.kind
        key = key or override.key
        base_url = (override.base_url or "").strip()
        if not base_url or not spec.is_remote:
            config = self.configured.providers.get(label)
            if config is None or config.kind != override.kind:
                config = self.configured.providers[override.kind]
            return _configured(label, config, key)
        policy = self._settings.base_url_policy
        if policy == "none":
            raise errors.ProviderNotAllowed(policy)
        try:
            url = normalised(spec, base_url)
        except ValueError as error:
            raise errors.InvalidBaseUrl(str(error)) from None
        known = self.configured.of_origin(override.kind, url)
        if known is not None:
            return replace(_configured(label, replace(known.config, base_url=url), key), endpoint=known.name)
        trusted = self.configured.has_origin(url)
        if policy == "listed" and not trusted and not self._is_allowed(url):
            raise errors.ProviderNotAllowed(policy)
        return Target(label, ProviderConfig(label, override.kind, url), "", Credentials(key), trusted, own_key=True)

    def _is_allowed(self, url: str) -> bool:
        """Return whether the policy may allow the URL. The host's addresses are checked on connecting."""
        parts = urlsplit(origin(url))
        assert parts.hostname
        assert parts.port
        try:
            self._policy.check_name(parts.hostname, parts.port)
        except errors.AddressRefused:
            return False
        return True

    def _model(self, request: TargetRequest, target: Target) -> str:
        override = request.provider_config.default_model if request.provider_config else None
        model = request.model or override or target.config.default_model
        is_default = request.provider_config is None and target.label == self._settings.provider
        return model or (self._settings.model if is_default else "")


def _configured(label: str, config: ProviderConfig, key: str) -> Target:
    """Return the target of a configured provider. `key`: the caller's key, or "". Raises MissingBaseUrl."""
    if not config.base_url and registry.spec(config.kind).is_remote:
        raise errors.MissingBaseUrl(config.kind)
    credentials = Credentials(key or config.api_key)
    return Target(label, replace(config, api_key=""), "", credentials, True, provider=config.name, own_key=bool(key))

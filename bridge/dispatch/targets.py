"""Who answers: from what a request says and what is configured to an ordered list of targets."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol
from urllib.parse import urlsplit

from bridge.config import Configured
from bridge.errors import (
    InvalidBaseUrl,
    MissingBaseUrl,
    MissingModel,
    MissingProvider,
    ProviderNotAllowed,
    UnknownProvider,
)
from bridge.network import AddressPolicy, AddressRefused
from bridge.settings import Settings
from providers import builtin, factory
from providers.addresses import normalise
from providers.base import Credentials, ProviderConfig

_PORTS = {"http": 80, "https": 443}


class Override(Protocol):
    """What is read of a request's provider_config."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def default_model(self) -> str | None: ...
    @property
    def key(self) -> str: ...


class Wish(Protocol):
    """What is read of a request, or of one of its fallbacks."""

    @property
    def provider(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def provider_config(self) -> Override | None: ...


@dataclass(frozen=True, slots=True)
class Named:
    """A provider by its name alone, or as the request brings it."""

    provider: str | None
    provider_config: Override | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One provider and model to ask.

    `label` is what the response calls the provider. `trusted` says whether the address was configured (then it
    may be anywhere) or came with the request (then it is checked when it is dialled). `config` holds no key, and the
    address of the provider's first endpoint. `provider`: the configured provider that is asked, "" for one that the
    request brought; `endpoint`: the one of its endpoints that is meant, "" for any. `own_key`: the key is the caller's.
    """

    label: str
    config: ProviderConfig
    model: str
    credentials: Credentials
    trusted: bool
    on: Literal["any", "refusal"] = "any"
    provider: str = ""
    endpoint: str = ""
    own_key: bool = False

    @property
    def place(self) -> str:
        """Host and port of its address."""
        return urlsplit(self.config.base_url).netloc


class Targets:
    """Settles targets by the deployment's configuration."""

    def __init__(self, configured: Configured, settings: Settings, guard: AddressPolicy) -> None:
        """`guard` is the policy that addresses of requests are dialled under."""
        self.configured = configured
        self._settings = settings
        self._guard = guard

    def settle(self, wish: Wish, key: str = "") -> Target:
        """The target of a wish. `key`: the provider's key when it came outside the body.

        Raises DispatchError (unknown provider, no model, base URL missing, wrong or not allowed) or UnknownKind.
        """
        target = self.provider(wish, key)
        model = self._model(wish, target)
        if not model:
            raise MissingModel(target.label, target.config.models, target)
        return replace(target, model=model)

    def provider(self, wish: Wish, key: str = "") -> Target:
        """The same, whether or not a model is known."""
        if wish.provider_config is not None:
            return self._brought(wish, wish.provider_config, key)
        name = wish.provider or self.configured.routed(wish.model or "") or self._default(wish.model)
        config = self.configured.providers.get(name)
        if config is None:
            raise UnknownProvider(name, tuple(self.configured.providers))
        if not config.base_url and config.kind != "builtin":
            raise MissingBaseUrl(config.kind)
        return _configured(name, config, key)

    def stand_ins(self, target: Target) -> tuple[Target, ...]:
        """Those that `providers.toml` names for the target's provider, as it stands there."""
        if not target.provider or target.endpoint:
            return ()
        fallbacks = self.configured.fleets[target.provider].fallbacks
        return tuple(replace(self.settle(Named(one.provider, None, one.model)), on=one.on) for one in fallbacks)

    def _default(self, model: str | None) -> str:
        """The provider that answers when nobody is named; `builtin` has one model and stands in for no other."""
        name = self._settings.provider
        if name == builtin.SPEC.kind and model and model != builtin.SPEC.default_model:
            raise MissingProvider(model)
        return name

    def _brought(self, wish: Wish, override: Override, key: str) -> Target:
        """A configured key goes along only to the origin it was configured with."""
        factory.spec(override.kind)
        label = wish.provider or override.name or override.kind
        key = key or override.key
        base_url = (override.base_url or "").strip()
        if not base_url or override.kind == "builtin":
            config = self._named(label, override.kind)
            if not config.base_url and config.kind != "builtin":
                raise MissingBaseUrl(override.kind)
            return _configured(label, config, key)
        policy = self._settings.base_url_policy
        if policy == "none":
            raise ProviderNotAllowed(policy)
        url = _checked(override.kind, base_url)
        known = self.configured.of_origin(override.kind, url)
        if known is not None:
            return replace(_configured(label, replace(known.config, base_url=url), key), endpoint=known.name)
        trusted = self.configured.has_origin(url)
        if policy == "listed" and not trusted and not self._allowed(url):
            raise ProviderNotAllowed(policy)
        return Target(label, ProviderConfig(label, override.kind, url), "", Credentials(key), trusted, own_key=True)

    def _named(self, label: str, kind: str) -> ProviderConfig:
        config = self.configured.providers.get(label)
        return config if config is not None and config.kind == kind else self.configured.providers[kind]

    def _allowed(self, url: str) -> bool:
        """Whether the host is allowed by name, or may turn out to be by its network when it is dialled."""
        parts = urlsplit(url)
        try:
            self._guard.check_name(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        except AddressRefused:
            return False
        return True

    def _model(self, wish: Wish, target: Target) -> str:
        override = wish.provider_config.default_model if wish.provider_config else None
        model = wish.model or override or target.config.default_model
        is_default = wish.provider_config is None and target.label == self._settings.provider
        return model or (self._settings.model if is_default else "")


def _configured(label: str, config: ProviderConfig, key: str) -> Target:
    """A configured provider; `key` is the caller's own, if there is one."""
    credentials = Credentials(key or config.api_key)
    return Target(label, replace(config, api_key=""), "", credentials, True, provider=config.name, own_key=bool(key))


def _checked(kind: str, base_url: str) -> str:
    """The base URL in the form its client wants; refuses what is not an http(s) address."""
    try:
        return normalise(kind, base_url)
    except ValueError as error:
        raise InvalidBaseUrl(str(error)) from None

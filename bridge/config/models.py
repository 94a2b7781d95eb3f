"""The data classes of the configured providers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from providers.addresses import origin
from providers.base import ProviderConfig

Strategy = Literal["least_connections", "round_robin", "weighted", "random"]
Trigger = Literal["any", "refusal"]
"""The failures after which a fallback is called."""
Count = Annotated[int, Field(ge=1, strict=True)]
PositiveNumber = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
_FORBID_EXTRA = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """The circuit breaker of an endpoint opens for `open_seconds` after `failures` in a row."""

    __pydantic_config__: ClassVar = _FORBID_EXTRA

    failures: Count = 5
    open_seconds: PositiveNumber = 30


@dataclass(frozen=True, slots=True)
class FallbackSettings:
    """A provider to call after any failure of another provider, or only after a refusal."""

    __pydantic_config__: ClassVar = _FORBID_EXTRA

    provider: str
    model: Annotated[str | None, AfterValidator(lambda model: model or None)] = None
    on: Trigger = "any"


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One server of a provider. `config`: its address and its key, which is sent to no other address.

    A limit of None means unlimited. `timeout`: seconds per call. `attempt_timeout`: seconds of silence while another
    endpoint or a fallback is available. For both, 0 means the value in the settings of the service. `probe_interval`:
    seconds between probes (0: no probes).
    """

    name: str
    config: ProviderConfig
    weight: float = 1
    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 0
    attempt_timeout: float = 0
    probe_interval: float = 30
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The endpoints of one provider, and its fallbacks. `disabled`: the names of endpoints that receive no calls."""

    endpoints: tuple[EndpointSettings, ...]
    strategy: Strategy = "least_connections"
    breaker: BreakerSettings = BreakerSettings()
    fallbacks: tuple[FallbackSettings, ...] = ()
    disabled: tuple[str, ...] = ()

    def limited(self, max_concurrency: int | None) -> "ProviderSettings":
        """Return the settings with at most this many concurrent calls to each endpoint. None: no further limit."""
        if max_concurrency is None:
            return self
        endpoints = (
            replace(each, max_concurrency=min(each.max_concurrency or max_concurrency, max_concurrency))
            for each in self.endpoints
        )
        return replace(self, endpoints=tuple(endpoints))


@dataclass(frozen=True, slots=True)
class Configured:
    """Every provider that a request can name, and the routing rules, which choose a provider by the model.

    `providers` maps each name to the configuration of its first endpoint, `fleets` to all of its endpoints. `explicit`:
    the providers in `providers.toml`. `stated`: the explicit providers, and the kinds whose key or address is in the
    environment. Any other provider has the default address of its kind.
    """

    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    routing: tuple[tuple[str, str], ...] = ()
    explicit: frozenset[str] = frozenset()
    stated: frozenset[str] = frozenset()
    fleets: Mapping[str, ProviderSettings] = field(default_factory=dict)

    def routed(self, model: str) -> str | None:
        """Return the provider of the first routing rule that matches `model`, ignoring case."""
        lowered = model.lower()
        return next((name for pattern, name in self.routing if fnmatchcase(lowered, pattern.lower())), None)

    def of_origin(self, kind: str, base_url: str) -> EndpointSettings | None:
        """Return the configured endpoint of this kind with the scheme, host and port of `base_url`, or None."""
        return next((endpoint for endpoint in self._at(base_url) if endpoint.config.kind == kind), None)

    def has_origin(self, base_url: str) -> bool:
        """Return whether an explicitly configured endpoint has the scheme, host and port of `base_url`."""
        return any(True for _ in self._at(base_url))

    def _at(self, base_url: str) -> Iterator[EndpointSettings]:
        for name in self.stated.intersection(self.providers):
            for endpoint in self.fleets[name].endpoints:
                if origin(endpoint.config.base_url) == origin(base_url):
                    yield endpoint

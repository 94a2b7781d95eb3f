"""What is configured, as the rest of the bridge reads it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from providers.addresses import origin
from providers.base import ProviderConfig

Strategy = Literal["least_connections", "round_robin", "weighted", "random"]
PROBE_INTERVAL = 30.0


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """One server of a provider. `config` holds its address and its own key, which goes nowhere else.

    `max_concurrency`, `requests_per_minute`, `tokens_per_minute`: what it takes (None: any number). `timeout`: seconds
    that one call may take there (0: no bound of its own). `probe_interval`: seconds between probes (0: none).
    """

    name: str
    config: ProviderConfig
    weight: float = 1
    max_concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 0
    probe_interval: float = PROBE_INTERVAL
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """After `failures` in a row an endpoint is left alone for `open_seconds`."""

    failures: int = 5
    open_seconds: float = 30


@dataclass(frozen=True, slots=True)
class StandIn:
    """Who is asked when a provider fails, or only when it refuses; `model` None: that provider's own."""

    provider: str
    model: str | None = None
    on: Literal["any", "refusal"] = "any"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The endpoints of one provider, how calls are spread over them, and who stands in for all of them.

    `disabled`: the names of those that get no call.
    """

    endpoints: tuple[EndpointSettings, ...]
    strategy: Strategy = "least_connections"
    breaker: BreakerSettings = BreakerSettings()
    fallbacks: tuple[StandIn, ...] = ()
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configured:
    """Every provider that can be named, by name, and the rules that pick one by the model's name.

    `providers` holds each as its first endpoint stands, `fleets` all of its endpoints. `explicit`: those that
    `providers.toml` names. `stated`: those and the kinds whose key or address the environment states; the others stand
    at their kind's usual address, where nobody may have meant anything.
    """

    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
    routing: tuple[tuple[str, str], ...] = ()
    explicit: frozenset[str] = frozenset()
    stated: frozenset[str] = frozenset()
    fleets: Mapping[str, Fleet] = field(default_factory=dict)

    def routed(self, model: str) -> str | None:
        """The provider whose rule matches `model` first, whatever the case."""
        lowered = model.lower()
        return next((name for pattern, name in self.routing if fnmatchcase(lowered, pattern.lower())), None)

    def of_origin(self, kind: str, base_url: str) -> EndpointSettings | None:
        """The stated endpoint of this kind at this origin (scheme, host, port)."""
        return next((one for one in self._at(base_url) if one.config.kind == kind), None)

    def has_origin(self, base_url: str) -> bool:
        """Whether any stated endpoint lives at this origin."""
        return any(True for _ in self._at(base_url))

    def _at(self, base_url: str) -> Iterator[EndpointSettings]:
        wanted = origin(base_url)
        for name in self.providers:
            if name in self.stated:
                yield from (one for one in self.fleets[name].endpoints if origin(one.config.base_url) == wanted)

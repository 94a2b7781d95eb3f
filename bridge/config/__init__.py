"""The providers this deployment knows: `providers.toml` over the environment names users already have."""

from bridge.config.configured import BreakerSettings, Configured, EndpointSettings, Fleet, StandIn, Strategy
from bridge.config.load import ambiguous, doubts, load, mistakes

__all__ = [
    "BreakerSettings",
    "Configured",
    "EndpointSettings",
    "Fleet",
    "StandIn",
    "Strategy",
    "ambiguous",
    "doubts",
    "load",
    "mistakes",
]

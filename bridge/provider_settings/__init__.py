"""The providers this deployment knows: `providers.toml` over the environment names users already have."""

from bridge.provider_settings.configured import BreakerSettings, Configured, EndpointSettings, Fleet, StandIn, Strategy
from bridge.provider_settings.load import ambiguous, doubts, load, mistakes

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

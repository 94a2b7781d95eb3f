"""Configured providers: `providers.toml`, and the environment variables that model servers are known by."""

from bridge.config.load import load, mistakes, startup_warnings
from bridge.config.models import (
    BreakerSettings,
    Configured,
    EndpointSettings,
    FallbackSettings,
    ProviderSettings,
    Strategy,
)

Fleet = ProviderSettings
doubts = startup_warnings

__all__ = [
    "BreakerSettings",
    "Configured",
    "EndpointSettings",
    "FallbackSettings",
    "Fleet",
    "ProviderSettings",
    "Strategy",
    "doubts",
    "load",
    "mistakes",
    "startup_warnings",
]

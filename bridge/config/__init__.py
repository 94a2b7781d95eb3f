"""Configured providers: `providers.toml`, and the environment variables of model servers."""

from bridge.config.load import load, mistakes, startup_warnings
from bridge.config.models import (
    BreakerSettings,
    Configured,
    EndpointSettings,
    FallbackSettings,
    ProviderSettings,
    Strategy,
)

__all__ = ["BreakerSettings", "Configured", "EndpointSettings", "FallbackSettings", "ProviderSettings", "Strategy"]
__all__ += ["load", "mistakes", "startup_warnings"]

"""Former name of `providers.registry`."""

from providers.registry import client, spec, specs

__all__ = ["client", "spec", "specs"]

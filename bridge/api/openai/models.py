"""OpenAI's models: each is a perspective, optionally with a provider and its model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from bridge.captioning.parsing import parse_request
from bridge.captioning.services import Services
from bridge.dispatch.targets import TargetRequest
from providers import registry
from providers.base import ProviderConfig

OWNER = "graphcap"


class ModelName(NamedTuple):
    """The parts of `[perspective][@[provider][/model]]`; "" where one is absent."""

    perspective: str
    provider: str
    model: str


def parse_name(text: str) -> ModelName:
    """Split a name at the first `@`, then at the first `/`. Names of configured providers contain neither."""
    perspective, _, target = text.partition("@")
    provider, _, model = target.partition("/")
    return ModelName(perspective, provider, model)


def list_all(services: Services) -> list[dict[str, Any]]:
    """Return every perspective, alone and with each configured default model. No provider is called."""
    names = [perspective.name for perspective in services.catalog.all() if "@" not in perspective.name]
    defaults = list(_default_models(services))
    return [entry(name) for name in names] + [entry(f"{name}@{target}") for name in names for target in defaults]


def find(text: str, services: Services) -> dict[str, Any]:
    """Return the entry of a valid name, which need not be listed.

    Raises UnknownPerspective or a DispatchError.
    """
    name = parse_name(text)
    if name.perspective or not name.provider:
        services.catalog.get(name.perspective)
    if name.provider:
        services.targets.resolve_provider(parse_request(TargetRequest, {"provider": name.provider}))
    return entry(text)


def entry(name: str) -> dict[str, Any]:
    """Return a model in OpenAI's format. Clients require a number for `created`."""
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def _default_models(services: Services) -> Iterator[str]:
    settings = services.settings
    for name, config in services.targets.configured.providers.items():
        is_default = name == settings.provider and bool(settings.model)
        model = config.default_model or (settings.model if is_default else "")
        if model and (is_default or name in services.targets.configured.explicit) and _is_usable(config):
            yield f"{name}/{model}"


def _is_usable(config: ProviderConfig) -> bool:
    """Return whether a provider has the key and the address that its kind requires."""
    spec = registry.spec(config.kind)
    return bool(config.base_url or not spec.is_remote) and bool(config.api_key or not spec.needs_key)

"""What OpenAI calls a model: a perspective, and who answers by it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from bridge.captioning.services import Services
from bridge.dispatch.targets import ProviderReference
from providers import factory
from providers.base import ProviderConfig

OWNER = "graphcap"


class Name(NamedTuple):
    """`[perspective][@[provider][/model]]`, taken apart; "" for what is absent."""

    perspective: str
    provider: str
    model: str


def read(text: str) -> Name:
    """Split at the first `@`, then at the first `/`: configured providers' names hold neither, models may."""
    perspective, _, target = text.partition("@")
    provider, _, model = target.partition("/")
    return Name(perspective, provider, model)


def listed(services: Services) -> list[dict[str, Any]]:
    """Every perspective alone and with each configured provider's default model; nobody is asked."""
    names = [one.name for one in services.catalog.all() if "@" not in one.name]
    defaults = list(_defaults(services))
    return [entry(name) for name in names] + [entry(f"{name}@{target}") for name in names for target in defaults]


def find(text: str, services: Services) -> dict[str, Any]:
    """The entry of a name that can be asked, listed or not. Raises UnknownPerspective or a DispatchError."""
    name = read(text)
    if name.perspective or not name.provider:
        services.catalog.get(name.perspective)
    if name.provider:
        services.targets.resolve_provider(ProviderReference(name.provider))
    return entry(text)


def entry(name: str) -> dict[str, Any]:
    """One model as OpenAI lists it. Nothing here has a date, and clients want a number."""
    return {"id": name, "object": "model", "created": 0, "owned_by": OWNER}


def _defaults(services: Services) -> Iterator[str]:
    settings = services.settings
    for name, config in services.targets.configured.providers.items():
        model = config.default_model or (settings.model if name == settings.provider else "")
        if model and _usable(config):
            yield f"{name}/{model}"


def _usable(config: ProviderConfig) -> bool:
    """Every kind is a provider by its own name; without its key or its address it is none to offer."""
    spec = factory.spec(config.kind)
    return bool(config.base_url or config.kind == "builtin") and bool(config.api_key or not spec.needs_key)

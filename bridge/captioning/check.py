"""What a provider serves and whether it can be reached: real calls, never a guess."""

from collections.abc import AsyncIterator

from bridge.captioning.resources import Resources
from bridge.dispatch.endpoint import Endpoint
from bridge.dispatch.errors import MissingModel
from bridge.dispatch.targets import Target, Wish
from providers.base import BaseClient, Check, Credentials, Model
from providers.errors import ProviderError

TIMEOUT = 20.0
HINT_TIMEOUT = 2.0


async def models(wish: Wish, resources: Resources, key: str = "") -> tuple[Target, tuple[Model, ...]]:
    """The models that a provider lists. Raises DispatchError or ProviderError."""
    target = resources.targets.provider(wish, key)
    client, credentials = await _reach(target, resources)
    return target, await client.models(credentials, _timeout(resources))


async def check(wish: Wish, resources: Resources, key: str = "") -> tuple[Target, Check]:
    """Connect, list models, and ask for one short completion when a model is named. Raises DispatchError."""
    target = resources.targets.provider(wish, key)
    client, credentials = await _reach(target, resources)
    override = wish.provider_config.default_model if wish.provider_config else None
    model = wish.model or override or target.config.default_model
    return target, await client.check(credentials, _timeout(resources), model)


async def check_each(wish: Wish, resources: Resources, key: str = "") -> AsyncIterator[tuple[Endpoint, Check]]:
    """The same at each endpoint of a provider. Raises DispatchError."""
    target = resources.targets.provider(wish, key)
    route = resources.endpoints.route(target)
    for endpoint in route.allowed:
        client = await resources.clients.at(endpoint, target)
        model = wish.model or target.config.default_model
        yield endpoint, await client.check(route.credentials(endpoint), _timeout(resources), model)


async def name_models(error: Exception, resources: Resources) -> Exception:
    """Let an error that misses a model's name tell what the provider lists, where it answers quickly."""
    if not isinstance(error, MissingModel) or error.listed or not isinstance(error.target, Target):
        return error
    try:
        client, credentials = await _reach(error.target, resources)
        listed = await client.models(credentials, HINT_TIMEOUT)
    except ProviderError:
        return error
    return MissingModel(error.provider, tuple(one.id for one in listed))


async def _reach(target: Target, resources: Resources) -> tuple[BaseClient, Credentials]:
    """The client of an endpoint of the target that is likely to answer, and the key that goes there."""
    route = resources.endpoints.route(target)
    endpoint = route.likeliest()
    return await resources.clients.at(endpoint, target), route.credentials(endpoint)


def _timeout(resources: Resources) -> float:
    return min(TIMEOUT, resources.settings.timeout)

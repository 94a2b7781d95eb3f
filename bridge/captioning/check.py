"""What a provider serves and whether it can be reached: real calls, never a guess."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from bridge.captioning import ledger
from bridge.captioning.services import Services
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.attempts import Calls, Line
from bridge.dispatch.endpoint import Endpoint
from bridge.dispatch.endpoints import Route
from bridge.dispatch.targets import Target, Wish
from bridge.errors import CircuitBreakerOpen, MissingModel, ProviderUnavailable
from bridge.telemetry import trace
from providers import checks
from providers.base import BaseClient, Check, Completion, Credentials, Model, VisionRequest
from providers.errors import CallTimeout, ProviderError, Unavailable

TIMEOUT = 20.0
HINT_TIMEOUT = 2.0


async def models(wish: Wish, services: Services, key: str = "") -> tuple[Target, tuple[Model, ...]]:
    """The models that a provider lists. Raises DispatchError or ProviderError."""
    target = services.targets.provider(wish, key)
    client, credentials = await _reach(target, services)
    return target, await client.models(credentials, _timeout(services), trace.headers.get())


async def check(wish: Wish, services: Services, key: str = "") -> tuple[Target, Check]:
    """Connect, list models, and ask for one short completion when a model is named. Raises DispatchError."""
    target = services.targets.provider(wish, key)
    route = services.endpoints.route(target)
    override = wish.provider_config.default_model if wish.provider_config else None
    model = wish.model or override or target.config.default_model
    return target, await _check(route.likeliest(), route, target, model, services)


async def check_each(wish: Wish, services: Services, key: str = "") -> AsyncIterator[tuple[Endpoint, Check]]:
    """The same at each endpoint of a provider. Raises DispatchError."""
    target = services.targets.provider(wish, key)
    route = services.endpoints.route(target)
    for endpoint in route.allowed:
        yield endpoint, await _check(endpoint, route, target, wish.model or target.config.default_model, services)


async def _check(endpoint: Endpoint, route: Route, target: Target, model: str, services: Services) -> Check:
    """The completion costs something: it waits for a place and the limits, and is counted, like a caption's call."""
    client = await services.clients.at(endpoint, target)
    target = replace(target, model=model)
    meter = ledger.Meter(ledger.begin_test(), target, services.targets.configured, services.settings.model)

    async def at(endpoint: Endpoint) -> Callable[[VisionRequest], Awaitable[Completion]]:
        return meter.metered(client.complete, endpoint)

    async def complete(request: VisionRequest) -> Completion | ProviderError:
        alone = replace(route, allowed=(endpoint,))
        line = Line(target.label, alone, at, Calls(limit=1), Deadline(request.timeout))
        try:
            return await line.ask(request)
        except ProviderError as error:
            return error
        except CircuitBreakerOpen:  # whoever has repaired it wants to know, and not what is remembered
            return await (await at(endpoint))(request)
        except ProviderUnavailable as error:
            return Unavailable(str(error), retry_after=error.retry_after)
        except DeadlineExceeded as error:
            return CallTimeout(str(error))

    deadline = Deadline(_timeout(services))
    key, headers = route.credentials(endpoint), trace.headers.get()
    listing = await checks.list_models(client, key, _timeout(services), headers)
    if not model or listing.is_final:
        return checks.judge(client, listing)
    request: VisionRequest | None = checks.make_request(client, model, max(deadline.left(), 0.001), key, headers)
    while request is not None:
        sent, outcome = request, await complete(request)
        request = checks.simpler(client, sent, outcome) if isinstance(outcome, ProviderError) else None
    return checks.judge(client, listing, sent, outcome)


async def name_models(error: Exception, services: Services) -> Exception:
    """Let an error that misses a model's name tell what the provider lists, where it answers quickly."""
    if not isinstance(error, MissingModel) or error.listed or not isinstance(error.target, Target):
        return error
    try:
        client, credentials = await _reach(error.target, services)
        listed = await client.models(credentials, HINT_TIMEOUT, trace.headers.get())
    except ProviderError:
        return error
    return MissingModel(error.provider, tuple(one.id for one in listed))


async def _reach(target: Target, services: Services) -> tuple[BaseClient, Credentials]:
    """The client of an endpoint of the target that is likely to answer, and the key that goes there."""
    route = services.endpoints.route(target)
    endpoint = route.likeliest()
    return await services.clients.at(endpoint, target), route.credentials(endpoint)


def _timeout(services: Services) -> float:
    return min(TIMEOUT, services.settings.timeout)

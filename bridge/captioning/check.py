"""Model lists and connection tests of providers: real calls, never a guess."""

from collections.abc import AsyncIterator

from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.dispatch.targets import Target, TargetRequest
from bridge.errors import MissingModel
from bridge.run import Run
from providers.base import Model
from providers.checks import Check
from providers.errors import ProviderError

TIMEOUT = 20.0
HINT_TIMEOUT = 2.0


def deadline(services: Services) -> Deadline:
    """Return the deadline of a model list or a connection test, which begins now."""
    return Deadline(min(TIMEOUT, services.settings.timeout))


async def models(
    request: TargetRequest, services: Services, run: Run, key: str = ""
) -> tuple[Target, tuple[Model, ...]]:
    """Return the models that a provider lists. Raises DispatchError or ProviderError."""
    target = services.targets.resolve_provider(request, key)
    return target, await services.dispatcher.list_models(target, run.deadline.seconds, run.trace_headers)


async def check(request: TargetRequest, services: Services, run: Run, key: str = "") -> tuple[Target, Check]:
    """Connect, list models, and make one short completion when a model is named. Raises DispatchError."""
    target = services.targets.resolve_provider(request, key)
    override = request.provider_config.default_model if request.provider_config else None
    model = request.model or override or target.config.default_model
    return target, await services.dispatcher.check_likeliest(target, model, run)


async def check_each(
    request: TargetRequest, services: Services, run: Run, key: str = ""
) -> AsyncIterator[tuple[str, Check]]:
    """Test each endpoint of a provider, and yield its name with what the test found. Raises DispatchError."""
    target = services.targets.resolve_provider(request, key)
    model = request.model or target.config.default_model
    async for endpoint, result in services.dispatcher.check(target, model, run):
        yield endpoint, result


async def with_known_models(error: Exception, services: Services) -> Exception:
    """Return an error about a missing model with the models that the provider lists, if it responds quickly."""
    if not isinstance(error, MissingModel) or error.listed or not isinstance(error.target, Target):
        return error
    try:
        models = await services.dispatcher.list_models(error.target, HINT_TIMEOUT)
    except ProviderError:
        return error
    return MissingModel(error.provider, tuple(model.id for model in models))

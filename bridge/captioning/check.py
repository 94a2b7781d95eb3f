"""Model lists and connection tests of providers. Every result comes from a call to the provider."""

from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.dispatch.targets import Target, TargetRequest
from bridge.errors import MissingModel
from bridge.run import Run
from providers.base import Model
from providers.checks import Check
from providers.errors import UnknownModel

TIMEOUT = 20.0


def deadline(services: Services) -> Deadline:
    return Deadline(min(TIMEOUT, services.settings.timeout))


async def models(
    request: TargetRequest, services: Services, run: Run, key: str = ""
) -> tuple[Target, tuple[Model, ...]]:
    """Return the models that a provider lists. Raises DispatchError, ProviderError or DeadlineExceeded."""
    run.provider_messages = services.settings.provider_messages
    target = services.targets.resolve_provider(request, key)
    return target, await services.dispatcher.list_models(target, run)


async def check(
    request: TargetRequest, services: Services, run: Run, key: str = "", *, every_endpoint: bool = False
) -> tuple[Target, dict[str, Check]]:
    """Test the endpoint that is most likely to respond, or every one. Return the results by endpoint name.

    A test lists the models. If a model is named or set, it also requests one short completion. Raises DispatchError.
    """
    run.provider_messages = services.settings.provider_messages
    target = services.targets.resolve_provider(request, key)
    override = request.provider_config.default_model if request.provider_config else None
    model = request.model or override or target.config.default_model
    return target, await services.dispatcher.check(target, model, run, every_endpoint=every_endpoint)


async def with_known_models(error: Exception, services: Services, target: Target | None = None) -> Exception:
    """Add the models that the provider lists, if it responds, to an error about a missing or unknown model.

    `target`: the target that was called. If it is given, an UnknownModel gets a note that lists the models.
    """
    if isinstance(error, MissingModel) and not error.listed and isinstance(error.target, Target):
        return MissingModel(error.provider, await services.dispatcher.known_models(error.target))
    if target is None or not isinstance(error, UnknownModel):
        return error
    if listed := await services.dispatcher.known_models(target):
        error.add_note(f"The server lists: {', '.join(listed[:12])}{', …' if len(listed) > 12 else ''}.")
    return error

"""Whether a provider really answers: list its models, then one short completion when a model is named."""

import time
from collections.abc import Mapping

from providers.base import (
    NO_HEADERS,
    BaseClient,
    Check,
    Complete,
    Credentials,
    Model,
    Options,
    Step,
    VisionRequest,
)
from providers.errors import (
    AuthFailed,
    Blocked,
    CallTimeout,
    ProviderError,
    Refused,
    Truncated,
    UnknownModel,
    Unreachable,
)

_PROMPT = "Reply with the word OK."
_MAX_TOKENS = 16
_NAMED = 5
# After these a completion would only fail in the same way.
_FINAL = (AuthFailed, Unreachable, CallTimeout)
# The model was reached and spoke; how it ended says nothing against the connection.
_ANSWERED = (Truncated, Refused, Blocked)


async def check(
    client: BaseClient,
    credentials: Credentials,
    timeout: float,
    model: str = "",
    headers: Mapping[str, str] = NO_HEADERS,
    complete: Complete | None = None,
) -> Check:
    """Connect for real within `timeout` seconds; steps not taken are absent.

    `headers` go along with both calls; `complete` makes the second, which costs something, in the client's place.
    A server that lists no models is not at fault when the named model answers (transformers serve lists none).
    """
    deadline = time.monotonic() + timeout
    title = client.spec.title
    start = Step("initialize_client", "success", f"The client for {title} is ready.")
    models: tuple[Model, ...] = ()
    failure: ProviderError | None = None
    try:
        models = await client.models(credentials, timeout, headers)
    except ProviderError as error:
        failure = error
    listed = _listed(models, failure)
    if not model or isinstance(failure, _FINAL):
        return Check((start, listed), models)
    request = VisionRequest(
        model=model,
        prompt=_PROMPT,
        timeout=max(deadline - time.monotonic(), 0.001),
        options=Options(max_tokens=_MAX_TOKENS if "max_tokens" in client.spec.takes else None),
        credentials=credentials,
        headers=headers,
    )
    asked, warnings = await _ask(complete or client.complete, request, models)
    if failure is not None and asked.status == "success":
        unlisted = f"{title} lists no models, but {model} answered."
        return Check((start, asked), models, model, (unlisted, *warnings))
    warnings = (*_unlisted(title, model, models, asked), *warnings)
    return Check((start, listed, asked), models, model, warnings)


def _listed(models: tuple[Model, ...], failure: ProviderError | None) -> Step:
    if failure is not None:
        return Step("list_models", "failed", error=failure.message)
    return Step("list_models", "success", f"{len(models)} model{'' if len(models) == 1 else 's'} listed.")


async def _ask(complete: Complete, request: VisionRequest, models: tuple[Model, ...]) -> tuple[Step, tuple[str, ...]]:
    """The step, and what the completion warned of."""
    warnings: tuple[str, ...] = ()
    try:
        warnings = (await complete(request)).warnings
    except _ANSWERED:
        pass
    except UnknownModel as error:
        return Step("test_chat_completion", "failed", error=f"{error.message}{_instead(models)}"), ()
    except ProviderError as error:
        return Step("test_chat_completion", "failed", error=error.message), ()
    return Step("test_chat_completion", "success", f"{request.model} answered."), warnings


def _instead(models: tuple[Model, ...]) -> str:
    """What it does serve."""
    more = len(models) - _NAMED
    named = ", ".join(model.id for model in models[:_NAMED])
    return f" It lists {named}{f' and {more} more' if more > 0 else ''}." if models else ""


def _unlisted(title: str, model: str, models: tuple[Model, ...], asked: Step) -> tuple[str, ...]:
    """llama.cpp's servers answer with their one model whatever name they are given (measured)."""
    if asked.status == "failed" or not models or any(model in (one.id, one.name) for one in models):
        return ()
    return (f"{title} does not list {model}; what answered may be another model.",)

"""Check the connection to a server. The caller sends the test request, so that its queue and limits apply."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pybase64 import b64decode

from providers import errors
from providers.base import Completion, Credentials, Image, Model, Options, VisionRequest
from providers.client import BaseClient
from providers.errors import ProviderError

_NAME = "connection_test"
_PROMPT = "Reply with the word OK."
_WORDS = ("image-received", "no-image")
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": list(_WORDS)}},
    "required": ["answer"],
    "additionalProperties": False,
}
"""The schema of the test request. If the server does not enforce it, the model follows the prompt and replies OK."""
_MAX_TOKENS = 64
_LISTED = 5
_FINAL = (errors.AuthFailed, errors.Unreachable, errors.CallTimeout)
_ANSWERED = (errors.Truncated, errors.Refused, errors.Blocked, errors.UnparsableOutput)
"""Errors that show that the connection works, because the model was reached."""
_IMAGE = Image(
    b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAU0lEQVR42u3PsQkAMBADMe+/tDPDF4YUgqsPlCbTxvsGAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAOC7Og4AAAAAAAAAAAAAAAAAAAAAAAAAAAAA4NwD+wXtHj782poAAAAASUVORK5CYII="
    ),
    "image/png",
    64,
    64,
)
StepName = Literal["initialize_client", "list_models", "test_chat_completion"]
Status = Literal["success", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a connection check. `error`: a sentence if `status` is "failed", otherwise ""."""

    step: StepName
    status: Status
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of a connection check.

    `model`: the requested model, "" without a test request. `response_model`: the name that the server reports for it.
    `images`, `schema_enforced`: the model accepted an image, the server enforced the schema; None if unknown.
    """

    steps: tuple[Step, ...]
    models: tuple[Model, ...] = ()
    model: str = ""
    warnings: tuple[str, ...] = ()
    response_model: str = ""
    images: bool | None = None
    schema_enforced: bool | None = None


Outcome = Completion | ProviderError


async def check(
    client: BaseClient,
    model: str,
    credentials: Credentials,
    timeout: float,
    send: Callable[[VisionRequest], Awaitable[Outcome]],
    headers: Mapping[str, str] | None = None,
    *,
    show_provider_messages: bool = True,
) -> Check:
    """Check the connection to a server: list its models, and send a test request if `model` is set.

    If the model answers, the check succeeds even if the list failed (`transformers serve` lists no models). `timeout`:
    seconds for each of the two requests. `send`: sends the test request, and returns the answer or the error.
    """
    models: tuple[Model, ...] = ()
    failure: ProviderError | None = None
    try:
        models = await client.models(credentials, timeout, headers)
        count = f"{len(models)} model{'' if len(models) == 1 else 's'} listed."
        listed = Step("list_models", "success", count)
    except ProviderError as error:
        failure = error
        sentence = error.describe(show_provider_message=show_provider_messages)
        listed = Step("list_models", "failed", error=sentence)
    start = Step("initialize_client", "success", f"The client for {client.spec.title} is ready.")
    if not model or isinstance(failure, _FINAL):
        return Check((start, listed), models)
    options = Options(_MAX_TOKENS if "max_tokens" in client.spec.takes else None)
    request = VisionRequest(
        model, _PROMPT, timeout, _IMAGE, schema=_SCHEMA, options=options, credentials=credentials, schema_name=_NAME
    )
    outcome = await send(request)
    while isinstance(outcome, ProviderError) and outcome.may_be_schema and (lowered := client.lower(request)):
        request, outcome = lowered, await send(lowered)
    enforced = _enforced(request, outcome)
    tested = _test_step(request, outcome, enforced, models, show_provider_messages)
    answered = tested.status == "success"
    return Check(
        (start, tested) if answered and failure else (start, listed, tested),
        models,
        model,
        _warnings(client.spec.title, model, models, outcome, enforced) if answered else (),
        response_model=outcome.model if isinstance(outcome, Completion) else "",
        images=True if answered else False if isinstance(outcome, errors.ModelWithoutVision) else None,
        schema_enforced=enforced,
    )


def _test_step(
    request: VisionRequest, outcome: Outcome, enforced: bool | None, models: tuple[Model, ...], show_message: bool
) -> Step:
    if isinstance(outcome, ProviderError) and not isinstance(outcome, _ANSWERED):
        sentence = outcome.describe(show_provider_message=show_message)
        if models and isinstance(outcome, errors.UnknownModel):
            more = f" and {len(models) - _LISTED} more" if len(models) > _LISTED else ""
            sentence += f" It lists {', '.join(model.id for model in models[:_LISTED])}{more}."
        return Step("test_chat_completion", "failed", error=sentence)
    schema = {True: " and followed the schema", False: " and ignored the schema", None: ""}[enforced]
    name = outcome.model if isinstance(outcome, Completion) else request.model
    alias = f" (the server calls it {name})" if name != request.model else ""
    return Step("test_chat_completion", "success", f"{request.model}{alias} accepted an image{schema}.")


def _enforced(request: VisionRequest, outcome: Outcome) -> bool | None:
    """Return whether the server enforced the schema, or None without an answer."""
    if not isinstance(outcome, Completion):
        return None
    try:
        answer = json.loads(outcome.text, strict=False)
    except (ValueError, RecursionError):
        return False
    follows = isinstance(answer, dict) and list(answer) == ["answer"] and answer["answer"] in _WORDS
    return follows and request.output_mode.startswith("json_schema")


def _warnings(
    title: str, model: str, models: tuple[Model, ...], outcome: Outcome, enforced: bool | None
) -> tuple[str, ...]:
    """Return warnings about an answer. llama.cpp's servers use their loaded model for any model name (measured)."""
    warnings: list[str] = []
    if not any(model in (row.id, row.name) for row in models):
        warnings.append(f"{title} does not list {model}; another model may have answered.")
    if isinstance(outcome, Completion):
        warnings += outcome.warnings
    if enforced is False:
        warnings.append(f"{title} did not enforce the schema: captions are validated, and may take several calls.")
    return tuple(warnings)

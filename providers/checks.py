"""Steps of a connection check. The caller sends the test request, through its own queue and limits:

listing = await list_models(client, credentials, timeout)
if model and not listing.is_final:
    request = make_request(client, model, timeout, credentials)
    while (outcome := <send request>) is an error and (lowered := simpler(client, request, outcome)):
        request = lowered
    check = judge(client, listing, request, outcome)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pybase64 import b64decode

from providers.base import (
    NO_HEADERS,
    BaseClient,
    Completion,
    Credentials,
    Image,
    Model,
    Options,
    VisionRequest,
)
from providers.errors import (
    AuthFailed,
    Blocked,
    CallTimeout,
    ModelWithoutVision,
    ProviderError,
    Refused,
    SchemaRejected,
    ServerFailed,
    Truncated,
    UnknownModel,
    UnparsableOutput,
    Unreachable,
)

_PROMPT = "Reply with the word OK."
_WORDS = ("image-received", "no-image")
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": list(_WORDS)}},
    "required": ["answer"],
    "additionalProperties": False,
}
"""If the server does not enforce the schema, the model follows the prompt and replies OK."""
_MAX_TOKENS = 64
_LISTED = 5
_FINAL = (AuthFailed, Unreachable, CallTimeout)
_ANSWERED = (Truncated, Refused, Blocked, UnparsableOutput)
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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a connection check. `error`: a sentence if `status` is "failed", otherwise ""."""

    step: Literal["initialize_client", "list_models", "test_chat_completion"]
    status: Literal["success", "failed"]
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of a connection check.

    `steps`: the steps that were run. `model`: the requested model, "" without a test request. `response_model`: the
    name that the server reports for the model. `images`: whether the model accepted an image. `schema_enforced`:
    whether the server enforced the schema. Both are None if the check could not determine this.
    """

    steps: tuple[Step, ...]
    models: tuple[Model, ...] = ()
    model: str = ""
    warnings: tuple[str, ...] = ()
    response_model: str = ""
    images: bool | None = None
    schema_enforced: bool | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Result of listing the models. `failure`: the error, None if the server listed its models."""

    models: tuple[Model, ...] = ()
    failure: ProviderError | None = None

    @property
    def is_final(self) -> bool:
        """Return whether a test request would fail with the same error."""
        return isinstance(self.failure, _FINAL)


async def list_models(
    client: BaseClient, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
) -> Listing:
    """List the models of a server. `timeout` is in seconds. A ProviderError is returned in the Listing, not raised."""
    try:
        return Listing(await client.models(credentials, timeout, headers))
    except ProviderError as error:
        return Listing(failure=error)


def make_request(
    client: BaseClient, model: str, timeout: float, credentials: Credentials, headers: Mapping[str, str] = NO_HEADERS
) -> VisionRequest:
    """Build the test request, with a tiny image and a schema with one enum. `timeout` is in seconds."""
    return VisionRequest(
        model=model,
        prompt=_PROMPT,
        timeout=timeout,
        image=_IMAGE,
        schema=_SCHEMA,
        schema_name="connection_test",
        options=Options(max_tokens=_MAX_TOKENS if "max_tokens" in client.spec.takes else None),
        credentials=credentials,
        headers=headers,
    )


def simpler(client: BaseClient, request: VisionRequest, error: ProviderError) -> VisionRequest | None:
    """Return the request in the next less strict output mode if the schema may have caused the error, else None."""
    may_be_schema = isinstance(error, SchemaRejected) or (isinstance(error, ServerFailed) and error.may_be_schema)
    return client.lower(request) if may_be_schema else None


def judge(
    client: BaseClient,
    listing: Listing,
    request: VisionRequest | None = None,
    outcome: Completion | ProviderError | None = None,
) -> Check:
    """Return the result of a check.

    `request`: the test request; `outcome`: its answer or error. Both are None if no test request was sent. If listing
    the models failed but the model answered, the check succeeds (transformers serve lists no models).
    """
    title = client.spec.title
    start = Step("initialize_client", "success", f"The client for {title} is ready.")
    listed = _list_step(listing)
    if request is None or outcome is None:
        return Check((start, listed), listing.models)
    tested = _test_step(request, outcome, listing.models)
    answered = tested.status == "success"
    steps = (start, tested) if answered and listing.failure else (start, listed, tested)
    notes = [*_unlisted(title, request.model, listing, answered)]
    enforced = _enforced(request, outcome)
    if isinstance(outcome, Completion):
        notes += outcome.warnings
        if enforced is False:
            notes.append(f"{title} did not enforce the schema: captions are validated, and may take several calls.")
    return Check(
        steps,
        listing.models,
        request.model,
        tuple(notes),
        response_model=outcome.model if isinstance(outcome, Completion) else "",
        images=True if answered else False if isinstance(outcome, ModelWithoutVision) else None,
        schema_enforced=enforced,
    )


def _list_step(listing: Listing) -> Step:
    if listing.failure is not None:
        return Step("list_models", "failed", error=listing.failure.message)
    count = len(listing.models)
    return Step("list_models", "success", f"{count} model{'' if count == 1 else 's'} listed.")


def _test_step(request: VisionRequest, outcome: Completion | ProviderError, models: tuple[Model, ...]) -> Step:
    if isinstance(outcome, ProviderError) and not isinstance(outcome, _ANSWERED):
        known = _known(models) if isinstance(outcome, UnknownModel) else ""
        return Step("test_chat_completion", "failed", error=f"{outcome.message}{known}")
    enforced = _enforced(request, outcome)
    schema = {True: " and followed the schema", False: " and ignored the schema", None: ""}[enforced]
    name = outcome.model if isinstance(outcome, Completion) else request.model
    alias = f" (the server calls it {name})" if name != request.model else ""
    return Step("test_chat_completion", "success", f"{request.model}{alias} accepted an image{schema}.")


def _enforced(request: VisionRequest, outcome: Completion | ProviderError) -> bool | None:
    """Return whether the server enforced the schema, or None if there is no answer."""
    if not isinstance(outcome, Completion):
        return None
    try:
        answer = json.loads(outcome.text, strict=False)
    except (ValueError, RecursionError):
        return False
    follows = isinstance(answer, dict) and list(answer) == ["answer"] and answer["answer"] in _WORDS
    return follows and request.output_mode.startswith("json_schema")


def _known(models: tuple[Model, ...]) -> str:
    """Return a sentence with the first models that the server lists, "" if it lists none."""
    more = len(models) - _LISTED
    names = ", ".join(model.id for model in models[:_LISTED])
    return f" It lists {names}{f' and {more} more' if more > 0 else ''}." if models else ""


def _unlisted(title: str, model: str, listing: Listing, answered: bool) -> list[str]:
    """Warn that the model is not listed. llama.cpp's servers answer with their loaded model to any name (measured)."""
    if not answered:
        return []
    if listing.failure is not None:
        return [f"{title} lists no models, but {model} answered."]
    if not listing.models or any(model in (row.id, row.name) for row in listing.models):
        return []
    return [f"{title} does not list {model}; another model may have answered."]

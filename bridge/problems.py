"""The one table from an error to what a client is told of it.

    the request        InvalidJson · BodyTooLarge · InvalidRequest · TooManyRequests (on one socket) · Busy
                       · TooOften · Unauthorized · OriginRefused
    the perspective    perspectives.errors: UnknownPerspective · UnknownModule · InvalidPerspective · MissingVariables
                       · UnknownVariables
    the image          images.errors: PathRefused · ImageNotFound · ImageTooLarge · UnsupportedImage · InvalidImage
                       · ImageUnreachable;  network.AddressRefused
    who answers        dispatch.errors: UnknownProvider · MissingProvider · MissingModel · MissingBaseUrl
                       · InvalidBaseUrl · ProviderNotAllowed · Overloaded · AllOpen
    the provider       providers.errors, every one (UnknownKind is the request's fault)
    the answer         structured.AnswerInvalid · NothingToSynthesize · Cancelled (in events only)
    the time           deadline.DeadlineExceeded · ShuttingDown

Every class stands in TABLE once; a test finds any that does not. Anything else is a bug of ours: 500, logged
with its trace, told without it.
"""

import logging
from dataclasses import dataclass
from math import ceil
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from bridge.captioning import errors as request_errors
from bridge.captioning.report import attempts
from bridge.captioning.structured import AnswerInvalid
from bridge.captioning.types import Attempt
from bridge.deadline import DeadlineExceeded
from bridge.dispatch import errors as dispatch_errors
from bridge.images import errors as image_errors
from bridge.network import AddressRefused
from perspectives import errors as perspective_errors
from providers import errors as provider_errors

log = logging.getLogger("graphcap")
_LONGEST = 1e9  # seconds that a client may be told to wait


@dataclass(frozen=True, slots=True)
class Row:
    """How one class of error is told."""

    status: int
    code: str
    title: str
    retryable: bool = False


TABLE: dict[type[Exception], Row] = {
    request_errors.InvalidJson: Row(400, "invalid_json", "The body is not JSON"),
    request_errors.BodyTooLarge: Row(413, "body_too_large", "The request is too large"),
    request_errors.InvalidRequest: Row(422, "invalid_request", "The request is not valid"),
    perspective_errors.UnknownPerspective: Row(404, "unknown_perspective", "Unknown perspective"),
    perspective_errors.UnknownModule: Row(404, "unknown_module", "Unknown module"),
    perspective_errors.InvalidPerspective: Row(422, "invalid_perspective", "The perspective is not valid"),
    perspective_errors.MissingVariables: Row(422, "missing_variables", "Variables are missing"),
    perspective_errors.UnknownVariables: Row(422, "invalid_request", "Unknown variables"),
    image_errors.PathRefused: Row(403, "path_refused", "The path is refused"),
    AddressRefused: Row(403, "address_refused", "The address is refused"),
    image_errors.ImageNotFound: Row(404, "image_not_found", "Image not found"),
    image_errors.ImageTooLarge: Row(413, "image_too_large", "The image is too large"),
    image_errors.UnsupportedImage: Row(415, "unsupported_image", "Not a supported image"),
    image_errors.InvalidImage: Row(422, "invalid_image", "The image cannot be read"),
    image_errors.UnknownResize: Row(422, "invalid_request", "Unknown resize preset"),
    image_errors.ImageUnreachable: Row(422, "image_unreachable", "The image cannot be fetched", retryable=True),
    dispatch_errors.ProviderNotAllowed: Row(403, "provider_not_allowed", "This provider is not allowed"),
    dispatch_errors.Overloaded: Row(503, "overloaded", "Too many requests wait", retryable=True),
    dispatch_errors.AllOpen: Row(503, "provider_unavailable", "The provider is left alone", retryable=True),
    dispatch_errors.UnknownProvider: Row(404, "unknown_provider", "Unknown provider"),
    provider_errors.UnknownKind: Row(422, "invalid_request", "Unknown kind of provider"),
    dispatch_errors.MissingProvider: Row(422, "invalid_request", "No provider chosen"),
    dispatch_errors.MissingModel: Row(422, "invalid_request", "No model named"),
    dispatch_errors.MissingBaseUrl: Row(422, "invalid_request", "No base URL"),
    dispatch_errors.InvalidBaseUrl: Row(422, "invalid_request", "Not a base URL"),
    provider_errors.UnknownModel: Row(404, "unknown_model", "Unknown model"),
    provider_errors.ContextTooLong: Row(422, "context_too_long", "Too long for the model"),
    provider_errors.Refused: Row(422, "refused", "The model refused"),
    provider_errors.Blocked: Row(422, "blocked", "The provider blocked it"),
    provider_errors.RateLimited: Row(429, "provider_rate_limited", "The provider limits its rate", retryable=True),
    provider_errors.QuotaExceeded: Row(402, "provider_quota", "The provider's account is out of credit"),
    provider_errors.AuthFailed: Row(502, "provider_auth", "The provider rejected the key"),
    provider_errors.SchemaRejected: Row(502, "provider_error", "The provider rejected the schema"),
    provider_errors.RequestRejected: Row(502, "provider_error", "The provider rejected the request"),
    provider_errors.WrongPath: Row(502, "provider_error", "The base URL leads elsewhere"),
    provider_errors.BadReply: Row(502, "provider_error", "The provider's reply is broken", retryable=True),
    provider_errors.ServerFailed: Row(502, "provider_error", "The provider failed", retryable=True),
    provider_errors.Unreachable: Row(502, "provider_unreachable", "The provider cannot be reached", retryable=True),
    provider_errors.Unavailable: Row(503, "provider_unavailable", "The provider is unavailable", retryable=True),
    provider_errors.CallTimeout: Row(504, "timeout", "The provider was too slow", retryable=True),
    provider_errors.Truncated: Row(502, "answer_truncated", "The answer was cut off"),
    AnswerInvalid: Row(502, "answer_invalid", "The answer does not fit", retryable=True),
    request_errors.TooManyRequests: Row(503, "overloaded", "Too many requests at once", retryable=True),
    request_errors.Busy: Row(503, "overloaded", "The service is full", retryable=True),
    request_errors.TooOften: Row(429, "rate_limited", "Too many requests", retryable=True),
    request_errors.ShuttingDown: Row(503, "shutting_down", "The service is shutting down", retryable=True),
    request_errors.Unauthorized: Row(401, "unauthorized", "A key is wanted"),
    request_errors.OriginRefused: Row(403, "origin_refused", "The origin is refused"),
    request_errors.NothingToSynthesize: Row(502, "answer_invalid", "Nothing to bring together", retryable=True),
    request_errors.Cancelled: Row(503, "cancelled", "Cancelled", retryable=True),
    DeadlineExceeded: Row(504, "timeout", "The time ran out", retryable=True),
}
NO_ROUTE = Row(404, "not_found", "Nothing here")
NO_METHOD = Row(405, "method_not_allowed", "Method not allowed")
NOT_HTTP = Row(400, "invalid_request", "Not a request")
SLOW = Row(408, "timeout", "Sent too slowly", retryable=True)
LARGE_HEAD = Row(431, "invalid_request", "The head is too large")
BUG = Row(500, "internal_error", "The service failed")
OTHERS = (NO_ROUTE, NO_METHOD, NOT_HTTP, SLOW, LARGE_HEAD, BUG)
"""The rows of what is no class of ours."""


class Detail(BaseModel):
    """One thing that is wrong, and where."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the request, perspective or answer.")
    message: str


class Problem(BaseModel):
    """What a client is told of an error: RFC 9457 members, and a machine's code."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for a person.")
    instance: str = Field(description="The request's id.")
    message: str = Field(description="The same sentence as `detail`.")
    code: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retry_after: float | None = Field(None, description="Seconds to wait, where that is known.")
    provider: str | None = None
    errors: list[Detail] | None = None
    attempts: list[Attempt] | None = Field(None, description="Every call to a provider that was made before it failed.")

    @model_serializer(mode="wrap")
    def _without_unknown(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # noqa: ANN202
        """What is not known is absent. (A return type here would replace the fields in the JSON Schema.)"""
        return {name: value for name, value in write(self).items() if value is not None}


def tell(row: Row, detail: str, instance: str = "", **extra: Any) -> Problem:
    """A problem of this row with this sentence."""
    return Problem(
        type=f"urn:graphcap:problem:{row.code}",
        title=row.title,
        status=row.status,
        detail=detail,
        instance=instance,
        message=detail,
        code=row.code,
        retryable=row.retryable,
        **extra,
    )


def row_of(error: Exception) -> Row:
    """The row of the error's class or its nearest ancestor; BUG when there is none."""
    return next((TABLE[one] for one in type(error).__mro__ if one in TABLE), BUG)


def code_of(error: Exception) -> str:
    """The code it is told by."""
    return row_of(address_refused(error) or error).code


def report(error: Exception, instance: str) -> Problem:
    """What a client is told of `error`, which no outer layer will see: a bug of ours is logged here."""
    told = problem(error, instance)
    if told.code == BUG.code:
        log.error("bug in request %s", instance, exc_info=error)
    return told


def problem(error: Exception, instance: str = "") -> Problem:
    """What a client is told of `error`; `instance` is the request's id."""
    refused = address_refused(error)
    error = refused or error
    row = row_of(error)
    if row is BUG:
        return tell(
            row,
            "The service failed on this request. Its log has the details under this request's id.",
            instance,
        )
    return tell(
        row,
        str(error),
        instance,
        provider=getattr(error, "provider", None),
        retry_after=_rounded(getattr(error, "retry_after", None)),
        errors=details(error) or None,
        attempts=attempts(getattr(error, "attempts", ())) or None,
    )


def _rounded(seconds: float | None) -> float | None:
    """Up, to hundredths; a server may say 1e308."""
    return None if seconds is None else ceil(min(seconds, _LONGEST) * 100) / 100


def address_refused(error: BaseException) -> AddressRefused | None:
    """The refused address behind a provider's connection error: the guard speaks through the SDK's transport."""
    cause: BaseException | None = error
    for _ in range(12):
        if cause is None or isinstance(cause, AddressRefused):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def details(error: Exception) -> list[Detail]:
    """Every pointer the error knows."""
    if isinstance(error, dispatch_errors.DispatchError) and (pointer := getattr(error, "pointer", "")):
        return [Detail(pointer=pointer, message=str(error))]
    found = []
    for one in getattr(error, "problems", ()):
        pointer, message = one if isinstance(one, tuple) else (one.pointer, one.message)
        found.append(Detail(pointer=pointer, message=message))
    return found

"""Render an exception as the problem that a client receives (RFC 9457 members and a machine-readable code)."""

import logging
from math import ceil
from typing import Any

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer

from bridge.captioning.models import Attempt
from bridge.captioning.report import attempts
from bridge.errors import BUG, AddressRefused, DispatchError, Row, row_of

log = logging.getLogger("graphcap")
_MAX_RETRY_AFTER = 1e9  # seconds
_MAX_CHAIN = 12


class Detail(BaseModel):
    """One mistake and its place."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the request, perspective or answer.")
    message: str


class Problem(BaseModel):
    """An error as a client receives it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for a person.")
    instance: str = Field(description="The request id.")
    message: str = Field(description="The same sentence as `detail`.")
    code: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retry_after: float | None = Field(None, description="Seconds to wait, where that is known.")
    provider: str | None = None
    errors: list[Detail] | None = None
    attempts: list[Attempt] | None = Field(None, description="Every provider call that was made before the failure.")

    @model_serializer(mode="wrap")
    def _omit_none(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # noqa: ANN202
        """Omit members that are None. (A return type here would replace the fields in the JSON Schema.)"""
        return {name: value for name, value in write(self).items() if value is not None}


def from_row(row: Row, detail: str, instance: str = "", **members: Any) -> Problem:
    """Return the problem of this row with `detail` as its sentence; `instance` is the request id."""
    return Problem(
        type=f"urn:graphcap:problem:{row.code}",
        title=row.title,
        status=row.status,
        detail=detail,
        instance=instance,
        message=detail,
        code=row.code,
        retryable=row.retryable,
        **members,
    )


def code_of(error: Exception) -> str:
    """Return the code that `error` is reported with."""
    return row_of(address_refused(error) or error).code


def report(error: Exception, instance: str) -> Problem:
    """Return the problem for `error`, and log it when it is a bug."""
    problem = from_error(error, instance)
    if problem.code == BUG.code:
        log.error("bug in request %s", instance, exc_info=error)
    return problem


def from_error(error: Exception, instance: str = "") -> Problem:
    """Return the problem for `error`; `instance` is the request id."""
    error = address_refused(error) or error
    row = row_of(error)
    if row is BUG:
        return from_row(row, "An internal error occurred. The log has the details under this request id.", instance)
    return from_row(
        row,
        str(error),
        instance,
        provider=getattr(error, "provider", None),
        retry_after=_round_up(getattr(error, "retry_after", None)),
        errors=details(error) or None,
        attempts=attempts(getattr(error, "attempts", ())) or None,
    )


def _round_up(seconds: float | None) -> float | None:
    """Round up to hundredths, at most 1e9 (a server may send 1e308)."""
    return None if seconds is None else ceil(min(seconds, _MAX_RETRY_AFTER) * 100) / 100


def address_refused(error: BaseException) -> AddressRefused | None:
    """Return the AddressRefused in the cause chain of a connection error; None when there is none."""
    cause: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        if cause is None or isinstance(cause, AddressRefused):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def details(error: Exception) -> list[Detail]:
    """Return every mistake that the error lists, with its JSON Pointer."""
    if isinstance(error, DispatchError) and error.pointer:
        return [Detail(pointer=error.pointer, message=str(error))]
    found = []
    for problem in getattr(error, "problems", ()):
        pointer, message = problem if isinstance(problem, tuple) else (problem.pointer, problem.message)
        found.append(Detail(pointer=pointer, message=message))
    return found

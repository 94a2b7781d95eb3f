"""Render an exception as the problem that a client receives."""

import logging
from collections.abc import Iterable
from math import ceil
from typing import Any

from bridge import run as runs
from bridge.captioning.models import Attempt, Detail, Problem
from bridge.deadline import DeadlineExceeded
from bridge.errors import (
    BUG,
    AddressRefused,
    DispatchError,
    OutputInvalid,
    ProviderUnavailable,
    Row,
    row_of,
)
from bridge.run import Run
from providers.errors import ProviderError

log = logging.getLogger("graphcap")
_MAX_RETRY_AFTER = 1e9  # seconds
_MAX_CHAIN = 12
_OF_PROVIDER = (ProviderError, OutputInvalid, ProviderUnavailable)


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


def report(error: Exception, run: Run) -> Problem:
    """Return the problem for `error`, and log it when it is a bug."""
    problem = from_error(error, run)
    if problem.code == BUG.code:
        log.error("bug in request %s", run.request_id, exc_info=error)
    return problem


def from_error(error: Exception, context: Run | str = "") -> Problem:
    """Return the problem for `error`. `context`: the run that failed, or only its request id."""
    run, instance = (context, context.request_id) if isinstance(context, Run) else (None, context)
    error = address_refused(error) or error
    row = row_of(error)
    if row is BUG:
        return from_row(row, "An internal error occurred. The log has the details under this request id.", instance)
    called = isinstance(error, (*_OF_PROVIDER, DeadlineExceeded))
    return from_row(
        row,
        str(error),
        instance,
        provider=run.provider if run and isinstance(error, _OF_PROVIDER) else None,
        retry_after=_round_up(getattr(error, "retry_after", None)),
        errors=details(error) or None,
        attempts=(attempts(run.attempts.made) or None) if run and called else None,
    )


def attempts(made: Iterable[runs.Attempt]) -> list[Attempt]:
    """Return the provider calls as a response shows them."""
    return [
        Attempt(
            provider=attempt.provider,
            endpoint=attempt.endpoint,
            model=attempt.model,
            outcome=attempt.outcome,
            output_mode=attempt.output_mode,
            ms=round(attempt.seconds * 1000, 1),
            status=attempt.status,
            provider_message=attempt.provider_message or None,
            raw_text=attempt.raw_text or None,
        )
        for attempt in made
    ]


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
    listed = []
    for problem in getattr(error, "problems", ()):
        pointer, message = problem if isinstance(problem, tuple) else (problem.pointer, problem.message)
        listed.append(Detail(pointer=pointer, message=message))
    return listed

"""Render an exception as the problem that a client receives."""

import logging
from dataclasses import replace
from math import ceil
from typing import Any

from bridge.captioning.models import Attempt, Detail, Problem
from bridge.deadline import DeadlineExceeded
from bridge.errors import BUG, AddressRefused, DispatchError, OutputInvalid, ProviderUnavailable, Row, row_of
from bridge.run import Run
from providers.errors import ProviderError

log = logging.getLogger("graphcap")
_MAX_RETRY_AFTER = 1e9  # seconds
PROVIDER_ERRORS = (ProviderError, OutputInvalid, ProviderUnavailable)
"""Errors after which a fallback is called."""


def from_row(row: Row, detail: str, instance: str = "", **members: Any) -> Problem:
    """Build the problem for a row of the error table. `detail`: one sentence. `instance`: the request id."""
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
    return row_of(_reported(error)).code


def report(error: Exception, context: Run | str) -> Problem:
    """Return the problem for `error`. If the error is a bug, log it. `context`: as in `from_error`."""
    problem = from_error(error, context)
    if problem.code == BUG.code:
        log.error("bug in request %s", problem.instance, exc_info=error)
    return problem


def from_error(error: Exception, context: Run | str = "") -> Problem:
    """Return the problem for `error`. `context`: the failed run, or its request id."""
    run, instance = (context, context.request_id) if isinstance(context, Run) else (None, context)
    error = _reported(error)
    row = row_of(error)
    if row is BUG:
        return from_row(row, "An internal error occurred. The log has the details under this request id.", instance)
    problem = from_row(
        row,
        str(error),
        instance,
        retry_after=_round_up(getattr(error, "retry_after", None)),
        errors=_details(error) or None,
    )
    if run is not None:
        _add_calls(problem, error, run)
    return problem


def _add_calls(problem: Problem, error: Exception, run: Run) -> None:
    """Add the provider calls before `error` to the problem, with the provider's message if it may be shown."""
    if isinstance(error, (*PROVIDER_ERRORS, DeadlineExceeded, AddressRefused)):
        problem.attempts = attempts(run) or None
    if isinstance(error, PROVIDER_ERRORS):
        problem.provider = run.provider
    if isinstance(error, ProviderError):
        text = error.describe(show_provider_message=run.provider_messages == "show")
        problem.detail = problem.message = text


def attempts(run: Run) -> list[Attempt]:
    """Return the run's provider calls for a response, without hidden messages.

    An invalid answer (`raw_text`) is hidden like a message, because some servers return errors as answers.
    """
    calls = run.attempts.calls
    if run.provider_messages != "show":
        calls = [replace(attempt, provider_message="", raw_text="") for attempt in calls]
    return [Attempt.model_validate(attempt) for attempt in calls]


def _round_up(seconds: float | None) -> float | None:
    """Round seconds up to hundredths. The result is at most 1e9: servers may send 1e308."""
    return None if seconds is None else ceil(min(seconds, _MAX_RETRY_AFTER) * 100) / 100


def _reported(error: Exception) -> Exception:
    """Return the AddressRefused that caused `error`, otherwise `error` itself."""
    return error.__cause__ if isinstance(error.__cause__, AddressRefused) else error


def _details(error: Exception) -> list[Detail]:
    """Return every mistake that the error lists, with its JSON Pointer."""
    if isinstance(error, DispatchError) and error.pointer:
        return [Detail(pointer=error.pointer, message=str(error))]
    return [Detail(pointer=each.pointer, message=each.message) for each in getattr(error, "problems", ())]

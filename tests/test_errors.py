"""Every exception that can reach a caller has a row in the table of problems."""

import inspect
from types import ModuleType

import pytest

from bridge import deadline, errors
from bridge.captioning import problems
from bridge.deadline import Deadline
from bridge.run import Run
from perspectives import errors as perspective_errors
from providers import errors as provider_errors

BASES = {"DispatchError", "ImageError", "PerspectiveError", "ProviderError", "ProviderUnavailable"}
INTERNAL = {"NotDialled", "ValidationFailed"}  # replaced by another exception before they reach a caller
RUN = Run(Deadline(1), "id-1")


@pytest.mark.parametrize("module", [errors, deadline, perspective_errors, provider_errors], ids=lambda m: m.__name__)
def test_every_exception_has_a_row(module: ModuleType) -> None:
    for name, cls in inspect.getmembers(module, inspect.isclass):
        if issubclass(cls, Exception) and name not in BASES | INTERNAL:
            assert cls in errors.TABLE, f"{name} has no row"


def test_one_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for row in errors.TABLE.values():
        statuses.setdefault(row.code, set()).add(row.status)
    assert {code for code, each in statuses.items() if len(each) > 1} == {"timeout"}  # 408: the client is slow


def test_only_a_bug_is_logged_and_its_message_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert problems.report(deadline.DeadlineExceeded(1, "waiting"), RUN).code == "timeout"
    assert caplog.records == []
    problem = problems.report(RuntimeError("secret /srv/path"), RUN)
    assert (problem.status, problem.code, problem.instance) == (500, "internal_error", "id-1")
    assert "secret" not in problem.model_dump_json()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "bug in request id-1")
    assert "secret" in caplog.text


def test_a_huge_retry_after_is_limited() -> None:
    assert problems.from_error(provider_errors.RateLimited("x", retry_after=1e308)).retry_after == 1e9

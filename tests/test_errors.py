"""The table of errors has a row for every exception that can reach a client."""

import inspect
from types import ModuleType

import pytest

from bridge import deadline, errors
from bridge.captioning import problems
from bridge.run import Run
from perspectives import errors as perspective_errors
from providers import errors as provider_errors

MODULES = (errors, perspective_errors, provider_errors, deadline)


@pytest.mark.parametrize("module", MODULES, ids=[module.__name__ for module in MODULES])
def test_every_error_has_a_row(module: ModuleType) -> None:
    """A base class needs none: its subclasses are raised. ValidationFailed leads to a re-ask, then to OutputInvalid."""
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, Exception)]
    defined = [cls for cls in classes if cls.__module__ == module.__name__]
    without = [cls.__name__ for cls in defined if cls not in errors.TABLE and not cls.__subclasses__()]
    assert [name for name in without if name != "ValidationFailed"] == []


def test_one_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for row in errors.TABLE.values():
        statuses.setdefault(row.code, set()).add(row.status)
    assert {code for code, values in statuses.items() if len(values) > 1} == {"timeout"}  # 408: the client is slow


def test_a_bug_is_logged_and_reported_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(deadline.Deadline(1), "id-1")
    assert problems.report(deadline.DeadlineExceeded(1, "waiting"), run).code == "timeout"
    assert caplog.records == []
    problem = problems.report(RuntimeError("secret /srv/path"), run)
    assert (problem.status, problem.code, problem.instance) == (500, "internal_error", "id-1")
    assert "secret" not in problem.model_dump_json()
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "bug in request id-1")
    assert "secret /srv/path" in caplog.text

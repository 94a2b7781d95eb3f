"""Every error class of every room is told by exactly one row."""

import inspect
from types import ModuleType

import pytest

from bridge import deadline, errors, network
from bridge import errors as bridge_errors
from bridge.captioning import problems, structured
from perspectives import errors as perspective_errors
from providers import errors as provider_errors

ROOMS = (
    bridge_errors,
    structured,
    network,
    perspective_errors,
    provider_errors,
    deadline,
)
# Bases that are never raised themselves, and what is always turned into another error before it leaves.
NOT_TOLD = {
    "DispatchError",
    "ImageError",
    "PerspectiveError",
    "ProviderError",
    "ValidationFailed",
    "ProviderUnavailable",
}


def raised_in(room: ModuleType) -> list[type[Exception]]:
    return [one for _, one in inspect.getmembers(room, inspect.isclass) if issubclass(one, Exception)]


@pytest.mark.parametrize("room", ROOMS, ids=[room.__name__ for room in ROOMS])
def test_every_error_has_a_row(room: ModuleType) -> None:
    for error in raised_in(room):
        assert error in errors.TABLE or error.__name__ in NOT_TOLD, f"{error.__name__} is in no row"


def test_one_code_has_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for row in errors.TABLE.values():
        statuses.setdefault(row.code, set()).add(row.status)
    assert {code for code, found in statuses.items() if len(found) > 1} == {"timeout"}  # 408: the client is slow


def test_a_bug_of_ours_is_logged_where_it_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert problems.report(deadline.DeadlineExceeded(1, "waiting"), "id-1").code == "timeout"
    assert caplog.records == []
    assert problems.report(RuntimeError("of ours"), "id-2").code == "internal_error"
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "bug in request id-2")
    assert "of ours" in caplog.text


def test_a_bug_of_ours_is_told_without_its_words() -> None:
    told = problems.from_error(RuntimeError("secret /srv/path"), "id-1")
    assert (told.status, told.code, told.instance) == (500, "internal_error", "id-1")
    assert "secret" not in told.model_dump_json()


def test_a_wait_without_an_end_is_told() -> None:
    assert problems.from_error(provider_errors.RateLimited("x", retry_after=1e308)).retry_after == 1e9

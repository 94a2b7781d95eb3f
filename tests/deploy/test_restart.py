"""Restarted and killed bridges under load."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.deploy.fleet import Fleet, fleet
from tests.deploy.load import Load, Outcome
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

pytestmark = pytest.mark.slow
CALLERS = 6


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
def servers() -> Iterator[list[OpenAIServer]]:
    """Run three slow providers."""
    with ExitStack() as running:
        created = [running.enter_context(OpenAIServer("vllm")) for _ in range(3)]
        for item in created:
            item.default = b.Drip(interval=0.05, size=120)
        yield created


def test_a_rolling_restart_fails_no_request_and_repeats_no_call(bridges: Fleet, servers: list[OpenAIServer]) -> None:
    with Load(bridges.url, servers, CALLERS) as calling:
        for number in range(3):
            bridges.restart(number)
            calling.wait_for(12)
        outcomes = calling.stop()
        assert [item for item in outcomes if item.end != "ok"] == [], bridges.nginx.log
        assert {item.kind for item in outcomes} == {"post", "stream"}
        check_paid_once(calling)


def test_a_killed_bridge_fails_only_its_own_requests(bridges: Fleet, servers: list[OpenAIServer]) -> None:
    with Load(bridges.url, servers, CALLERS) as calling:
        before = len(calling.outcomes)
        bridges.kill(0)
        calling.wait_for(4 * CALLERS)
        outcomes = calling.stop()
        lost = [item for item in outcomes if item.end != "ok"]
        assert all(is_honest(item) for item in lost), lost
        assert all(item in outcomes[: before + 2 * CALLERS] for item in lost)
        assert len(lost) <= CALLERS
        check_paid_once(calling)


def is_honest(lost: Outcome) -> bool:
    """Return whether the failure is typed and retryable, or a cut stream."""
    if lost.problem is None:
        return lost.kind == "stream" and lost.end.startswith("cut")
    return lost.problem["code"] == "bridge_lost" and lost.problem["retryable"] is True


def check_paid_once(calling: Load) -> None:
    """Assert that every prompt reached a provider at most once, and every success exactly once."""
    prompts = calling.prompts()
    assert [prompt for prompt, count in prompts.items() if count > 1] == []
    assert {item.prompt for item in calling.outcomes if item.end == "ok"} <= prompts.keys()

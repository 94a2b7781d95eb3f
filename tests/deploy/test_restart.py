"""Bridges that are restarted, and one that is killed, while callers go on asking."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.fleet import fleet
from tests.deploy.load import Load, Outcome, load
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

pytestmark = pytest.mark.slow
CALLERS = 6


@pytest.fixture
def servers() -> Iterator[list[OpenAIServer]]:
    """Three providers that take their time."""
    with ExitStack() as running:
        made = [running.enter_context(OpenAIServer("vllm")) for _ in range(3)]
        for one in made:
            one.default = b.Drip(interval=0.05, size=120)
        yield made


def test_a_rolling_restart_fails_nobody_and_pays_nothing_twice(tmp_path: Path, servers: list[OpenAIServer]) -> None:
    with fleet(tmp_path) as bridges, load(bridges.url, servers, CALLERS) as calling:
        for number in range(3):
            bridges.restart(number)
            calling.wait_for(12)
        outcomes = calling.stop()
        assert [one for one in outcomes if one.end != "ok"] == [], bridges.nginx.log
        assert {one.kind for one in outcomes} == {"post", "stream", "socket"}
        check_paid_once(calling)


def test_a_bridge_that_is_killed_loses_what_it_carried_and_nothing_else(
    tmp_path: Path, servers: list[OpenAIServer]
) -> None:
    with fleet(tmp_path) as bridges, load(bridges.url, servers, CALLERS) as calling:
        before = len(calling.outcomes)
        bridges.kill(0)
        calling.wait_for(4 * CALLERS)
        outcomes = calling.stop()
        lost = [one for one in outcomes if one.end != "ok"]
        assert all(is_honest(one) for one in lost), lost
        assert all(one in outcomes[: before + 2 * CALLERS] for one in lost)
        assert len(lost) <= CALLERS
        check_paid_once(calling)


def is_honest(lost: Outcome) -> bool:
    """Typed and to be repeated; or a stream or socket that was open, and ended without its end."""
    if lost.problem is None:
        return lost.kind in ("stream", "socket") and lost.end.startswith("cut")
    return lost.problem["code"] == "bridge_lost" and lost.problem["retryable"] is True


def check_paid_once(calling: Load) -> None:
    """Every prompt reached a provider at most once, and every answer has been asked for."""
    prompts = calling.prompts()
    assert [prompt for prompt, count in prompts.items() if count > 1] == []
    assert {one.prompt for one in calling.outcomes if one.end == "ok"} <= prompts.keys()

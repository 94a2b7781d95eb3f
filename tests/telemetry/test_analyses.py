"""What an analysis took: its own stages, and the waits of perspectives that wait side by side."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api import streams
from tests.api.streams import SAMPLE, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD, scrape, studio, until, workspace
from tests.telemetry.lines import line

ASKED = {
    "perspectives": [inline(name) for name in ("first", "second", "third")],
    "synthesize": inline("all"),
    "image": {"path": SAMPLE},
    "provider": "studio",
}


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as running:
        yield running


@pytest.fixture(scope="module")
def service(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose provider gets one call at a time."""
    toml = studio(server.url, server.models, max_concurrency=1)
    with Service(workspace=workspace(tmp_path_factory.mktemp("work"), toml), GRAPHCAP_LOG="json") as running:
        yield running


def test_its_own_stages_are_counted_beside_those_of_its_captions(service: Service) -> None:
    before = scrape(service)
    assert streams.post(service, "/analyze", ASKED).status_code == 200
    after = scrape(service)
    counted = {"image": 1, "perspectives": 1, "synthesis": 1, "model": 4, "render": 4, "total": 4}
    for stage, times in counted.items():
        told = [one.of("bridge_stage_duration_seconds_count", stage=stage) for one in (before, after)]
        assert told[1] - told[0] == times, stage


def test_waits_side_by_side_are_told_as_the_longest(service: Service, server: OpenAIServer) -> None:
    server.reply(b.Hold(), b.Hold(), b.Hold())
    headers = {"X-Request-ID": "waits-1"}
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(streams.post, service, "/analyze", ASKED, headers=headers)
        until(service, lambda one: one.of("bridge_queue_depth") == 2)
        server.release()
        assert answer.result(HANG_GUARD).status_code == 200
    told = line(service, "waits-1")
    assert told["ms"] > told["queue_ms"] == told["stages"]["queue"] > 0

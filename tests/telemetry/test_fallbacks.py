"""A provider that is down is seen by what stands in for it, although it gets no call itself."""

from collections.abc import Iterator

import pytest

from tests.api import streams
from tests.api.streams import SAMPLE
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service
from tests.telemetry.figures import scrape, studio, until, workspace
from tests.telemetry.lines import line

SECOND = "second-vision"
DOWN = f"""
[providers.down]
kind = "vllm"
base_url = "http://127.0.0.1:9"
default_model = "gone"
breaker = {{ open_seconds = 600 }}
fallbacks = [{{ provider = "studio", model = "{SECOND}" }}]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm", models=("tiny-vision", SECOND)) as running:
        yield running


@pytest.fixture(scope="module")
def service(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose first provider is known to be down, so that it is not called."""
    toml = studio(server.url, server.models) + DOWN
    with Service(workspace=workspace(tmp_path_factory.mktemp("work"), toml), GRAPHCAP_LOG="json") as running:
        until(running, lambda one: one.of("bridge_breaker_state", provider="down") == 2)
        yield running


def test_who_stands_in_for_one_that_is_down_is_counted(service: Service, server: OpenAIServer) -> None:
    body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "down"}
    server.reply(b.WrongSchema(), b.Answer())
    answer = streams.post(service, "/caption", body, headers={"X-Request-ID": "down-1"})
    assert [one["provider"] for one in answer.json()["attempts"]] == ["studio", "studio"]
    told = line(service, "down-1")
    assert (told["calls"], told["fallbacks"], told["reasks"]) == (2, 1, 1)
    after = scrape(service)
    assert after.of("bridge_fallbacks_total", provider="studio") == 1
    assert after.of("bridge_reasks_total", provider="studio") == 1


def test_a_model_that_a_fallback_names_is_counted_by_its_name(service: Service) -> None:
    before = scrape(service)
    body = {"perspective": "alt_text", "image": {"path": SAMPLE}, "provider": "down"}
    assert streams.post(service, "/caption", body).json()["model"] == SECOND
    assert streams.post(service, "/caption", {**body, "provider": "studio", "model": "mine"}).status_code == 404
    after = scrape(service)
    for model in (SECOND, "other"):
        labels = {"provider": "studio", "model": model}
        grown = [one.of("bridge_provider_calls_total", **labels) for one in (before, after)]
        assert grown[1] - grown[0] == 1, model

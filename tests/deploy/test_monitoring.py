"""The dashboard and the alert rules use metrics that a running service exports."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bridge import errors
from bridge.dispatch.endpoint import outcome
from bridge.telemetry import metrics
from providers import errors as provider_errors
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE, inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, Service
from tests.telemetry.figures import Figures, scrape_until, studio, workspace

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/graphcap-bridge.json").read_text("utf-8"))
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text("utf-8"))
SERIES = re.compile(r"\b(bridge_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\bby\s*\(([^)]*)\)")
EMPTY = {"bridge_key_requests_total": [{"key": "key-1"}]}  # not exported without API keys
# Labels that Prometheus adds to every series.
ADDED = {"instance", "job"}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Figures]:
    """Scrape a service that has used every feature once."""
    with OpenAIServer("vllm") as server:
        toml = studio(server.url, server.models, max_concurrency=2)
        with Service(workspace=workspace(tmp_path_factory.mktemp("work"), toml)) as service:
            ask = {"perspective": inline(), "image": {"path": SAMPLE}, "provider": "studio"}
            server.reply(b.WrongSchema(), b.Status(503, retry_after=0), b.Answer())
            streams.post(service, "/caption", ask)
            server.reply(b.RejectSchema(), b.Answer())
            streams.post(service, "/caption", ask)
            server.reply(b.Status(401))
            streams.post(service, "/caption", {**ask, "fallbacks": [{"provider": "builtin"}]})
            service.get("/nothing")
            with socket(service) as item:
                item.send("caption", "a1", perspective="alt_text", image={"path": SAMPLE})
                item.all_events("a1", "alt_text")
            yield scrape_until(service, lambda result: result.labels("bridge_provider_up") != [])


def expressions() -> list[tuple[str, str]]:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    shown = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    variables = [(item["name"], item["query"]["query"]) for item in DASHBOARD["templating"]["list"][1:]]
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    return [*shown, *variables, *((rule["alert"], rule["expr"]) for rule in rules)]


@pytest.mark.slow
@pytest.mark.parametrize(("title", "expression"), expressions())
def test_every_queried_metric_exists(figures: Figures, title: str, expression: str) -> None:
    requests = SERIES.findall(expression)
    assert requests or "up{" in expression
    offered: set[str] = set(ADDED)
    for name, matchers in requests:
        data = EMPTY.get(name) or figures.labels(name)
        assert data, f"{name} is not exported"
        labels = {label for item in data for label in item} | ADDED
        assert {label for label, _, _ in MATCHER.findall(matchers)} <= labels
        offered |= labels
    for labels in GROUPING.findall(expression):
        assert {item.strip() for item in labels.split(",")} <= offered
    for call in ("rate", "increase"):  # only for counters
        for name in re.findall(rf"{call}\((bridge_\w+)", expression):
            assert name.endswith(("_total", "_bucket", "_sum", "_count"))
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_on_the_dashboard() -> None:
    series = (name for _, expression in expressions() for name, _ in SERIES.findall(expression))
    assert {name for name, *_ in metrics.TABLE} == {re.sub(r"_(bucket|sum|count)$", "", name) for name in series}


def test_every_queried_label_value_exists() -> None:
    codes = {row.code for row in (*errors.TABLE.values(), errors.BUG, errors.NO_ROUTE)}
    classes = [item for item in vars(provider_errors).values() if isinstance(item, type)]
    ends = {outcome(item("")) for item in classes if issubclass(item, provider_errors.ProviderError)}
    for title, expression in expressions():
        for name, matchers in SERIES.findall(expression):
            known = ends if "calls" in name else codes
            for label, _, value in MATCHER.findall(matchers):
                if label in ("code", "outcome"):
                    for item in value.split("|"):
                        assert any(re.fullmatch(item, end) for end in known), f"{title}: {item} is no {label}"

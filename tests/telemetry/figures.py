"""Helpers for telemetry tests: metrics, log lines and a workspace with test servers as providers."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bridge.telemetry.record import FIELDS
from tests.service import WORKSPACE, Service, until


class Figures:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """Return the sum of all series of this name with these labels."""
        matching = (s for s in self.samples if s.name == name and labels.items() <= s.labels.items())
        return sum(sample.value for sample in matching)

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(sample.labels) for sample in self.samples if sample.name == name]


def scrape(service: Service, **headers: str) -> Figures:
    response = service.get("/metrics", **headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Figures(response.text)


def scrape_until(service: Service, matches: Callable[[Figures], bool]) -> Figures:
    """Return the first matching scrape, because gauges of other workers may be a second old."""
    return until(lambda: figures if matches(figures := scrape(service)) else None)


def workspace(folder: Path, toml: str) -> Path:
    """Create a workspace with the sample images and these providers."""
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "providers.toml").write_text(toml)
    shutil.copytree(WORKSPACE / "datasets", folder / "datasets")
    return folder


def studio(url: str, models: Iterable[str], **more: object) -> str:
    """Return the configuration of a provider called `studio`."""
    first = next(iter(models))
    lines = [f'kind = "vllm"\nbase_url = "{url}"\ndefault_model = "{first}"', *(f"{k} = {v}" for k, v in more.items())]
    return "[providers.studio]\n" + "\n".join(lines) + "\n"


def line(service: Service, identity: str, message: str = "request") -> dict[str, Any]:
    """Wait for the only log line of this request, and return its fields."""

    def matching() -> list[dict[str, Any]]:
        lines = (json.loads(text) for text in service.log.splitlines() if f'"{identity}"' in text)
        return [fields for fields in lines if fields["message"] == message]

    (fields,) = until(matching)
    assert set(fields) - {"time", "level", "logger", "message"} <= set(FIELDS)
    return fields

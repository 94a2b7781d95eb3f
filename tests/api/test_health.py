"""`/health` counts endpoints."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dispatch.gateway import STOPPED, gateway, provider, until
from tests.servers import OpenAIServer
from tests.service import Service


def health(service: Service) -> dict[str, Any]:
    report: dict[str, Any] = httpx.get(f"{service.url}/health", trust_env=False).json()
    return report


@pytest.mark.slow
def test_endpoints_are_counted_in_total_and_per_provider(tmp_path: Path) -> None:
    with OpenAIServer("vllm") as server:
        disabled = f'{{base_url = "{server.url}", enabled = false, name = "off"}}'
        toml = provider("pair", server.url, STOPPED, disabled, probe_interval="0.2") + provider("idle", server.url)
        with gateway(tmp_path, toml) as service:
            until(lambda: health(service)["endpoint_counts"] == {"total": 5, "healthy": 2, "unhealthy": 1}, 60)
            counts = {item["name"]: item["endpoint_counts"] for item in health(service)["providers"]}
    assert counts == {
        "builtin": {"total": 1, "healthy": 1, "unhealthy": 0},
        "pair": {"total": 3, "healthy": 1, "unhealthy": 1},
        "idle": {"total": 1, "healthy": 0, "unhealthy": 0},
    }

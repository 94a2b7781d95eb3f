"""A service with API keys: `/info` describes it without secrets, and other requests need a key."""

from collections.abc import Iterator

import httpx
import pytest

from bridge.version import __version__
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD, workspace

OURS, THEIRS = "our-own-key-12345", "sk-providers-key-12345"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    toml = f'[providers.studio]\nkind = "vllm"\nbase_url = "http://127.0.0.1:9"\napi_key = "{THEIRS}"\n'
    folder = workspace(tmp_path_factory.mktemp("private"), toml)
    with Service(workspace=folder, GRAPHCAP_API_KEYS=OURS, GRAPHCAP_MAX_QUEUE="7", GRAPHCAP_MODEL="tiny") as running:
        yield running


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return httpx.get(service.url + path, headers=headers, timeout=HANG_GUARD, trust_env=False)


@pytest.mark.slow
def test_info(service: Service) -> None:
    response = get(service, "/info", Authorization=f"Bearer {OURS}")
    info = response.json()
    assert info["version"] == __version__
    assert all(len(row["digest"]) > 16 and row["module"] and row["version"] for row in info["perspectives"])
    assert {row["name"] for row in info["modules"]} >= {"core", "publishing"}
    assert "studio" in info["providers"]
    assert info["limits"].items() >= {"queue": 7, "in_flight": 1024, "timeout_seconds": 120.0}.items()
    assert info["settings"].items() >= {"workers": 1, "model": "tiny", "api_keys": True, "tracing": False}.items()
    for secret in (OURS, THEIRS, "private"):
        assert secret not in response.text

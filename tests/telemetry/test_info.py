"""`/info` describes an instance, without secrets."""

from pathlib import Path

import httpx

from bridge.version import __version__
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD, workspace

OURS, THEIRS = "our-own-key-12345", "sk-providers-key-12345"


def test_info(tmp_path: Path) -> None:
    toml = f'[providers.studio]\nkind = "vllm"\nbase_url = "http://127.0.0.1:9"\napi_key = "{THEIRS}"\n'
    settings = {"GRAPHCAP_API_KEYS": OURS, "GRAPHCAP_MAX_QUEUE": "7", "GRAPHCAP_MODEL": "tiny", "GRAPHCAP_LOG": "json"}
    with Service(workspace=workspace(tmp_path / "w", toml), **settings) as service:
        shown = {"Authorization": f"Bearer {OURS}"}
        response = httpx.get(f"{service.url}/info", headers=shown, timeout=HANG_GUARD, trust_env=False)
    info = response.json()
    assert info["version"] == __version__
    assert all(len(one["digest"]) > 16 and one["module"] and one["version"] for one in info["perspectives"])
    assert {one["name"] for one in info["modules"]} >= {"core", "publishing"}
    assert "studio" in info["providers"]
    assert info["limits"].items() >= {"queue": 7, "in_flight": 1024, "timeout_seconds": 120.0}.items()
    assert info["settings"].items() >= {"workers": 1, "model": "tiny", "api_keys": True, "tracing": False}.items()
    for secret in (OURS, THEIRS, str(tmp_path)):
        assert secret not in response.text

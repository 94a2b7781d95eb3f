"""Targets: the provider, model and key that a request resolves to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import errors
from bridge.config.load import load as load_providers
from bridge.dispatch.targets import ProviderOverride, Target, TargetRequest, Targets
from bridge.network.policy import AddressPolicy
from bridge.settings import Settings

KEYS = {"OPENAI_API_KEY": "sk-own-openai", "GEMINI_API_KEY": "own-gemini", "OLLAMA_API_KEY": "own-ollama"}
TOML = """
[providers.studio]
kind = "vllm"
base_url = "http://gpu-1:8000"
api_key = "studio-key"
default_model = "qwen-vl"

[routing]
"qwen*" = "studio"
"""


Resolve = Callable[..., Target]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    """Return a function that resolves requests with TOML and KEYS."""
    (tmp_path / "providers.toml").write_text(TOML)
    configured = load_providers(tmp_path / "providers.toml", KEYS)

    def resolve(*request: Any, **settings: Any) -> Target:
        options = Settings(_env_file=None, **settings)
        policy = AddressPolicy("listed", tuple(options.provider_url_allow), ())
        fields = dict(zip(("provider", "model", "provider_config"), request, strict=False))
        return Targets(configured, options, policy).resolve(TargetRequest(**fields), "")

    return resolve


def override(kind: str, base_url: str | None = None, **fields: object) -> ProviderOverride:
    return ProviderOverride.model_validate({"kind": kind, "base_url": base_url, **fields})


@pytest.mark.parametrize(
    ("request_", "settings", "expected"),
    [
        ((), {}, ("builtin", "builtin", "measurements", True, "")),  # independent of configured keys
        (("studio",), {}, ("studio", "vllm", "qwen-vl", True, "studio-key")),
        ((None, "qwen3-vl:8b"), {}, ("studio", "vllm", "qwen3-vl:8b", True, "studio-key")),
        ((), {"provider": "ollama", "model": "llava"}, ("ollama", "ollama", "llava", True, "own-ollama")),
        # The kind selects the client; the name is only a label.
        (
            ("My 100% / own", "m", override("ollama", "http://127.0.0.1:9")),
            {},
            ("My 100% / own", "ollama", "m", False, ""),
        ),
        (("studio", "m", override("vllm", api_key="mine")), {}, ("studio", "vllm", "m", True, "mine")),
    ],
)
def test_provider_and_model_of_a_request(
    resolve: Resolve, request_: tuple[Any, ...], settings: dict[str, str], expected: tuple[object, ...]
) -> None:
    target = resolve(*request_, **settings)
    key = target.credentials.api_key
    assert (target.label, target.config.kind, target.model, target.trusted, key) == expected
    assert target.config.api_key == ""
    assert not key or key not in repr(target)


def test_allowed_base_urls_of_a_request(resolve: Resolve) -> None:
    configured_url = None, "m", override("vllm", "http://gpu-1:8000")
    unlisted = None, "m", override("vllm", "http://gpu-2:8000")
    assert resolve(*unlisted, host="127.0.0.1").config.base_url == "http://gpu-2:8000/v1"
    for settings in ({"host": "0.0.0.0"}, {"request_providers": "listed"}):
        assert resolve(*configured_url, **settings).trusted
        with pytest.raises(errors.ProviderNotAllowed):
            resolve(*unlisted, **settings)
    assert not resolve(*unlisted, request_providers="listed", provider_url_allow=("gpu-2",)).trusted
    with pytest.raises(errors.ProviderNotAllowed):
        resolve(*configured_url, request_providers="none")

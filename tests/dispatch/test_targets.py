"""Targets: which provider and model a request resolves to, and which key is sent where."""

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
    """Resolve requests with one providers.toml and one set of keys."""
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
        ((), {}, ("builtin", "builtin", "measurements", True, "")),  # whatever keys are configured
        (("studio",), {}, ("studio", "vllm", "qwen-vl", True, "studio-key")),
        ((None, "qwen3-vl:8b"), {}, ("studio", "vllm", "qwen3-vl:8b", True, "studio-key")),
        ((), {"provider": "ollama", "model": "llava"}, ("ollama", "ollama", "llava", True, "own-ollama")),
        # The kind decides, and the name is a label.
        (
            ("My 100% / own", "m", override("ollama", "http://127.0.0.1:9")),
            {},
            ("My 100% / own", "ollama", "m", False, ""),
        ),
        (("studio", "m", override("vllm", api_key="mine")), {}, ("studio", "vllm", "m", True, "mine")),
    ],
)
def test_what_a_request_resolves_to(
    resolve: Resolve, request_: tuple[Any, ...], settings: dict[str, str], expected: tuple[object, ...]
) -> None:
    target = resolve(*request_, **settings)
    key = target.credentials.api_key
    assert (target.label, target.config.kind, target.model, target.trusted, key) == expected
    assert target.config.api_key == ""
    assert not key or key not in repr(target)


def test_which_base_urls_a_request_may_contain(resolve: Resolve) -> None:
    own = None, "m", override("vllm", "http://gpu-1:8000")
    other = None, "m", override("vllm", "http://gpu-2:8000")
    assert resolve(*other, host="127.0.0.1").config.base_url == "http://gpu-2:8000/v1"
    for settings in ({"host": "0.0.0.0"}, {"request_providers": "listed"}):
        assert resolve(*own, **settings).trusted
        with pytest.raises(errors.ProviderNotAllowed):
            resolve(*other, **settings)
    assert not resolve(*other, request_providers="listed", provider_url_allow=("gpu-2",)).trusted
    with pytest.raises(errors.ProviderNotAllowed):
        resolve(*own, request_providers="none")

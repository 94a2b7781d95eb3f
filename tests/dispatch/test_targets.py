"""Targets: which provider and model a request resolves to, and which key is sent where."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge import config, errors
from bridge.captioning.models import ProviderOverride
from bridge.dispatch.targets import Target, Targets
from bridge.network import AddressPolicy
from bridge.settings import Settings
from providers.errors import UnknownKind

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


@dataclass
class TargetRequest:
    provider: str | None = None
    model: str | None = None
    provider_config: ProviderOverride | None = None


def resolve(tmp_path: Path, request: TargetRequest, key: str = "", **settings: object) -> Target:
    (tmp_path / "providers.toml").write_text(TOML)
    configured = config.load(tmp_path / "providers.toml", KEYS)
    options = Settings(_env_file=None, **settings)  # type: ignore[arg-type]
    policy = AddressPolicy("listed", tuple(options.provider_url_allow), ())
    return Targets(configured, options, policy).resolve(request, key)


def override(**config: object) -> ProviderOverride:
    return ProviderOverride.model_validate(config)


def test_the_default_is_builtin_whatever_keys_are_configured(tmp_path: Path) -> None:
    target = resolve(tmp_path, TargetRequest())
    assert (target.config.kind, target.model) == ("builtin", "measurements")


def test_a_configured_name_has_its_model_and_key(tmp_path: Path) -> None:
    target = resolve(tmp_path, TargetRequest("studio"))
    assert (target.label, target.config.kind, target.model, target.trusted) == ("studio", "vllm", "qwen-vl", True)
    assert target.credentials.api_key == "studio-key"
    assert target.config.api_key == ""


def test_a_model_alone_is_routed(tmp_path: Path) -> None:
    assert resolve(tmp_path, TargetRequest(model="qwen3-vl:8b")).label == "studio"


def test_the_default_provider_and_its_model(tmp_path: Path) -> None:
    target = resolve(tmp_path, TargetRequest(), provider="ollama", model="llava")
    assert (target.label, target.model) == ("ollama", "llava")
    with pytest.raises(errors.MissingModel):
        resolve(tmp_path, TargetRequest("openai"), provider="ollama", model="llava")


def test_an_unknown_name_is_reported_with_similar_ones(tmp_path: Path) -> None:
    with pytest.raises(errors.UnknownProvider, match="Did you mean studio"):
        resolve(tmp_path, TargetRequest("studdio"))


def test_the_kind_decides_and_the_name_is_a_label(tmp_path: Path) -> None:
    config = override(kind="ollama", base_url="http://127.0.0.1:9", api_key="")
    target = resolve(tmp_path, TargetRequest("My 100% / own", "llava", config))
    assert (target.label, target.config.kind, target.trusted) == ("My 100% / own", "ollama", False)


def test_an_unknown_kind_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownKind, match="gemini"):
        resolve(tmp_path, TargetRequest(None, "m", override(kind="acme")))


@pytest.mark.parametrize("key", [None, "", "  "])
@pytest.mark.parametrize("kind", ["openai", "ollama", "gemini", "vllm"])
def test_a_configured_key_never_goes_to_a_callers_address(tmp_path: Path, kind: str, key: str | None) -> None:
    target = resolve(
        tmp_path, TargetRequest(None, "m", override(kind=kind, base_url="http://evil.example", api_key=key))
    )
    assert target.credentials.api_key == ""
    assert not target.trusted


def test_a_configured_key_goes_to_the_address_it_was_configured_with(tmp_path: Path) -> None:
    for url in ("https://api.openai.com/v1", "https://api.openai.com", "api.openai.com/v1/"):
        target = resolve(tmp_path, TargetRequest(None, "m", override(kind="openai", base_url=url, api_key="")))
        assert target.credentials.api_key == "sk-own-openai"
    target = resolve(tmp_path, TargetRequest(None, "m", override(kind="vllm", base_url="http://gpu-1:8000/v1")))
    assert target.credentials.api_key == "studio-key"


def test_another_kind_at_a_configured_address_gets_no_key(tmp_path: Path) -> None:
    target = resolve(tmp_path, TargetRequest(None, "m", override(kind="litellm", base_url="https://api.openai.com")))
    assert target.credentials.api_key == ""


def test_the_callers_key_takes_precedence(tmp_path: Path) -> None:
    config = override(kind="openai", base_url="https://api.openai.com/v1", api_key="sk-theirs")
    assert resolve(tmp_path, TargetRequest(None, "m", config)).credentials.api_key == "sk-theirs"
    assert resolve(tmp_path, TargetRequest("openai", "m"), key="sk-header").credentials.api_key == "sk-header"


def test_without_a_base_url_the_configured_address_is_used(tmp_path: Path) -> None:
    target = resolve(tmp_path, TargetRequest("studio", "m", override(kind="vllm", api_key="mine")))
    assert target.config.base_url == "http://gpu-1:8000/v1"
    assert target.credentials.api_key == "mine"


def test_which_base_urls_a_request_may_contain(tmp_path: Path) -> None:
    own = TargetRequest(None, "m", override(kind="vllm", base_url="http://gpu-1:8000"))
    other = TargetRequest(None, "m", override(kind="vllm", base_url="http://gpu-2:8000"))
    assert resolve(tmp_path, other, host="127.0.0.1").config.base_url == "http://gpu-2:8000/v1"
    for settings in ({"host": "0.0.0.0"}, {"request_providers": "listed"}):
        assert resolve(tmp_path, own, **settings).trusted
        with pytest.raises(errors.ProviderNotAllowed):
            resolve(tmp_path, other, **settings)
    allowed = resolve(tmp_path, other, request_providers="listed", provider_url_allow=("gpu-2",))
    assert not allowed.trusted
    with pytest.raises(errors.ProviderNotAllowed):
        resolve(tmp_path, own, request_providers="none")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user:secret@host", "file:///etc/passwd", "http://a b"])
def test_an_invalid_base_url_is_rejected_and_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(errors.InvalidBaseUrl) as raised:
        resolve(tmp_path, TargetRequest(None, "m", override(kind="vllm", base_url=url)))
    assert "secret" not in str(raised.value)


def test_no_key_is_in_a_repr(tmp_path: Path) -> None:
    assert "studio-key" not in repr(resolve(tmp_path, TargetRequest("studio")))
    assert "sk-" not in repr(config.load(tmp_path / "none.toml", KEYS))

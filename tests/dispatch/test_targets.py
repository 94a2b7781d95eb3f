"""Targets: which provider and model a request resolves to, and which key is sent where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


class Resolver:
    """Resolves requests with one providers.toml and one set of keys."""

    def __init__(self, path: Path) -> None:
        path.write_text(TOML)
        self.configured = config.load(path, KEYS)

    def __call__(self, *request: Any, key: str = "", **settings: Any) -> Target:
        options = Settings(_env_file=None, **settings)
        policy = AddressPolicy("listed", tuple(options.provider_url_allow), ())
        return Targets(self.configured, options, policy).resolve(TargetRequest(*request), key)


@pytest.fixture
def resolve(tmp_path: Path) -> Resolver:
    return Resolver(tmp_path / "providers.toml")


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
    resolve: Resolver, request_: tuple[Any, ...], settings: dict[str, str], expected: tuple[object, ...]
) -> None:
    target = resolve(*request_, **settings)
    key = target.credentials.api_key
    assert (target.label, target.config.kind, target.model, target.trusted, key) == expected
    assert target.config.api_key == ""
    assert not key or key not in repr(target)


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (("openai",), errors.MissingModel, "model"),
        (("studdio",), errors.UnknownProvider, "Did you mean studio"),
        ((None, "m", override("acme")), UnknownKind, "gemini"),
    ],
)
def test_what_cannot_be_resolved(
    resolve: Resolver, request_: tuple[Any, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        resolve(*request_, provider="ollama", model="llava")


@pytest.mark.parametrize("key", [None, "", "  "])
@pytest.mark.parametrize("kind", ["openai", "ollama", "gemini", "vllm"])
def test_a_configured_key_never_goes_to_a_callers_address(resolve: Resolver, kind: str, key: str | None) -> None:
    target = resolve(None, "m", override(kind, "http://evil.example", api_key=key))
    assert (target.credentials.api_key, target.trusted) == ("", False)


@pytest.mark.parametrize(
    ("kind", "url", "key"),
    [
        ("openai", "https://api.openai.com/v1", "sk-own-openai"),
        ("openai", "https://api.openai.com", "sk-own-openai"),
        ("openai", "api.openai.com/v1/", "sk-own-openai"),
        ("vllm", "http://gpu-1:8000/v1", "studio-key"),
        ("litellm", "https://api.openai.com", ""),  # another kind at a configured address
    ],
)
def test_a_configured_key_goes_to_the_origin_it_was_configured_with(
    resolve: Resolver, kind: str, url: str, key: str
) -> None:
    assert resolve(None, "m", override(kind, url, api_key="")).credentials.api_key == key


def test_the_callers_key_takes_precedence(resolve: Resolver) -> None:
    own = override("openai", "https://api.openai.com/v1", api_key="sk-theirs")
    assert resolve(None, "m", own).credentials.api_key == "sk-theirs"
    assert resolve("openai", "m", key="sk-header").credentials.api_key == "sk-header"


def test_which_base_urls_a_request_may_contain(resolve: Resolver) -> None:
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


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://user:secret@host", "file:///etc/passwd", "http://a b"])
def test_an_invalid_base_url_is_rejected_and_not_repeated(resolve: Resolver, url: str) -> None:
    with pytest.raises(errors.InvalidBaseUrl) as raised:
        resolve(None, "m", override("vllm", url))
    assert "secret" not in str(raised.value)

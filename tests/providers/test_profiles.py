"""What models take, by their name alone."""

import pytest

from providers import registry
from providers.profiles import profile


@pytest.mark.parametrize("kind", ["ollama", "llamacpp", "lmstudio"])
def test_servers_on_llamacpp_get_no_webp(kind: str) -> None:
    """ollama/ollama#7388, mealie-recipes/mealie#4097, lmstudio-ai/lmstudio-bug-tracker#1150"""
    assert profile(kind, "any").image.media_types == {"image/jpeg", "image/png"}


@pytest.mark.parametrize("kind", ["openai", "vllm", "gemini", "anthropic"])
def test_others_take_webp(kind: str) -> None:
    assert "image/webp" in profile(kind, "any").image.media_types


def test_every_kind_takes_jpeg() -> None:
    for spec in registry.specs():
        assert "image/jpeg" in profile(spec.kind, "any").image.media_types


@pytest.mark.parametrize(
    ("model", "reasoning"),
    [
        ("gpt-5-mini", True),
        ("gpt-5", True),
        ("o4-mini", True),
        ("openai/o3", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4.1", False),
        ("gpt-4o", False),
        ("olmocr", False),
    ],
)
def test_reasoning_families(model: str, reasoning: bool) -> None:
    """tmc/langchaingo#1355"""
    assert profile("openrouter", model).reasoning is reasoning


@pytest.mark.parametrize(
    ("kind", "model", "size"),
    [
        ("openai", "gpt-4.1", 2048),
        ("gemini", "gemini-3-flash", 3072),
        ("ollama", "gemma3:4b", 896),
        ("vllm", "google/gemma-3-4b-it", 896),
        ("ollama", "llava:7b", 1344),
        ("vllm", "mistralai/Mistral-Small-3.2-24B", 1540),
        ("anthropic", "claude-opus-4-7", 2576),
        ("anthropic", "claude-haiku-5-5", 2576),
        ("anthropic", "claude-opus-4-6", 1568),
        ("anthropic", "claude-sonnet-4-20250514", 1568),
        ("anthropic", "claude-3-7-sonnet-latest", 1568),
        ("openrouter", "anthropic/claude-opus-4.5", 1568),
        ("builtin", "measurements", None),
    ],
)
def test_sizes(kind: str, model: str, size: int | None) -> None:
    assert profile(kind, model).image.size == size


def test_only_ollama_is_told_a_context() -> None:
    """odysseus-dev/odysseus#1055"""
    assert (profile("ollama", "qwen2.5vl:7b").context or 0) >= 8192
    assert profile("vllm", "qwen2.5vl:7b").context is None

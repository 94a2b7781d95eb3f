"""Properties of models, derived from their names."""

import pytest

from providers import registry
from providers.profiles import profile


def test_accepted_formats() -> None:
    """Servers with llama.cpp cannot decode WebP: ollama/ollama#7388, mealie-recipes/mealie#4097"""
    for spec in registry.specs():
        accepted = profile(spec.kind, "any").image.media_types
        assert "image/jpeg" in accepted
        assert ("image/webp" in accepted) is (spec.kind in ("openai", "anthropic", "vllm", "gemini", "builtin"))


@pytest.mark.parametrize(
    ("model", "reasoning"),
    [("gpt-5-mini", True), ("o4-mini", True), ("gpt-5-chat-latest", False), ("gpt-4.1", False), ("olmocr", False)],
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
        ("vllm", "mistralai/Mistral-Small-3.2-24B", 1540),
        ("anthropic", "claude-opus-4-7", 2576),
        ("anthropic", "claude-haiku-5-5", 2576),
        ("anthropic", "claude-sonnet-4-20250514", 1568),
        ("openrouter", "anthropic/claude-opus-4.5", 1568),
        ("builtin", "measurements", None),
    ],
)
def test_sizes(kind: str, model: str, size: int | None) -> None:
    assert profile(kind, model).image.size == size

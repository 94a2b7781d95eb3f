"""Base URLs in every accepted spelling, and invalid ones."""

import pytest

from providers import registry
from providers.addresses import base_url


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("openai", "", ""),
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", " https://API.OpenAI.com:443/v1/ ", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
        ("openai", "10.0.0.7", "http://10.0.0.7/v1"),
        ("vllm", "localhost:12434", "http://localhost:12434/v1"),
        ("vllm", "gpu", "http://gpu:8000/v1"),
        ("vllm", "vllm.example.org", "https://vllm.example.org/v1"),
        ("vllm", "http://0.0.0.0:8000", "http://127.0.0.1:8000/v1"),
        ("vllm", "[::1]:8000", "http://[::1]:8000/v1"),
        ("openrouter", "https://openrouter.ai", "https://openrouter.ai/api/v1"),
        ("litellm", "http://proxy/litellm/", "http://proxy/litellm/v1"),
        ("openai-compatible", "https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("openai-compatible", "https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai"),
        ("ollama", "gpu.example.org", "http://gpu.example.org:11434"),
        ("ollama", "0.0.0.0", "http://127.0.0.1:11434"),
        ("ollama", "http://gpu:11434/v1/", "http://gpu:11434"),
        ("ollama", "http://gpu:11434/api/chat", "http://gpu:11434"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", "https://generativelanguage.googleapis.com"),
    ],
)
def test_base_url(kind: str, url: str, expected: str) -> None:
    assert base_url(registry.spec(kind), url) == expected
    assert base_url(registry.spec(kind), expected) in (expected, f"{expected}/v1")


@pytest.mark.parametrize(
    "written",
    [
        "ftp://host/v1",
        "file:///etc/passwd",
        "http://",
        "http://host:port",
        "http://user:secret@host/v1",
        "http://host/v1?key=1",
        "http://host\\@evil/",
        "http://host/\r\nX: 1",
        "http://[::1",
    ],
)
def test_invalid_urls_are_rejected_without_their_password(written: str) -> None:
    with pytest.raises(ValueError) as caught:
        base_url(registry.spec("openai"), written)
    assert "secret" not in str(caught.value)

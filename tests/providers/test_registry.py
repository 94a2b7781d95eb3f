"""From a kind to its client."""

import subprocess
import sys

import pytest

from providers import registry
from providers.errors import UnknownKind


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownKind) as caught:
        registry.spec("acme")
    assert caught.value.known == tuple(spec.kind for spec in registry.specs())
    assert "openai-compatible" in str(caught.value)


def test_specs_are_read_without_any_sdk() -> None:
    code = (
        "import sys; from providers import registry; registry.specs();"
        "sdks = {'openai', 'anthropic', 'ollama', 'google.genai', 'httpx', 'httpx2', 'PIL', 'instructor'};"
        "print(sdks & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

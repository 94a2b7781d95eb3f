"""What the registry of kinds imports."""

import subprocess
import sys


def test_specs_are_read_without_any_sdk() -> None:
    code = (
        "import sys; from providers import registry; registry.specs();"
        "sdks = {'openai', 'anthropic', 'ollama', 'google.genai', 'httpx', 'httpx2', 'PIL', 'instructor'};"
        "print(sdks & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

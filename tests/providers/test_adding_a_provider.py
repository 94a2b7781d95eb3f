"""Adding a kind takes one module and one row of the registry; the rest is derived from its spec."""

import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bridge import cli
from bridge.app import create_app
from bridge.cli import build
from bridge.config.load import load as load_providers
from bridge.settings import Settings, SettingsError
from docs import generate
from providers import registry
from providers.base import Completion, Delta, Model, ProviderConfig, Setting, Spec, VisionRequest
from providers.client import BaseClient
from providers.pool import Pool
from tests.api.streams import SAMPLE, inline
from tests.service import ROOT, WORKSPACE

SPEC = Spec(
    kind="acme",
    title="Acme",
    base_url="https://api.acme.test/v1",
    key_env=("ACME_API_KEY",),
    url_env=("ACME_BASE_URL",),
    takes=frozenset({"max_tokens"}),
    options={"extra_body": Setting("further fields of the request's body", (Mapping,))},
    default_model="acme-vision",
    note="Describes everything as a boat.",
)


class AcmeClient(BaseClient):
    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Ignore both arguments, which the client of a real server stores."""

    async def complete(self, request: VisionRequest) -> Completion:
        """Return the fixed caption of Acme."""
        return Completion('{"caption": "A boat."}', request.model)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        completion = await self.complete(request)
        yield Delta(completion.text)
        yield completion

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        return (Model("acme-vision", "Acme Vision"),)


@pytest.fixture(autouse=True)
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the row that registers the kind: its spec and its client."""
    monkeypatch.setitem(registry._KINDS, "acme", (SPEC, AcmeClient))


def test_the_generated_tables_list_it() -> None:
    page = generate.regenerate((ROOT / "docs/providers.md").read_text("utf-8"), generate.TABLES)
    for row in (
        "| `acme` | `ACME_BASE_URL` or `https://api.acme.test/v1` | `ACME_API_KEY` (optional) | Describes everything",
        "`openai-compatible`, `acme` | further fields of the request's body |",
        "| `acme` | jpeg, png | 2048 px |",
    ):
        assert row in page
    assert "Acme" in generate.regenerate((ROOT / "README.md").read_text("utf-8"), generate.TABLES)


def test_the_files_of_the_worked_example_are_those_that_it_took() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    section = page.partition("### Add a provider: the example `anthropic`")[2]
    paths = re.findall(r"`((?:[\w-]+/|\.)[\w./-]+\.?\w+|pyproject\.toml)`", section.partition("\n### ")[0])
    assert len(paths) > 12
    assert [path for path in paths if "anthropic" not in (ROOT / path).read_text("utf-8").lower()] == []


def test_the_settings_know_its_variables_and_options(tmp_path: Path) -> None:
    toml = tmp_path / "providers.toml"
    toml.write_text('[providers.mine]\nkind = "acme"\nbase_url = "http://acme.lan"\noptions = { extra_bodi = 1 }\n')
    with pytest.raises(SettingsError, match="extra_body"):
        load_providers(toml, {})
    toml.write_text("")
    provider = load_providers(toml, {"ACME_API_KEY": "k1", "ACME_BASE_URL": "acme.lan"}).providers["acme"]
    assert (provider.api_key, provider.base_url) == ("k1", "http://acme.lan/v1")


def test_the_command_line_offers_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_API_KEY", "k1")
    assert cli.main(["providers", "list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "acme" in line]
    assert "acme-vision" in line
    parser = build("caption")
    options = ["caption", "photo.jpg", "--kind", "acme", "--base-url", "http://acme.lan"]
    assert parser.parse_args(options).kind == "acme"


def test_the_service_lists_it_and_captions_with_it() -> None:
    settings = Settings(_env_file=None, workspace=WORKSPACE)  # type: ignore[call-arg]
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        assert "acme" in client.get("/api/v1/info").json()["providers"]
        listed = client.get("/api/v1/providers/list").json()["providers"]
        assert [entry["default_model"] for entry in listed if entry["kind"] == "acme"] == ["acme-vision"]
        body = {"perspective": inline(), "image": {"path": SAMPLE}, "provider": "acme"}
        caption = client.post("/api/v1/perspectives/caption", json=body).json()
    assert (caption["provider"], caption["result"]) == ("acme", {"caption": "A boat."})

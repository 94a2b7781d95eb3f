"""The list of known models of the embedded engine."""

import json
import re
from pathlib import Path

import pytest

from bridge import cli
from providers import local, local_models, registry
from providers.base import ProviderConfig
from providers.pool import Pool


def test_every_known_model_has_complete_data() -> None:
    assert local.SPEC.default_model in local_models.known_models()
    for row in local_models.known_models().values():
        assert row.mmproj is not None
        assert row.source.startswith("https://")
        assert row.licence
        assert row.good_for
        assert row.context > (row.image_tokens or 0)
        for file in (row.model, row.mmproj):
            assert file.size > 0
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)


@pytest.mark.parametrize(("model", "size"), [("gemma-3-4b", 896), ("qwen2.5-vl-3b", 1008), ("./any.gguf", 1568)])
def test_images_have_the_size_of_the_models_row(model: str, size: int) -> None:
    client = registry.client(ProviderConfig("local", "local"), Pool())
    assert client.profile(model).image.size == size


@pytest.mark.parametrize(
    ("name", "repository"),
    [("acme/eyes:a/b.gguf", "acme/eyes"), ("smolvlm-256m", "ggml-org/SmolVLM-256M-Instruct-GGUF"), ("./b.gguf", None)],
)
def test_names_on_the_hub(name: str, repository: str | None) -> None:
    model = local_models.on_hub(name)
    assert (model and model.repository) == repository


def test_the_list_shows_size_licence_and_what_is_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = local_models.known_models()["qwen2.5-vl-3b"]
    folder = tmp_path / f"models--{model.repository.replace('/', '--')}" / "snapshots" / model.revision
    folder.mkdir(parents=True)
    for file in (model.model, model.mmproj):
        assert file is not None
        (folder / file.file).touch()
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"\* +smolvlm-500m +546 MB +no +Apache-2.0 +short captions", line) for line in lines)
    assert any(re.match(r" +qwen2.5-vl-3b +2775 MB +yes +Qwen research licence", line) for line in lines)
    assert cli.main(["models", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out) if row["downloaded"]] == ["qwen2.5-vl-3b"]

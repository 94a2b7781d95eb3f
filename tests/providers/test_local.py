"""What is known about the models of the embedded engine, without any of them."""

import re

import pytest

from providers import local, local_models, registry
from providers.base import ProviderConfig
from providers.pool import Pool


def test_every_known_model_has_its_figures() -> None:
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

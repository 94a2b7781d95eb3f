"""A tiny model, a workspace that names it, and the bridge's services with real engines."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.captioning.services import Services, open_services
from bridge.settings import Settings
from tests.local import tiny
from tests.local.processes import engines_of
from tests.service import WORKSPACE

CONTEXT = 49152  # one token per byte: prompts are long


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the tiny model; its vision projector is in the same directory."""
    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def workspace(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a workspace with the sample photos; the default model of `local` is the tiny model."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "config").mkdir()
    text = f'[providers.local]\nkind = "local"\ndefault_model = "{model}"\noptions = {{ context = {CONTEXT} }}\n'
    (folder / "config" / "providers.toml").write_text(text)
    shutil.copytree(WORKSPACE / "datasets" / "samples", folder / "datasets" / "samples")
    return folder


@pytest.fixture(scope="module")
async def services(workspace: Path, anyio_backend: str) -> AsyncIterator[Services]:
    """Open the services of the bridge in this process, with their own engines."""
    async with open_services(Settings(_env_file=None, workspace=workspace, provider="local")) as opened:  # type: ignore[call-arg]
        yield opened
    assert engines_of(os.getpid()) == []

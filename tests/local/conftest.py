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
    """The path of the tiny model; its vision projector is beside it."""
    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def workspace(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose provider `local` has the tiny model as default, and the sample photos."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "config").mkdir()
    text = f'[providers.local]\nkind = "local"\ndefault_model = "{model}"\noptions = {{ context = {CONTEXT} }}\n'
    (folder / "config" / "providers.toml").write_text(text)
    shutil.copytree(WORKSPACE / "datasets" / "samples", folder / "datasets" / "samples")
    return folder


@pytest.fixture(scope="module")
async def services(workspace: Path, anyio_backend: str) -> AsyncIterator[Services]:
    """The bridge's services in this process, with its own engines."""
    async with open_services(Settings(_env_file=None, workspace=workspace, provider="local")) as opened:  # type: ignore[call-arg]
        yield opened
    assert engines_of(os.getpid()) == []

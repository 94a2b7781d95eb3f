"""The JavaScript client with its packages, and a bridge under its control."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.javascript.control import controlled
from tests.clients.javascript.node import CLIENT, run
from tests.service import ROOT
from tests.tools import need


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with the packages of its lock file, the OpenAPI document and the page in their places."""
    root = tmp_path_factory.mktemp("client")
    folder = root / "clients/javascript"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules"))
    shutil.copytree(ROOT / "bridge/api/page", root / "bridge/api/page")
    shutil.copy(ROOT / "openapi.json", root)
    run(folder, need("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    (folder / "node_modules/@graphcap").mkdir()
    (folder / "node_modules/@graphcap/bridge").symlink_to(folder)
    return folder


@pytest.fixture
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A bridge for one file of tests, because the limit of requests per minute would be shared."""
    with controlled(tmp_path_factory.mktemp("workspace")) as environment:
        yield environment

"""The JavaScript client: its tests under Node and in Chromium against a running bridge, its types, its examples."""

import json
import re
import shutil
from pathlib import Path

import httpx
import pytest

from bridge.version import __version__
from tests.api.streams import SAMPLE
from tests.clients.javascript.conftest import CLIENT, GUARD, RUNTIMES, run, run_tests
from tests.service import ROOT, Service
from tests.tools import need

PAGES = (CLIENT / "README.md", ROOT / "docs/react.md")
SNIPPET = re.compile(r"^```(tsx?)\n(?:// src/(\S+)\n)?(.*?)^```", re.DOTALL | re.MULTILINE)
MAX_MODULE_BYTES = 40_000
PORTABLE_TESTS = ("cli", "client", "socket", "sse")


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text("utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]


def test_the_package_has_the_version_of_the_bridge() -> None:
    for name in ("package.json", "package-lock.json"):
        assert json.loads((CLIENT / name).read_text("utf-8"))["version"] == __version__


def test_the_module_is_small_and_imports_nothing() -> None:
    module = (CLIENT / "bridge.js").read_text("utf-8")
    assert len(module.encode()) <= MAX_MODULE_BYTES
    assert not re.search(r"^import |\bimport\(|\brequire\(", module, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", PORTABLE_TESTS)
def test_the_client_in_every_runtime(package: Path, bridge: dict[str, str], name: str, runtime: str) -> None:
    run_tests(package, f"{name}.test.js", runtime, **bridge)


@pytest.mark.slow
def test_the_example_in_a_browser(package: Path, bridge: dict[str, str]) -> None:
    run_tests(package, "browser.test.js", **bridge, CHROMIUM=need("chromium"))


@pytest.mark.slow
def test_generated_files_are_current_and_everything_passes_the_compiler(package: Path) -> None:
    run(package, need("npm"), "run", "check")


@pytest.mark.slow
def test_the_example_compiles(package: Path) -> None:
    run(package, "node_modules/.bin/tsc", "-p", "examples/react")


@pytest.mark.slow
def test_the_snippets_of_the_documentation_compile(package: Path) -> None:
    folder = package / "snippets"
    folder.mkdir()
    shutil.copy(package / "test/types/perspectives.ts", folder)
    names = []
    for page in PAGES:
        for number, (kind, file, code) in enumerate(SNIPPET.findall(page.read_text("utf-8"))):
            name = file or f"{page.stem.lower()}_{number}.{kind}"
            (folder / name).write_text(f"{code}\nexport {{}};\n")
            names.append(name)
    assert len(names) > len(PAGES)
    options = {"skipLibCheck": True, "types": ["node", "react"]}
    config = {"extends": "../tsconfig.json", "compilerOptions": options, "files": [], "include": ["*"]}
    (folder / "tsconfig.json").write_text(json.dumps(config))
    run(package, "node_modules/.bin/tsc", "-p", "snippets")


@pytest.mark.slow
def test_the_hooks_find_react_after_the_documented_installation(package: Path, tmp_path: Path) -> None:
    command = "npm install --install-links <checkout>/clients/javascript"
    assert all(command in page.read_text("utf-8") for page in PAGES)
    checkout = tmp_path / "checkout"
    shutil.copytree(CLIENT, checkout, ignore=shutil.ignore_patterns("node_modules"))
    application = tmp_path / "application"
    application.mkdir()
    (application / "package.json").write_text('{"private": true}')
    run(application, need("npm"), "install", "--install-links", "--offline", "--no-audit", "--no-fund", str(checkout))
    (application / "node_modules/react").symlink_to(package / "node_modules/react")
    run(application, need("node"), "--input-type=module", "--eval", 'import "@graphcap/bridge/react";')


@pytest.mark.slow
def test_the_types_of_every_shipped_perspective_compile(package: Path) -> None:
    """A result of `builtin` has its type, and a wrong one does not."""
    folder = package / "shipped"
    folder.mkdir()
    (folder / "tsconfig.json").write_text('{"extends": "../tsconfig.json", "files": [], "include": ["*"]}')
    with (
        Service() as service,
        httpx.Client(base_url=f"{service.url}/api/v1/perspectives", timeout=GUARD, trust_env=False) as client,
    ):
        (folder / "types.ts").write_text(client.get("/types.ts").text)
        names = [item["name"] for item in client.get("/list").json()["perspectives"]]
        results = {}
        for name in names:
            results[name] = client.post(f"/{name}/caption", json={"image": {"path": SAMPLE}}).json()["result"]
    lines = [f"export const {name}: Perspectives[{name!r}] = {json.dumps(value)};" for name, value in results.items()]
    wrong = "// @ts-expect-error: not a text\nexport const wrong: Perspectives['alt_text']['role'] = 7;"
    (folder / "results.ts").write_text("\n".join(['import type { Perspectives } from "./types.js";', *lines, wrong]))
    run(package, "node_modules/.bin/tsc", "-p", "shipped")

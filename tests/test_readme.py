"""The commands, requests, scripts, links and names in README.md and docs/ work and exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli import COMMANDS, build
from bridge.settings import OTHERS, PREFIX, Settings
from docs import generate
from providers import registry
from tests.conftest import Graphcap
from tests.contract.kinds import KIND_BY_NAME
from tests.service import ROOT, WORKSPACE, Service, clean_environment
from tests.tools import need

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.example")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEXTS = {page: page.read_text("utf-8") for page in PAGES}
REFERENCE = TEXTS[ROOT / "docs/settings.md"] + TEXTS[ROOT / "docs/providers.md"]
MARKED = re.compile(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
COMMAND = re.compile(r"(?:[\w./]*/)?graphcap((?: [^`\n|#]*)?)")
SETTING = re.compile(rf"\b{PREFIX}[A-Z_]+[A-Z]\b")
SETTINGS = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
PROVIDER_VARIABLES = {name for spec in registry.specs() for name in (*spec.key_env, *spec.url_env)}


def marked(kind: str) -> list[str]:
    return [code for text in TEXTS.values() for mark, code in MARKED.findall(text) if mark == kind]


def run(*command: str) -> str:
    """Run a command in the project's directory, with the installed programs on PATH, and return its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**clean_environment(), "PATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_marked_requests_work() -> None:
    need("curl")
    with Service() as service:
        for code in marked("service"):
            assert "127.0.0.1:32100" in code
            script = code.replace("curl ", "curl --silent --show-error --fail-with-body ")
            script = script.replace(":32100", f":{service.port}")
            assert '"rendered":' in run(need("bash"), "-euo", "pipefail", "-c", script)


@pytest.mark.slow
def test_marked_scripts_work() -> None:
    assert {kind for text in TEXTS.values() for kind, _ in MARKED.findall(text)} == {"service", "python"}
    for code in marked("python"):
        assert run(sys.executable, "-W", "error", "-c", code).strip()


def commands() -> dict[str, str]:
    """Return every `graphcap` command with arguments -> the name of its page."""
    pages: dict[str, str] = {}
    for page, text in TEXTS.items():
        blocks = "\n".join(code for kind, code in FENCED.findall(text) if kind in ("sh", "console", ""))
        inline = re.findall(r"`((?:[\w./]*/)?graphcap [^`]+)`", FENCED.sub("", text))
        lines = [line.strip().removeprefix("$ ") for line in blocks.replace("\\\n", " ").splitlines()]
        lines = [line.split(" > ")[0] for line in lines]  # without output redirection
        pages.update({command: page.name for command in [*inline, *lines] if COMMAND.match(command)})
    return pages


def test_commands_on_the_pages_can_be_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(commands()) > 10
    assert set(commands().values()) >= {"README.md", "perspectives.md"}
    for command, page in commands().items():
        words = shlex.split(command, comments=True)[1:]
        arguments = [word.split("|")[0] for word in words if word not in ("…", "[FILES", "…]")]
        name = next((word for word in arguments if word in COMMANDS), None)
        assert name or arguments[-1:] == ["--help"], f"{page}: {command}"
        try:
            assert build(name).parse_args(arguments).command == name
        except SystemExit:
            output = capsys.readouterr()
            # A command that a sentence mentions may omit its arguments.
            expected = ("the following arguments are required", "invalid choice: 'SHELL'", "expected one")
            assert output.out or any(text in output.err for text in expected), f"{page}: {command}"


@pytest.mark.slow
def test_captions_and_checks_on_the_pages_work(graphcap: Graphcap) -> None:
    """Run the commands with a test server of the same protocol."""
    photo = str(WORKSPACE / "datasets/samples/coffee.jpg")
    done = set()
    for command, page in commands().items():
        words = shlex.split(command, comments=True)[1:]
        kind = next((word for word in words if word in KIND_BY_NAME), None)
        if kind is None or "--model" not in words or not {"photo.jpg", "check"} & set(words):
            continue
        with KIND_BY_NAME[kind].server(key="sk-of-the-page") as server:
            server.models = (words[words.index("--model") + 1],)
            if "--base-url" in words:
                words[words.index("--base-url") + 1] = server.url
            spec = registry.spec(kind)
            environment = {spec.key_env[0]: server.key, "GRAPHCAP_PROVIDER_KEY": server.key} if server.key else {}
            environment[spec.url_env[0]] = server.url
            result = graphcap(*(photo if word == "photo.jpg" else word for word in words), **environment)
            assert result.code == 0, f"{page}: {command}: {result.out}{result.err}"
            assert server.calls
        done.add(kind)
    assert done == set(KIND_BY_NAME)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_settings_and_make_targets_exist(page: Path) -> None:
    for target, anchor in LINK.findall(TEXTS[page]):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor.removeprefix("#") in anchors(file), f"{page.name} links to {target}{anchor}"
    known = SETTINGS | {f"{name}_FILE" for name in SETTINGS} | OTHERS
    assert set(SETTING.findall(TEXTS[page])) <= known
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", TEXTS[page], re.MULTILINE)) <= targets


def test_every_setting_and_provider_variable_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name in SETTINGS | PROVIDER_VARIABLES if f"`{name}`" not in REFERENCE} == set()
    example = [line for line in TEXTS[ROOT / ".env.example"].splitlines() if "=" in line]
    assert {line.removeprefix("#").strip().partition("=")[0] for line in example} <= SETTINGS | PROVIDER_VARIABLES
    assert generate.main(["--check"]) == 0, capsys.readouterr().err

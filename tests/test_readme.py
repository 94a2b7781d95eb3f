"""What README.md and docs/ tell people to do works, and what they point at exists."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import COMMANDS, build
from bridge.settings import OTHERS, PREFIX, Settings
from docs import generate
from perspectives.perspective import parse
from providers import factory
from tests.service import ROOT, Service, clean_environment
from tests.tools import need

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.example")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
MARKED = re.compile(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COMMAND = re.compile(r"(?:[\w./]*/)?graphcap((?: [^`\n|#]*)?)")
SETTING = re.compile(rf"\b{PREFIX}[A-Z_]+[A-Z]\b")
README = (ROOT / "README.md").read_text("utf-8")


def marked(kind: str) -> list[str]:
    return [code for found, code in MARKED.findall(README) if found == kind]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


def test_every_mark_is_one_that_is_run() -> None:
    assert {kind for kind, _ in MARKED.findall(README)} == {"service", "python"}
    assert README.count("<!-- run: ") == len(MARKED.findall(README))


@pytest.mark.parametrize("code", marked("service"), ids=lambda code: code.split("/")[-1][:40].strip())
def test_a_request_works_as_it_stands(service: Service, code: str) -> None:
    need("curl")
    assert "127.0.0.1:32100" in code
    port = service.url.rsplit(":", 1)[1]
    script = code.replace("curl ", "curl --silent --show-error --fail-with-body ").replace(":32100", f":{port}")
    done = run(need("bash"), "-euo", "pipefail", "-c", script)
    assert (done.returncode, '"rendered":' in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("code", marked("python"), ids=range(len(marked("python"))))
def test_a_script_works_as_it_stands(code: str) -> None:
    done = run(sys.executable, "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_whole_perspective_in_the_pages_is_valid() -> None:
    blocks = [
        code for kind, code in FENCED.findall((ROOT / "docs/perspectives.md").read_text("utf-8")) if kind == "json"
    ]
    assert len(whole := [code for code in blocks if code.startswith('{\n  "name"')]) == 2
    assert [parse(json.loads(code), source="page", module="custom").warnings for code in whole] == [(), ()]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """As a person in the project's directory, whose shell finds what is installed there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**clean_environment(), "PATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def commands() -> dict[str, str]:
    """Every `graphcap …` of every page that is more than the bare name, and the page it stands on."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = "\n".join(code for kind, code in FENCED.findall(text) if kind in ("sh", "console", ""))
        spoken = re.findall(r"`((?:[\w./]*/)?graphcap [^`]+)`", FENCED.sub("", text))
        lines = [line.strip().removeprefix("$ ") for line in blocks.replace("\\\n", " ").splitlines()]
        found.update({one: page.name for one in [*spoken, *lines] if COMMAND.match(one)})
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [one for one in shlex.split(command, comments=True)[1:] if one not in ("…", "[FILES", "…]")]
    named = next((one for one in arguments if one in COMMANDS), None)
    assert named or arguments == ["--help"], command
    try:
        assert build(named).parse_args(arguments).command == named
    except SystemExit:
        told = capsys.readouterr()
        # What is only named in a sentence may leave out its arguments.
        assert told.out or "the following arguments are required" in told.err, f"{command}: {told.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", page.read_text("utf-8"), re.MULTILINE)) <= targets


def test_the_pages_hold_commands_to_check() -> None:
    assert len(commands()) > 10
    assert set(commands().values()) >= {"README.md", "perspectives.md"}


@pytest.mark.parametrize(
    "command", [one for one in commands() if " --provider builtin" in one or "show alt_text" in one]
)
def test_a_command_that_needs_nothing_works(command: str) -> None:
    done = run(*shlex.split(command, comments=True))
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} points at {target}"
        if anchor and file.suffix == ".md":
            assert anchor.removeprefix("#") in anchors(file), f"{page.name} points at {target}{anchor}"


def anchors(page: Path) -> set[str]:
    headings = HEADING.findall(page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_generated_tables_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known} | OTHERS
    assert set(SETTING.findall(page.read_text("utf-8"))) <= known


def test_every_setting_and_every_providers_variable_is_told() -> None:
    names = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    names |= {name for spec in factory.specs() for name in (*spec.key_env, *spec.url_env)}
    assert {name for name in names if f"`{name}`" not in README} == set()


@pytest.mark.parametrize(
    "line", [line for line in (ROOT / ".env.example").read_text("utf-8").splitlines() if "=" in line]
)
def test_every_line_of_the_example_is_a_setting_or_a_providers_variable(line: str) -> None:
    name = line.removeprefix("#").strip().partition("=")[0]
    known = {f"{PREFIX}{one.upper()}" for one in Settings.model_fields}
    known |= {one for spec in factory.specs() for one in (*spec.key_env, *spec.url_env)}
    assert name in known

"""`graphcap models` and `--yes` against a stand-in of the Hugging Face hub."""

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.local import tiny
from tests.local.hub import Hub
from tests.service import ROOT, clean_environment

pytestmark = pytest.mark.slow
NAME = "acme/tiny:tiny.gguf"
PHOTO = "workspace/datasets/samples/cat.jpg"
DEFAULT = "ggml-org/SmolVLM-500M-Instruct-GGUF"
Graphcap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the repository acme/tiny, with two projectors."""
    path = tiny.write(tmp_path_factory.mktemp("hub"))
    model, projector = path.read_bytes(), path.with_name("mmproj-tiny.gguf").read_bytes()
    contents = {"tiny.gguf": model, "mmproj-tiny-Q8_0.gguf": projector, "mmproj-tiny-f16.gguf": projector + b"16"}
    return {f"acme/tiny/{name}": content for name, content in contents.items()}


@pytest.fixture
def graphcap(tmp_path: Path) -> Graphcap:
    """Run the command line in a process with an empty cache below `tmp_path`."""

    def run(*arguments: str, hub: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bridge.cli", *arguments],
            cwd=ROOT,
            env={**clean_environment(), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def kept(folder: Path) -> list[str]:
    """The files of the cache that hold content: blobs and incomplete downloads."""
    return [path.name for path in folder.rglob("*") if "blobs" in path.parts and path.is_file()]


def test_pull_path_list_caption_and_remove(files: dict[str, bytes], graphcap: Graphcap, tmp_path: Path) -> None:
    with Hub(files) as hub:
        pulled = graphcap("models", "pull", NAME, hub=hub.url)
        assert pulled.returncode == 0, pulled.stderr
        model, projector = map(Path, pulled.stdout.split())
        assert (model.name, projector.name) == ("tiny.gguf", "mmproj-tiny-Q8_0.gguf")
        assert model.read_bytes() == files["acme/tiny/tiny.gguf"]
    # From here without the hub.
    assert graphcap("models", "path", NAME).stdout == f"{model}\n"
    captioned = graphcap("caption", PHOTO, "--provider", "local", "--model", NAME, "--json", "-p", "custom_caption")
    assert captioned.returncode == 0, captioned.stderr
    assert json.loads(captioned.stdout)["provider"] == "local"
    assert "Removed 2 MB" in graphcap("models", "remove", NAME).stderr
    assert kept(tmp_path) == []
    assert "is not on this machine" in graphcap("models", "remove", NAME).stderr
    assert graphcap("models", "path", NAME).returncode == 4


def test_a_broken_download_is_resumed(files: dict[str, bytes], graphcap: Graphcap) -> None:
    large = {**files, "acme/tiny/tiny.gguf": bytes(25 * 2**20)}  # the package writes pieces of 10 MiB
    with Hub(large, breaks=1) as hub:
        assert graphcap("models", "pull", NAME, hub=hub.url).returncode == 0
    assert hub.ranges == [f"bytes={10 * 2**20}-"]


@pytest.mark.parametrize(
    ("hub", "name", "environment", "sentence"),
    [
        ({"lies": True}, NAME, {}, "The file 'tiny.gguf' is not the expected one: its size or its hash differs."),
        ({}, "smolvlm-500m", {}, "The file 'SmolVLM-500M-Instruct-Q8_0.gguf' is not the expected one"),
        ({"error": (401, "GatedRepo")}, NAME, {}, "The model is gated. Accept its terms at https://"),
        ({"error": (401, "")}, NAME, {}, "does not allow this download. Check the name 'acme/tiny', or set HF_TOKEN."),
        ({"error": (404, "RepoNotFound")}, NAME, {}, "The hub has no public repository 'acme/tiny'"),
        ({}, "acme/tiny:absent.gguf", {}, "The repository 'acme/tiny' does not have the file."),
        ({"error": (410, "")}, NAME, {}, "The hub responded with status 410. Run the command again later."),
        ({}, NAME, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids downloads. Unset it"),
        ({}, NAME, {"HF_HOME": "/proc/nowhere"}, "The cache /proc/nowhere/hub cannot be written. Set HF_HOME"),
        ({}, "nonsense", {}, "No model 'nonsense'. Choose smolvlm-500m,"),
    ],
)
def test_each_failure_is_one_sentence_and_leaves_nothing(
    files: dict[str, bytes],
    graphcap: Graphcap,
    tmp_path: Path,
    hub: dict[str, object],
    name: str,
    environment: dict[str, str],
    sentence: str,
) -> None:
    served = {**files, f"{DEFAULT}/SmolVLM-500M-Instruct-Q8_0.gguf": b"GGUF but not this model"}
    with Hub(served, **hub) as running:  # type: ignore[arg-type]
        done = graphcap("models", "pull", name, hub=running.url, **environment)
    assert done.returncode == (2 if name == "nonsense" else 4)
    assert sentence in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert kept(tmp_path) == []


def test_caption_downloads_with_consent_only(files: dict[str, bytes], graphcap: Graphcap) -> None:
    command = ("caption", PHOTO, "--provider", "local", "--model", NAME, "-p", "custom_caption")
    with Hub(files) as hub:
        refused = graphcap(*command, hub=hub.url)
        assert refused.returncode == 4
        assert f"Run `graphcap models pull {NAME}`, or add --yes" in refused.stderr
        assert graphcap(*command, "--yes", hub=hub.url).returncode == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 4)])
def test_caption_asks_on_a_terminal(files: dict[str, bytes], tmp_path: Path, answer: str, code: int) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-m", "bridge.cli", "caption", PHOTO, "--provider", "local", "--model", NAME]
    with Hub(files) as hub:
        environment = {**clean_environment(), "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "TERM": "dumb"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL
        )
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, answer.encode())
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # the terminal is closed
            pass
        assert process.wait(60) == code, shown
    os.close(ours)
    assert b"is not on this machine" in shown
    assert str(tmp_path / "hub").encode() in shown
    assert (b"tiny.gguf: 100%" in shown) == (code == 0)

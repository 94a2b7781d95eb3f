"""`graphcap models` and `--yes` with a Hugging Face hub on loopback."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from tests.guard import GUARD
from tests.local import tiny
from tests.local.hub import Hub
from tests.service import ROOT, clean_environment, until

pytestmark = pytest.mark.slow
NAME, MODEL = "acme/tiny:tiny.gguf", "acme/tiny/tiny.gguf"
COMMAND = [sys.executable, "-m", "bridge.cli"]
PIECE = 10 * 2**20  # huggingface_hub writes pieces of 10 MiB
PHOTO = "workspace/datasets/samples/cat.jpg"
DEFAULT = "ggml-org/SmolVLM-500M-Instruct-GGUF"
Graphcap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of the repository acme/tiny, with two projectors."""
    path = tiny.write(tmp_path_factory.mktemp("hub"))
    model, projector = path.read_bytes(), path.with_name("mmproj-tiny.gguf").read_bytes()
    contents = {"tiny.gguf": model, "mmproj-tiny-Q8_0.gguf": projector, "mmproj-tiny-f16.gguf": projector + b"16"}
    return {f"acme/tiny/{name}": content for name, content in contents.items()}


@pytest.fixture
def large(files: dict[str, bytes]) -> dict[str, bytes]:
    return {**files, MODEL: bytes(25 * 2**20)}


def environment(folder: Path, hub: str) -> dict[str, str]:
    return {**clean_environment(), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub}


@pytest.fixture
def graphcap(tmp_path: Path) -> Graphcap:
    """Run the command line in a process with an empty cache below `tmp_path`."""

    def run(*arguments: str, hub: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=ROOT,
            env={**environment(tmp_path, hub), **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def cached_files(folder: Path) -> dict[str, int]:
    """Return the files with content in the cache, blobs and incomplete downloads, with their sizes."""
    return {path.name: path.stat().st_size for path in folder.rglob("blobs/*")}


def test_pull_path_list_caption_and_remove(files: dict[str, bytes], graphcap: Graphcap, tmp_path: Path) -> None:
    with Hub(files) as hub:
        pulled = graphcap("models", "pull", NAME, hub=hub.url)
        assert pulled.returncode == 0, pulled.stderr
        model, projector = map(Path, pulled.stdout.split())
        assert (model.name, projector.name) == ("tiny.gguf", "mmproj-tiny-Q8_0.gguf")
        assert model.read_bytes() == files["acme/tiny/tiny.gguf"]
    # From here on, the hub is stopped.
    assert graphcap("models", "path", NAME).stdout == f"{model}\n"
    captioned = graphcap("caption", PHOTO, "--provider", "local", "--model", NAME, "--json", "-p", "custom_caption")
    assert captioned.returncode == 0, captioned.stderr
    assert json.loads(captioned.stdout)["provider"] == "local"
    assert "Removed 2 MB" in graphcap("models", "remove", NAME).stderr
    assert cached_files(tmp_path) == {}
    assert "is not on this machine" in graphcap("models", "remove", NAME).stderr
    assert graphcap("models", "path", NAME).returncode == 4


def test_a_broken_connection_is_resumed(large: dict[str, bytes], graphcap: Graphcap) -> None:
    with Hub(large, breaks=1) as hub:
        assert graphcap("models", "pull", NAME, hub=hub.url).returncode == 0
    assert hub.ranges == [f"bytes={PIECE}-"]


def test_an_incomplete_file_that_is_too_long_is_downloaded_again(
    large: dict[str, bytes], graphcap: Graphcap, tmp_path: Path
) -> None:
    with Hub(large) as hub:
        assert graphcap("models", "pull", NAME, hub=hub.url).returncode == 0
        (blob,) = (path for path in tmp_path.rglob(sha256(large[MODEL]).hexdigest()))
        blob.rename(blob.with_name(f"{blob.name}.incomplete")).write_bytes(large[MODEL] + b"x")
        assert graphcap("models", "pull", NAME, hub=hub.url).returncode == 0
        assert blob.read_bytes() == large[MODEL]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupted_pull_is_resumed_by_the_next_pull(
    large: dict[str, bytes], graphcap: Graphcap, tmp_path: Path, number: int, code: int
) -> None:
    with Hub(large, stalls=24 * 2**20) as content, Hub(large, content=content) as hub:
        variables = {**environment(tmp_path, hub.url), "HF_TOKEN": "hf_token"}
        with subprocess.Popen([*COMMAND, "models", "pull", NAME], cwd=ROOT, env=variables) as pull:
            unfinished = {f"{sha256(large[MODEL]).hexdigest()}.incomplete": 2 * PIECE}
            until(lambda: cached_files(tmp_path) == unfinished)
            pull.send_signal(number)
        assert pull.returncode == code
        assert cached_files(tmp_path) == unfinished
        assert graphcap("models", "path", NAME).returncode == 4
        content.stalls, content.sent = None, 0
        assert graphcap("models", "pull", NAME, hub=hub.url).returncode == 0
    assert content.ranges == [f"bytes={2 * PIECE}-"]
    assert content.sent == len(large[MODEL]) - 2 * PIECE + len(large["acme/tiny/mmproj-tiny-Q8_0.gguf"])
    assert ("Bearer hf_token" in hub.keys, content.keys) == (True, {None})
    assert "Removed 27 MB" in graphcap("models", "remove", NAME).stderr
    assert cached_files(tmp_path) == {}


@pytest.mark.parametrize(
    ("hub", "name", "environment", "sentence"),
    [
        ({"wrong_hash": True}, NAME, {}, "The file 'tiny.gguf' is not the expected one: its size or its hash differs."),
        ({"etag": "../../../escaped"}, NAME, {}, "The hub names no valid hash (ETag) for 'tiny.gguf'."),
        ({}, "smolvlm-500m", {}, "The file 'SmolVLM-500M-Instruct-Q8_0.gguf' is not the expected one"),
        ({"error": (401, "GatedRepo")}, NAME, {}, "The model is gated. Accept its terms at https://"),
        (
            {"error": (401, "")},
            NAME,
            {},
            "The hub does not allow this download. Check the name 'acme/tiny', or set HF_TOKEN.",
        ),
        ({"error": (404, "RepoNotFound")}, NAME, {}, "The hub has no public repository 'acme/tiny'"),
        ({}, "acme/tiny:absent.gguf", {}, "The repository 'acme/tiny' does not have the file."),
        ({"error": (404, "RevisionNotFound")}, NAME, {}, "The repository 'acme/tiny' has no revision 'main'."),
        ({}, "acme/blind:blind.gguf", {}, "The repository 'acme/blind' has no vision projector (mmproj)."),
        ({"size": 2**60}, NAME, {}, "The file 'tiny.gguf' needs 1152921504607 MB, and "),
        ({}, NAME, {"HF_ENDPOINT": "http://127.0.0.1:9"}, "The hub cannot be reached. Check the network and HF_EN"),
        ({"error": (410, "")}, NAME, {}, "The hub responded with status 410. Run the command again later."),
        ({}, NAME, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids downloads. Unset it"),
        ({}, NAME, {"HF_HOME": "/proc/nowhere"}, "The cache /proc/nowhere/hub cannot be written. Set HF_HOME"),
        ({}, "nonsense", {}, "No model 'nonsense'. Choose smolvlm-500m,"),
    ],
)
def test_each_failure_is_one_sentence_and_leaves_no_files(
    files: dict[str, bytes],
    graphcap: Graphcap,
    tmp_path: Path,
    hub: dict[str, object],
    name: str,
    environment: dict[str, str],
    sentence: str,
) -> None:
    wrong_model = b"GGUF but not this model"
    served = {**files, f"{DEFAULT}/SmolVLM-500M-Instruct-Q8_0.gguf": wrong_model, "acme/blind/blind.gguf": wrong_model}
    with Hub(served, **hub) as running:  # type: ignore[arg-type]
        done = graphcap("models", "pull", name, hub=running.url, **environment)
    assert done.returncode == (2 if name == "nonsense" else 4)
    assert done.stderr.startswith(f"graphcap: {sentence}")
    assert len(done.stderr.splitlines()) == 1
    assert cached_files(tmp_path) == {}


def test_caption_downloads_only_with_consent(files: dict[str, bytes], graphcap: Graphcap) -> None:
    command = ("caption", PHOTO, "--provider", "local", "--model", NAME, "-p", "custom_caption")
    with Hub(files) as hub:
        refused = graphcap(*command, hub=hub.url)
        assert refused.returncode == 4
        assert f"Run `graphcap models pull {NAME}`, or add --yes" in refused.stderr
        assert graphcap(*command, "--yes", hub=hub.url).returncode == 0


def read_terminal(controller: int) -> bytes:
    """Return the next output of a terminal. Raises OSError after its end."""
    assert select.select([controller], [], [], GUARD)[0], "the terminal shows nothing more"
    return os.read(controller, 4096)


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 4), ("an interrupt", 130)])
def test_caption_asks_on_a_terminal(files: dict[str, bytes], tmp_path: Path, answer: str, code: int) -> None:
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command = [*COMMAND, "caption", PHOTO, "--provider", "local", "--model", NAME]
    with Hub(files) as hub:
        env = {**environment(tmp_path, hub.url), "TERM": "dumb"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=terminal, stderr=terminal, stdout=subprocess.DEVNULL
        )
        os.close(terminal)
        shown = b""
        try:
            while b"[y/N]" not in shown:
                shown += read_terminal(controller)
            if code == 130:
                process.send_signal(signal.SIGINT)
            else:
                os.write(controller, answer.encode())
            with suppress(OSError):  # the terminal is closed
                while chunk := read_terminal(controller):
                    shown += chunk
            assert process.wait(GUARD) == code, shown
        finally:
            process.kill()
            process.wait()
            os.close(controller)
    assert b"(unverified, licence: see its page) is not on this machine" in shown
    assert str(tmp_path / "hf/hub").encode() in shown
    assert (b"tiny.gguf: 100%" in shown) == (code == 0)

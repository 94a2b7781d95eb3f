"""The image of the Dockerfile: unprivileged, with a read-only file system."""

import io
import os
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import httpx
import pytest
from PIL import Image

from tests.api import streams
from tests.api.sockets import socket as streaming_socket
from tests.deploy.fleet import free_port
from tests.e2e.image import Stage, build, context_files
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, WORKSPACE
from tests.tools import need, need_namespaces, need_python

pytestmark = pytest.mark.slow

START_SECONDS = 60
WRITE_EVERYWHERE = """
import errno, pathlib, sys
for folder in ("/", "/tmp", "/opt/graphcap", "/usr/local/lib", "/workspace", "/workspace/datasets"):
    try:
        (pathlib.Path(folder) / "probe").write_text("")
    except OSError as error:
        assert error.errno == errno.EROFS, (folder, error)
    else:
        sys.exit(f"{folder} could be written")
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    need_namespaces()
    need("setpriv")
    python = need_python("3.12")
    return build(ROOT, tmp_path_factory.mktemp("image"), python)


@dataclass(frozen=True)
class Container:
    """A running container."""

    image: Stage
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    url: str

    def run(self, command: list[str]) -> int:
        """Return the exit code of another command in the container, as `docker exec` does."""
        return subprocess.run(confined(self.image, command), env=self.environment, check=False).returncode


@contextmanager
def running(image: Stage, **settings: str) -> Iterator[Container]:
    """Run a healthy container."""
    port = free_port()
    environment = image.environment | {"GRAPHCAP_PORT": str(port)} | settings
    process = subprocess.Popen(confined(image, image.command), env=environment)
    started = Container(image, environment, process, f"http://127.0.0.1:{port}")
    deadline = monotonic() + START_SECONDS
    try:
        while started.run(image.health) != 0:
            assert process.poll() is None, f"the container ended with {process.returncode}"
            assert monotonic() < deadline, "the container did not become healthy"
        yield started
    finally:
        process.kill()
        process.wait()


def confined(image: Stage, command: list[str], *, privileged: bool = False) -> list[str]:
    return image.enter(command if privileged else image.as_user(command), read_only=True, workspace=WORKSPACE)


def write_everywhere(image: Stage, command: list[str]) -> str:
    """Run the script, and return its standard error."""
    return subprocess.run(command, env=image.environment, capture_output=True, text=True, check=False).stderr


def test_every_write_fails_on_a_read_only_file_system(image: Stage) -> None:
    script = ["python", "-c", WRITE_EVERYWHERE]
    assert [write_everywhere(image, confined(image, script, privileged=user)) for user in (True, False)] == ["", ""]
    assert write_everywhere(image, image.enter(script)) == "/ could be written\n"
    (image.root / "probe").unlink()


def test_the_user_is_numeric_and_unprivileged(image: Stage) -> None:
    uid, gid = map(int, image.user.split(":"))
    assert uid >= 1000
    show = "import os; print(os.getuid(), os.getgid(), os.getgroups(), open('/proc/self/status').read())"
    command = confined(image, ["python", "-c", show])
    done = subprocess.run(command, env=image.environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{uid} {gid} []")
    assert "CapEff:\t0000000000000000" in done.stdout
    assert "NoNewPrivs:\t1" in done.stdout


def test_the_image_has_no_build_or_test_tools(image: Stage) -> None:
    programs = {path.name for path in (image.root / "opt/graphcap/bin").iterdir()}
    assert "graphcap" in programs
    assert not programs & {"uv", "pip", "pytest", "ruff", "mypy", "hadolint", "hatchling"}
    assert not (image.root / "build").exists()
    assert {"HOME", "TMPDIR"}.isdisjoint(image.environment)


def test_private_files_are_not_in_the_build_context(tmp_path: Path) -> None:
    for name in (".env", ".git/config", "workspace/config/providers.toml", "bridge/__pycache__/app.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bridge/app.py").touch()
    assert context_files(tmp_path, (ROOT / ".dockerignore").read_text()) == [tmp_path / "bridge/app.py"]


def upload(url: str) -> httpx.Response:
    noise = Image.frombytes("RGB", (3200, 2000), os.urandom(19_200_000))
    noise.save(image_bytes := io.BytesIO(), "PNG", compress_level=0)
    address = f"{url}/api/v1/perspectives/alt_text/caption"
    return httpx.post(address, files={"image": image_bytes.getvalue()}, timeout=60, trust_env=False)


def work(url: str, server: OpenAIServer) -> None:
    """Use every feature of the service once."""
    target = streams.caption(server)
    with httpx.Client(base_url=url + streams.API, timeout=60, trust_env=False) as client:
        for path, body, status in (
            ("/caption", {"perspective": "alt_text", "image": {"path": streams.SAMPLE}}, 200),
            ("/caption", target, 200),
            ("/caption", {**target, "image": {"base64": b64encode(streams.PHOTO.read_bytes()).decode()}}, 200),
            ("/caption", {**target, "image": {"path": "datasets/absent.jpg"}}, 404),
            ("/caption", {**target, "perspective": {"name": "x"}}, 422),
            ("/analyze", streams.analysis(server, "alt_text", "art_critic", streams.inline()), 200),
        ):
            response = client.post(path, json=body)
            assert response.status_code == status, response.text
        server.reply(b.InvalidJson(), b.Answer(streams.GOOD))
        assert client.post("/caption", json=target).status_code == 200
        server.reply(*[b.Status(500)] * 4)
        assert client.post("/caption", json=target).is_error
        provider = {"name": "x", "default_model": server.models[0], **target["provider_config"]}
        assert client.post(f"{url}/api/v1/providers/x/test-connection", json=provider).status_code == 200
        for page in ("/", "/page/app.js", "/page/bridge.js", "/docs", "/openapi.json", "/info", "/health"):
            assert client.get(url + page).status_code == 200
    assert upload(url).status_code == 200
    assert streams.streamed(url, "/caption", target)[-1]["type"] == "done"
    with streaming_socket(url) as item:
        item.send("caption", "a", **target)
        item.all_events("a", "mine")


def tree(*folders: Path) -> dict[str, tuple[int, int, int]]:
    """Return the mode, size and modification time of every file and folder."""
    result = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            about = path.lstat()
            result[str(path)] = (about.st_mode, about.st_size, about.st_mtime_ns)
    return result


def test_everything_works_on_a_read_only_file_system(image: Stage, vllm_server: OpenAIServer) -> None:
    before = tree(image.root, WORKSPACE)
    with running(image, GRAPHCAP_REQUEST_PROVIDERS="any") as item:
        work(item.url, vllm_server)
        item.process.send_signal(signal.SIGTERM)
        assert item.process.wait(timeout=60) == 0
        assert item.run(image.health) != 0
    assert tree(image.root, WORKSPACE) == before

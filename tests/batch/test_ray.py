"""`graphcap batch --engine ray` on a cluster of three nodes: their outputs are those of a run in one process."""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from providers.local_models import known_models
from tests.batch.conftest import Graphcap, at, content, files, lines, photos, picture, started
from tests.deploy.fleet import free_port
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import ROOT, clean_environment
from tests.tools import children_of, read_process

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="Ray is not installed")
_NODES = 3
_IMAGES = 2000
_NAMES = [f"{number % 7}/{number}.jpg" for number in range(_IMAGES)]
_OUTPUTS = ("--out", "txt", "json", "jsonl")
_ATTEMPTS = 7
_HANG_GUARD = 350
"""Seconds until a command that does not end, or makes no call, is a failure. Ray may need minutes on a busy machine."""
_KEY = "sk-secret-of-the-run"
_EQUAL = {"RAY_worker_niceness": "0"}
"""Ray gives its workers the niceness 15. With it, they would hardly run beside other tests."""
_PORTS = ("dashboard-agent-grpc-port", "dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port")


class RayNode:
    """A node of a cluster, with one CPU. `address`: of the head; "" to be the head."""

    def __init__(self, folder: Path, host: str, port: int, address: str, environment: dict[str, str]) -> None:
        options = ["--head", f"--port={port}", "--include-dashboard=false"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={host}"]
        command += [f"--address={address}"] if address else options
        # In one folder, nodes that start together may choose the same socket, and one of them fails after 30 s.
        command += [f"--temp-dir={folder / host.rpartition('.')[2]}"]
        # Ray waits 15 s only until its own processes have chosen a port.
        command += [f"--{name}={free_port()}" for name in _PORTS]
        # The object store is a file, because a container has only 64 MB in /dev/shm.
        command += ["--num-cpus=1", "--object-store-memory=80000000", f"--plasma-directory={folder}"]
        self.output = ""
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def has_joined(self) -> bool:
        """Wait until the node has joined the cluster. Return False if it gave up."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            if "--block" in line:
                return True
        return False

    def processes(self) -> list[int]:
        """Return the ids of the processes of the node."""
        return _descendants(self._process.pid)

    def kill(self) -> None:
        """Kill every process of the node at once."""
        for number in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


def _descendants(process: int) -> list[int]:
    children = children_of(process)
    return [*children, *(each for child in children for each in _descendants(child))]


class RayCluster:
    """A cluster of three nodes on loopback. `options`, `environment`: of a command that uses it. `folder`: its logs."""

    def __init__(self, folder: Path) -> None:
        # Every connection needs a token, which stays out of the home directory.
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "1000",  # a dead node is noticed after 5 periods, which are 3 s by default
            **_EQUAL,
        }
        self.folder, self._port = folder, free_port()
        self._head = f"127.0.0.2:{self._port}"
        self.options = ("--engine", "ray", "--ray-address", self._head)
        self.nodes: list[RayNode] = []
        self._hosts = (f"127.0.0.{number}" for number in range(2, 255))
        try:
            self._start(1, "")
            self.complete()
        except BaseException:
            self.stop()
            raise

    def complete(self) -> None:
        """Start as many nodes as are missing."""
        self._start(_NODES - len(self.nodes), self._head)

    def _start(self, number: int, address: str) -> None:
        """Start nodes together. Ray gives them 30 seconds to start, so a busy machine needs several attempts."""
        environment = {**clean_environment(), **self.environment, "PYTHONPATH": str(ROOT)}
        for _ in range(_ATTEMPTS):
            nodes = [RayNode(self.folder, next(self._hosts), self._port, address, environment) for _ in range(number)]
            self.nodes += nodes
            for node in nodes:
                if node.has_joined():
                    number -= 1
                else:
                    node.kill()
                    self.nodes.remove(node)
            if not number:
                return
        pytest.fail(f"{number} nodes did not start: {nodes[-1].output}")

    def stop(self) -> None:
        """End every node."""
        for node in reversed(self.nodes):
            node.kill()

    def kill_actors(self) -> None:
        """Kill the processes that caption. Ray starts them again."""
        for node in self.nodes:
            for number in node.processes():
                if b"MapWorker" in read_process(number, "cmdline"):
                    os.kill(number, signal.SIGKILL)

    def logs_with(self, text: str) -> list[str]:
        """Return the files of the cluster that contain a text."""
        found = subprocess.run(["grep", "-rlaF", "--devices=skip", text, self.folder], capture_output=True, text=True)
        return found.stdout.splitlines()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A cluster for the tests of this module. The first of them kills a node.

    Its folder has a short name, because the path of a Unix socket may have 107 bytes only.
    """
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        cluster = RayCluster(Path(folder))
        yield cluster
        cluster.stop()


def run(cluster: RayCluster, *arguments: Any, cwd: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Run a batch on the cluster. Return its exit code and what it printed."""
    with started(*arguments, *cluster.options, cwd=cwd, **{**cluster.environment, **environment}) as process:
        out, err = process.communicate(timeout=_HANG_GUARD)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    """One server for the runs that are compared, because a row depends on its address."""
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture(scope="module")
def whole(server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The files of a run in one process over 2,000 images, without times."""
    folder = photos(tmp_path_factory.mktemp("whole"), *_NAMES)
    with started(folder, *at(server), *_OUTPUTS) as process:
        _, err = process.communicate(timeout=_HANG_GUARD)
    assert (process.returncode, len(server.calls)) == (0, _IMAGES), err
    return content(folder)


def run_though_a_node_dies(cluster: RayCluster, server: OpenAIServer, *arguments: Any, **environment: str) -> None:
    """Caption 2,000 images on three nodes, one of which is killed when a quarter of them is captioned."""
    cluster.complete()
    options = (*arguments, *at(server), "--concurrency", "12", *cluster.options)
    with started(*options, **cluster.environment, **environment) as process:
        server.wait_for_calls(_IMAGES // 4, _HANG_GUARD)
        cluster.nodes.pop().kill()
        _, err = process.communicate(timeout=_HANG_GUARD)
    assert (process.returncode, _KEY in err) == (0, False), err
    assert len({call.image.sha256 for call in server.calls if call.image}) == _IMAGES
    assert len(server.calls) <= _IMAGES + 128  # the lost blocks: two of 64 images


def test_every_image_is_captioned_once_though_a_node_dies(
    cluster: RayCluster, server: OpenAIServer, whole: dict[str, Any], tmp_path: Path
) -> None:
    server.calls.clear()
    run_though_a_node_dies(cluster, server, photos(tmp_path, *_NAMES), *_OUTPUTS, GRAPHCAP_PROVIDER_KEY=_KEY)
    assert content(tmp_path) == whole
    assert server.calls[-1].headers["authorization"] == f"Bearer {_KEY}"
    assert cluster.logs_with(_KEY) == []
    assert cluster.logs_with("MapWorker") != []


def test_from_a_bucket_to_a_bucket_though_a_node_dies(
    cluster: RayCluster,
    server: OpenAIServer,
    whole: dict[str, Any],
    batch: Graphcap,
    s3: dict[str, str],
    tmp_path: Path,
) -> None:
    import s3fs
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3 import s3_backends

    secret, url = s3["AWS_SECRET_ACCESS_KEY"], s3["AWS_ENDPOINT_URL"]
    fs = s3fs.S3FileSystem(key="a", secret=secret, endpoint_url=url, use_listings_cache=False)
    fs.mkdir("there")
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # of the server, in this process: 2,000 uploads would take 15 s
    for number, name in enumerate(_NAMES):
        backend.put_object("there", f"in/{name}", picture(number))
    arguments = ("s3://there/in", "--output-dir", "s3://there/out", "--out", "jsonl")
    server.calls.clear()
    assert batch(*arguments, *at(server), "--limit", "25", **s3).code == 0
    assert len(server.calls) == 25
    run_though_a_node_dies(cluster, server, *arguments, **s3)
    fs.get("there/out", str(tmp_path), recursive=True)
    expected = {name: text for name, text in whole.items() if name.endswith((".jsonl", ".tables"))}
    assert content(tmp_path / "out") == expected
    rows = expected["captions.jsonl"]
    assert len({row["file_name"] for row in rows}) == len(rows) == _IMAGES
    assert cluster.logs_with(secret) == []


def test_failures_are_those_of_a_process(cluster: RayCluster, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(12)))
    (tmp_path / "0-empty.jpg").touch()
    vllm_server.reply(*(b.Status(503, retry_after=0.01),) * 30, *(b.Answer(),) * 4)
    vllm_server.default = b.Status(401)
    actor = ("--num-actors", "1")  # starts sooner than three
    limit = {"RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "1"}  # the command removes it
    code, out, err = run(cluster, tmp_path, *at(vllm_server), "--json", *actor, **limit)
    events = [json.loads(line) for line in out.splitlines()]
    types = [event["type"] for event in events]
    assert (code, "API key" in err, texts(tmp_path), types[-1]) == (4, True, 4, "finished"), err
    assert (types.count("paused"), types.count("resumed")) == (1, 1)
    actors = [event for event in events if event["type"] == "actors"]
    assert actors == [
        {"type": "actors", "ready": 0, "pending": 1, "restarting": 0},
        {"type": "actors", "ready": 1, "pending": 0, "restarting": 0},
    ]
    codes = {line["path"]: line["code"] for line in lines(tmp_path / "failures.jsonl")}
    assert codes["0-empty.jpg"] == "invalid_image"
    assert set(codes.values()) == {"invalid_image", "provider_auth"}


def test_an_error_of_ray_data_is_one_sentence(cluster: RayCluster, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """Ray Data rejects this ratio with an AssertionError, which has no base class but Exception."""
    photos(tmp_path, "a.jpg")
    code, _, err = run(cluster, tmp_path, *at(vllm_server), RAY_DATA_OP_RESERVATION_RATIO="2")
    assert (code, "The Ray cluster ended the run: Assertion" in err, "Traceback" in err) == (4, True, False), err
    assert (vllm_server.calls, files(tmp_path)) == ([], set())


def test_an_interrupt_finishes_calls_in_flight(cluster: RayCluster, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(400)))
    vllm_server.default = b.Hold()
    options = (*cluster.options, "--num-actors", "1", "--concurrency", "4")
    with started(tmp_path, *at(vllm_server), *options, **cluster.environment) as process:
        vllm_server.wait_for_calls(4, _HANG_GUARD)
        interrupt(process)
        vllm_server.release()
        assert process.wait(_HANG_GUARD) == 130
    assert 4 <= len(vllm_server.calls) < 400
    assert texts(tmp_path) == len(vllm_server.calls)


def test_a_paused_actor_is_killed_then_interrupted(
    cluster: RayCluster, vllm_server: OpenAIServer, tmp_path: Path
) -> None:
    """Ray starts the actor again, which is not paused then. The interrupt does not wait for the provider."""
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    vllm_server.default = b.Status(503, retry_after=0.01)
    options = (*cluster.options, "--num-actors", "1", "--give-up-after", "3600", "--json")
    with started(tmp_path, *at(vllm_server), *options, **cluster.environment) as process:
        wait_for(process, "paused")
        cluster.kill_actors()
        wait_for(process, "resumed")
        wait_for(process, "paused")
        process.send_signal(signal.SIGINT)
        assert process.wait(_HANG_GUARD) == 130


def test_a_second_interrupt_ends_a_local_cluster(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(200)))
    vllm_server.reply(*(b.Answer(),) * 127)  # all images of one block, whichever is first of the two that run together
    vllm_server.default = b.Hold()
    with started(tmp_path, *at(vllm_server), "--engine", "ray", "--num-actors", "1", "--json", **_EQUAL) as process:
        assert process.stdout is not None
        assert len(list(islice((line for line in process.stdout if '"captioned"' in line), 64))) == 64
        ends = [os.pidfd_open(number) for number in children_of(process.pid)]
        interrupt(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(_HANG_GUARD) == 130
    vllm_server.release()
    assert 64 <= texts(tmp_path) < 128
    assert ends
    for end in ends:  # a descriptor is readable when its process has ended
        assert select.select([end], [], [], _HANG_GUARD)[0]
        os.close(end)


def interrupt(process: subprocess.Popen[str]) -> None:
    """Interrupt a command, and wait until it reports that it ends."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("Finishing" in line for line in process.stderr)


def wait_for(process: subprocess.Popen[str], event: str) -> None:
    """Wait until a command with `--json` prints an event of this type."""
    assert process.stdout is not None
    assert any(json.loads(line)["type"] == event for line in process.stdout)


def texts(folder: Path) -> int:
    """Return the number of text sidecars."""
    return sum(name.endswith(".txt") for name in files(folder))


MISTAKES = [
    (("--engine", "ray", "--ray-address", "127.0.0.1:9"), "There is no Ray cluster at '127.0.0.1:9'"),
    (("--engine", "ray", "--ray-address", "ray://127.0.0.1:9"), "not of the form HOST:PORT"),
    (("--engine", "ray", "--output-dir", "/proc/captions"), "cannot be written"),
    (("--num-actors", "2"), "require --engine ray"),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=[row[1] for row in MISTAKES])
def test_a_mistake_is_one_sentence(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    result = batch(photos(tmp_path, "a.jpg"), *at(vllm_server), *options)
    assert (result.code, sentence in result.err, result.err.count("\n")) == (2, True, 1), result.err
    assert (vllm_server.calls, files(tmp_path)) == ([], set())


def test_ray_is_not_installed(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = batch(photos(tmp_path, "a.jpg"), *at(vllm_server), "--engine", "ray")
    assert (result.code, "pip install 'graphcap-bridge[ray]'" in result.err) == (2, True), result.err


def test_a_cluster_that_cannot_do_the_batch(cluster: RayCluster, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path / "photos", "a.jpg")
    (tmp_path / "sitecustomize.py").write_text("import bridge.version; bridge.version.__version__ = '0.0.1'")
    model = known_models()["smolvlm-256m"]
    folder = tmp_path / "hub" / f"models--{model.repository.replace('/', '--')}" / "snapshots" / model.revision
    folder.mkdir(parents=True)
    for file in filter(None, (model.model, model.mmproj)):
        (folder / file.file).touch()
    server, workspace = at(vllm_server), {"GRAPHCAP_WORKSPACE": str(ROOT / "workspace")}
    here, out = "/proc/self/cwd", ("--output-dir", tmp_path / "out")  # a node has another current folder
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "providers.toml").write_text(
        f'[providers.own]\nkind = "vllm"\nbase_url = "{vllm_server.url}"'
    )
    own = {"GRAPHCAP_WORKSPACE": here, "GRAPHCAP_PROVIDER": "own"}
    table: tuple[tuple[tuple[Any, ...], dict[str, str], str], ...] = (
        (("photos", *server, "--actor-cpus", "8"), {}, "No actor fits"),
        (("photos", *server), {"RAY_AUTH_TOKEN": "0" * 64}, "cannot be used"),
        (("photos", *server), {"PYTHONPATH": f"{tmp_path}:{ROOT}"}, "this machine 0.0.1"),
        ((f"{here}/photos", *server, *out), {}, f"cannot read '{here}/photos/a"),
        (("photos", *server), own, "The configuration is invalid:\n  - GRAPHCAP_PROVIDER: "),
        (("photos", "--provider", "local", "--model", model.name), {"HF_HOME": here}, "Run `graphcap models pull"),
    )
    with ThreadPoolExecutor(len(table)) as pool:
        results = [pool.submit(run, cluster, *row[0], cwd=tmp_path, **{**workspace, **row[1]}) for row in table]
    for (*_, sentence), result in zip(table, results, strict=True):
        code, _, err = result.result()
        text = "\n".join(line for line in err.splitlines() if not line.startswith("["))  # without the log of Ray itself
        expected = 4 if "graphcap models pull" in sentence else 2
        assert (code, sentence in text, text.count("\n")) == (expected, True, sentence.count("\n")), err
    assert (vllm_server.calls, files(tmp_path / "photos")) == ([], set())

"""The processes of the engines: who starts them, when they end, and what they say about bad files."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from providers import local, local_models
from providers.base import ProviderConfig, VisionRequest
from providers.errors import CallTimeout, EngineFailed, UnknownModel
from providers.local_engine import Options
from providers.local_supervisor import Engines, EngineSettings, Supervisor
from providers.pool import Pool
from tests.local import tiny
from tests.local.processes import engines_of, until
from tests.service import ROOT, WORKSPACE, clean_environment
from tests.tools import need, need_namespaces

pytestmark = pytest.mark.slow
GUARD = 60.0


def options(model: Path, **fields: object) -> Options:
    mmproj = str(model.with_name(f"mmproj-{model.name}"))
    return Options(**{"model": str(model), "mmproj": mmproj, "name": model.stem, "key": "", "context": 4096, **fields})  # type: ignore[arg-type]


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    running = Supervisor(EngineSettings())
    yield running
    running.close()
    assert engines_of(os.getpid()) == []


async def test_two_workers_share_one_engine(model: Path, supervisor: Supervisor) -> None:
    workers = [Engines(control=supervisor.control) for _ in range(2)]
    async with AsyncExitStack() as stack:
        leases = [await stack.enter_async_context(worker.lease(options(model), GUARD)) for worker in workers]
        assert leases[0].address == leases[1].address
        assert len(engines_of(os.getpid())) == 1
        (row,) = await workers[0].report()
        assert (row["state"], row["calls"], row["last_exit"]) == ("ready", 2, None)
    assert await workers[1].is_ready(options(model))


@pytest.fixture
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    """Engines with a supervisor of their own; the parameter is the idle time."""
    own = Engines(EngineSettings(idle=getattr(request, "param", 300)))
    yield own
    own.close()
    assert engines_of(os.getpid()) == []


@pytest.mark.parametrize("engines", [0], indirect=True)
async def test_an_idle_engine_ends_and_the_next_call_starts_it_again(model: Path, engines: Engines) -> None:
    keys = set()
    for _ in range(2):
        async with engines.lease(options(model), GUARD) as lease:
            keys.add(lease.address.key)
        await until(engines, state="stopped")
        assert engines_of(os.getpid()) == []
    assert len(keys) == 2


async def test_another_model_takes_the_place_of_an_idle_one(model: Path, tmp_path: Path, engines: Engines) -> None:
    for path in (model, tiny.write(tmp_path, "other")):
        async with engines.lease(options(path), GUARD):
            pass
        await until(engines, calls=0)
    assert [(row["model"], row["state"]) for row in await engines.report()] == [("tiny", "stopped"), ("other", "ready")]


async def test_the_environment_of_an_engine_has_no_key(
    model: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-engine-must-not-see")
    async with Engines(control=supervisor.control).lease(options(model), GUARD) as lease:
        (pid,) = engines_of(os.getpid())
        shown = arguments_and_environment(pid)
        assert b"must-not-see" not in shown
        assert lease.address.key.encode() not in shown
        os.kill(pid, signal.SIGTERM)  # of the process group: calls in progress may finish
        os.kill(pid, signal.SIGINT)
        assert httpx2.get(f"{lease.address.url}/health").status_code == 200


async def test_a_deadline_while_the_model_loads(model: Path, supervisor: Supervisor) -> None:
    engines = Engines(control=supervisor.control)
    with pytest.raises(CallTimeout, match=r"still loading after 0.001 seconds. Send the request again"):
        async with engines.lease(options(model), 0.001):
            pass
    async with engines.lease(options(model), GUARD):  # it went on loading
        assert len(engines_of(os.getpid())) == 1


def test_an_engine_does_not_start_for_a_parent_that_has_ended() -> None:
    command = [sys.executable, "-m", "providers.local_engine", "1"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=GUARD, check=False).returncode == 3


def arguments_and_environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()


Prepare = Callable[[Path], str]


def not_gguf(folder: Path) -> str:
    (folder / "bad.gguf").write_bytes(b"not a model")
    return str(folder / "bad.gguf")


def without_projector(folder: Path) -> str:
    return str(tiny.write_text_model(folder / "alone.gguf"))


def two_projectors(folder: Path) -> str:
    for name in ("mmproj-a.gguf", "mmproj-b.gguf"):
        tiny.write_projector(folder / name)
    return str(tiny.write_text_model(folder / "alone.gguf"))


def foreign_projector(folder: Path) -> str:
    tiny.write_projector(folder / "mmproj-tiny.gguf", width=48)
    return str(tiny.write_text_model(folder / "tiny.gguf"))


def only_projectors(folder: Path) -> str:
    tiny.write_projector(folder / "mmproj-tiny.gguf")
    return str(tiny.write_projector(folder / "tiny.gguf"))


def two_text_models(folder: Path) -> str:
    tiny.write_text_model(folder / "mmproj-tiny.gguf")
    return str(tiny.write_text_model(folder / "tiny.gguf"))


def truncated(folder: Path) -> str:
    path = tiny.write(folder)
    os.truncate(path, 300_000)
    return str(path)


def huge(folder: Path) -> str:
    path = tiny.write(folder)
    os.truncate(path, 2**43)  # sparse
    return str(path)


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (not_gguf, "'bad.gguf' is not a GGUF file. Convert the model"),
        (lambda folder: str(folder / "absent.gguf"), "There is no file 'absent.gguf'. Check the path"),
        (without_projector, r"needs a vision projector \(mmproj\), and none is beside it. Put mmproj-alone.gguf"),
        (two_projectors, "2 are beside it. Put mmproj-alone.gguf"),
        (foreign_projector, "projector belongs to another model. Use the mmproj of this model"),
        (only_projectors, "The file is a vision projector. Name the text model"),
        (two_text_models, "The mmproj is not a vision projector. Use"),
        (truncated, "The model 'tiny' cannot be loaded. The file is incomplete"),
        (huge, r"needs 9675.* GB of memory, and .* GB are available. Choose a smaller model"),
        (lambda folder: "acme/vision:model.gguf", "Run `graphcap models pull acme/vision:model.gguf`"),
        (lambda folder: "smolvlm-500m", "Run `graphcap models pull smolvlm-500m`"),
    ],
)
async def test_each_bad_file_is_one_sentence_with_the_remedy(
    tmp_path: Path, prepare: Prepare, sentence: str, monkeypatch: pytest.MonkeyPatch, engines: Engines
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    pool = Pool(engines=engines)
    client = local.LocalClient(ProviderConfig("local", "local"), pool)
    with pytest.raises(EngineFailed, match=sentence):
        await client.complete(VisionRequest(prepare(tmp_path), "Describe.", GUARD))
    assert engines_of(os.getpid()) == []
    await pool.aclose()


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        (
            "ip link set lo up; echo 50000 50000 > /proc/sys/net/ipv4/ip_local_port_range",
            "No port of this machine is free. End other programs.",
        ),
        ("ulimit -v 3000000", "There is too little memory. Choose a smaller model, or end other programs."),
    ],
    ids=["ports", "memory"],
)
def test_what_the_machine_lacks_is_one_sentence(model: Path, tmp_path: Path, limit: str, sentence: str) -> None:
    need("ip")
    need_namespaces()
    (tmp_path / "config").mkdir()
    text = f'[providers.local]\nkind = "local"\ndefault_model = "{model}"\noptions = {{ context = 10_000_000 }}\n'
    (tmp_path / "config" / "providers.toml").write_text(text)
    code = (
        "import socket, sys\n"
        "from bridge.cli import main\n"
        "with socket.create_server(('127.0.0.1', 50000)):\n"
        "    sys.exit(main(['caption', sys.argv[1], '--provider', 'local']))\n"
    )
    command = ["sh", "-euc", f'{limit}; exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(
        ["unshare", "--net", *command, str(WORKSPACE / "datasets" / "samples" / "cat.jpg")],
        env={**clean_environment(), "PYTHONPATH": str(ROOT), "GRAPHCAP_WORKSPACE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=5 * GUARD,
        check=False,
    )
    assert (done.returncode, done.stderr) == (4, f"graphcap: The model 'tiny' cannot be loaded. {sentence}\n")


async def test_a_service_loads_only_models_that_its_operator_named(model: Path) -> None:
    pool = Pool(engines=Engines(paths=frozenset({"/models/mine.gguf"})))
    client = local.LocalClient(ProviderConfig("local", "local"), pool)
    with pytest.raises(UnknownModel, match="does not serve the model"):
        await client.complete(VisionRequest(str(model), "Describe.", GUARD))
    with pytest.raises(EngineFailed, match=r"no file 'mine.gguf'"):
        await client.complete(VisionRequest("/models/mine.gguf", "Describe.", GUARD))


async def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "find_spec", lambda name: None)
    client = local.LocalClient(ProviderConfig("local", "local"), Pool())
    with pytest.raises(EngineFailed, match=r"needs the package xllamacpp. Run pip install '.\[local\]'"):
        await client.complete(VisionRequest("smolvlm-500m", "Describe.", GUARD))


def test_a_model_is_found_by_its_path_with_any_projector(model: Path, tmp_path: Path) -> None:
    projector = tiny.write_projector(tmp_path / "eyes.gguf")
    assert local_models.find(str(model)).mmproj == model.with_name("mmproj-tiny.gguf")
    assert local_models.find(f"{model},mmproj={projector}").mmproj == projector
    assert local_models.find(str(model), str(projector)).mmproj == projector
    with pytest.raises(UnknownModel, match="Choose one of smolvlm-500m, "):
        local_models.find("smolvlm-9000m")

"""Engine processes: start, end, idle time and errors for invalid files."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx2
import pytest

from providers import local, local_engine, local_models
from providers.base import ProviderConfig, VisionRequest
from providers.errors import CallTimeout, EngineFailed, UnknownModel
from providers.local_engine import Options
from providers.local_supervisor import Engines, EngineSettings, Supervisor
from providers.pool import Pool
from tests.guard import GUARD
from tests.local import tiny
from tests.local.processes import engines_of, until
from tests.service import ROOT, WORKSPACE, clean_environment
from tests.tools import need, need_namespaces, read_process

pytestmark = pytest.mark.slow


def options(model: Path, **fields: object) -> Options:
    mmproj = str(model.with_name(f"mmproj-{model.name}"))
    return Options(**{"model": str(model), "mmproj": mmproj, "name": model.stem, "key": "", "context": 4096, **fields})  # type: ignore[arg-type]


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    running = Supervisor(EngineSettings())
    yield running
    running.close()
    assert engines_of(os.getpid()) == []


@pytest.fixture
async def engines(request: pytest.FixtureRequest) -> AsyncIterator[Engines]:
    """Return engines with their own supervisor; the parameter is the idle time."""
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


@pytest.mark.parametrize("engines", [0], indirect=True)
async def test_an_engine_whose_process_could_not_start_is_started_again(
    model: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engines.lease(options(model), GUARD):
        pass
    await until(engines, state="stopped")
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(EngineFailed):
            async with engines.lease(options(model), GUARD):
                pass
    async with engines.lease(options(model), GUARD):
        pass


async def test_another_model_replaces_an_idle_one(model: Path, tmp_path: Path, engines: Engines) -> None:
    for path in (model, tiny.write(tmp_path, "other")):
        async with engines.lease(options(path), GUARD):
            pass
        await until(engines, calls=0)
    assert [(row["model"], row["state"]) for row in await engines.report()] == [("tiny", "stopped"), ("other", "ready")]


async def test_two_models_may_replace_an_idle_one_at_once(model: Path, tmp_path: Path, engines: Engines) -> None:
    async def load(path: Path) -> None:
        async with engines.lease(options(path), GUARD):
            pass

    await load(model)
    await until(engines, calls=0)
    await asyncio.gather(*(load(tiny.write(tmp_path, name)) for name in ("first", "second")))
    assert [row["load_seconds"] is not None for row in await engines.report()] == [True] * 3


async def test_the_environment_of_an_engine_has_no_key(
    model: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-engine-must-not-see")
    async with Engines(control=supervisor.control).lease(options(model), GUARD) as lease:
        (pid,) = engines_of(os.getpid())
        shown = read_process(pid, "environ") + read_process(pid, "cmdline")
        assert b"must-not-see" not in shown
        assert lease.address.key.encode() not in shown
        os.kill(pid, signal.SIGTERM)  # as sent to the process group; running calls may finish
        os.kill(pid, signal.SIGINT)
        assert httpx2.get(f"{lease.address.url}/health", timeout=GUARD).status_code == 200


def test_gpu_layers_threads_and_slots_reach_llama_cpp(model: Path) -> None:
    parameters = local_engine.parameters(options(model, gpu_layers=7, parallel=3))
    assert (parameters.n_gpu_layers, parameters.n_parallel, parameters.n_ctx) == (7, 3, 3 * 4096)
    assert parameters.cpuparams.n_threads == max(len(os.sched_getaffinity(0)) - 1, 1)


async def test_a_deadline_while_the_model_loads(model: Path, supervisor: Supervisor) -> None:
    engines = Engines(control=supervisor.control)
    with pytest.raises(CallTimeout, match=r"still loading after 0.001 seconds. Send the request again"):
        async with engines.lease(options(model), 0.001):
            pass
    async with engines.lease(options(model), GUARD):  # loading has continued
        assert len(engines_of(os.getpid())) == 1


def test_an_engine_does_not_start_for_a_parent_that_has_ended() -> None:
    command = [sys.executable, "-m", "providers.local_engine", "1"]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=GUARD, check=False).returncode == 3


Write = Callable[[Path], object]
TEXT, PROJECTOR = tiny.write_text_model, tiny.write_projector
MMPROJ = "mmproj-tiny.gguf"


def sized(size: int) -> Write:
    """Return a function that writes a text model and changes the size of its file, sparsely."""
    return lambda path: os.truncate(tiny.write_text_model(path), size)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"bad.gguf": lambda path: path.write_bytes(b"no")}, "'bad.gguf' is not a GGUF file. Convert the model"),
        ({"absent.gguf": None}, "There is no file 'absent.gguf'. Check the path"),
        ({"alone.gguf": TEXT}, r"needs a vision projector \(mmproj\), and none is beside it. Put mmproj-alone.gguf"),
        (
            {"alone.gguf": TEXT, "mmproj-a.gguf": PROJECTOR, "mmproj-b.gguf": PROJECTOR},
            "2 are beside it. Put mmproj-alone.gguf",
        ),
        (
            {"tiny.gguf": TEXT, MMPROJ: partial(PROJECTOR, width=48)},
            "projector belongs to another model. Use the mmproj of this model",
        ),
        ({"tiny.gguf": PROJECTOR, MMPROJ: PROJECTOR}, "The file is a vision projector. Name the text model"),
        ({"tiny.gguf": TEXT, MMPROJ: TEXT}, "The mmproj is not a vision projector. Use"),
        ({"tiny.gguf": sized(300_000), MMPROJ: PROJECTOR}, "The model 'tiny' cannot be loaded. The file is incomplete"),
        (
            {"tiny.gguf": sized(2**43), MMPROJ: PROJECTOR},
            r"needs 9675.* GB of memory, and .* GB are available. Choose a smaller model",
        ),
        ({"acme/vision:model.gguf": None}, "Run `graphcap models pull acme/vision:model.gguf`"),
        ({"smolvlm-500m": None}, "Run `graphcap models pull smolvlm-500m`"),
    ],
)
async def test_each_invalid_file_gives_one_sentence_with_the_remedy(
    tmp_path: Path, files: dict[str, Write | None], sentence: str, monkeypatch: pytest.MonkeyPatch, engines: Engines
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    pool = Pool(engines=engines)
    client = local.LocalClient(ProviderConfig("local", "local"), pool)
    for name, write in files.items():
        if write is not None:
            write(tmp_path / name)
    name = next(iter(files))  # the name of a model on the hub, or a file
    model = str(tmp_path / name) if name.endswith(".gguf") and "/" not in name else name
    with pytest.raises(EngineFailed, match=sentence):
        await client.complete(VisionRequest(model, "Describe.", GUARD))
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
def test_missing_resources_give_one_sentence(model: Path, tmp_path: Path, limit: str, sentence: str) -> None:
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


async def test_a_log_without_line_breaks_is_read(
    model: Path, tmp_path: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nhead -c 200000 /dev/zero >&2\nprintf 'failed to allocate' >&2\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(EngineFailed, match="There is too little memory"):
        async with engines.lease(options(model), GUARD):
            pass


async def test_a_service_loads_only_configured_models(model: Path) -> None:
    pool = Pool(engines=Engines(paths=frozenset({"/models/mine.gguf"})))
    client = local.LocalClient(ProviderConfig("local", "local"), pool)
    with pytest.raises(UnknownModel, match="does not serve the model"):
        await client.complete(VisionRequest(str(model), "Describe.", GUARD))
    with pytest.raises(EngineFailed, match=r"no file 'mine.gguf'"):
        await client.complete(VisionRequest("/models/mine.gguf", "Describe.", GUARD))


async def test_a_missing_package_gives_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
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

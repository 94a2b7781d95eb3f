"""A run whose process is interrupted, or whose output nobody reads."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from bridge.batch.models import Finished, Paused
from bridge.batch.options import Options
from bridge.batch.run import Batch
from bridge.batch.start import prepared
from bridge.captioning.services import open_services
from bridge.settings import load
from tests.batch.conftest import at, files, photos, picture, started
from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.servers import behaviours as b


@pytest.mark.parametrize(("number", "signals"), [(signal.SIGINT, 1), (signal.SIGHUP, 1), (signal.SIGINT, 2)])
@pytest.mark.slow
def test_an_interrupt_finishes_the_calls_in_flight(
    vllm_server: OpenAIServer, tmp_path: Path, number: signal.Signals, signals: int
) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(20)))
    vllm_server.default = b.Hold()
    default = ("env", "--default-signal=HUP")  # the process that runs the tests may ignore it
    with started(tmp_path, *at(vllm_server), "--concurrency", "3", before=default) as process:
        vllm_server.wait_for_calls(3)
        process.send_signal(number)
        assert process.stderr is not None
        guard = threading.Timer(GUARD, process.kill)
        guard.start()
        assert any("Finishing the calls in flight" in line for line in process.stderr)  # after lines about the progress
        guard.cancel()
        if signals == 1:
            vllm_server.release()
        else:
            process.send_signal(number)
        assert process.wait(GUARD) == 130
    assert len(vllm_server.calls) == 3
    assert len(files(tmp_path)) == (3 if signals == 1 else 0)


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_for_a_list() -> None:
    with started("-") as process:
        assert process.stdin is not None
        process.stdin.write("\n" * 100_000)  # more than a pipe holds: the command reads
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_an_interrupt_ends_a_paused_run(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    vllm_server.reply(b.Answer())  # for one perspective of an image whose other one waits for the provider
    vllm_server.default = b.Status(503, retry_after=0.01)
    with started(tmp_path, *at(vllm_server), "-p", "training_tags", "--concurrency", "1", "--json") as process:
        assert process.stdout is not None
        next(line for line in process.stdout if json.loads(line)["type"] == "paused")
        process.send_signal(signal.SIGINT)
        assert process.wait(GUARD) == 130
    assert len(files(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--json",), ("--dry-run",)])
def test_a_reader_that_ends(vllm_server: OpenAIServer, tmp_path: Path, options: tuple[str, ...]) -> None:
    """As after `| head -1`, the calls in flight are finished, and nothing is printed."""
    photos(tmp_path, *(f"{number}.jpg" for number in range(20)))
    vllm_server.default = b.Hold()
    context = "A long line. " * 9_000  # three of them do not fit into a pipe
    with started(tmp_path, *at(vllm_server), "--concurrency", "3", "--context", context, *options) as process:
        assert process.stdout is not None
        process.stdout.readline()
        if "--json" in options:
            vllm_server.wait_for_calls(3)
        process.stdout.close()
        vllm_server.release()
        assert process.wait(GUARD) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""
    sidecars = len(files(tmp_path))
    assert sidecars == len(vllm_server.calls)
    assert (3 <= sidecars < 20) == ("--json" in options)


@pytest.mark.slow
def test_a_closed_standard_error_does_not_change_the_exit_code(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    with started(tmp_path, *at(vllm_server)) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(GUARD) == 0
    assert files(tmp_path) == {"a.txt", "b.txt"}


@pytest.mark.slow
def test_a_run_without_standard_streams(vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg")
    closed = ("sh", "-c", '"$@" <&- >&- 2>&-', "sh")
    with started(tmp_path, *at(vllm_server), "--json", before=closed) as process:
        assert process.wait(GUARD) == 0
    assert files(tmp_path) == {"a.txt"}


def options_for(url: str, server: OpenAIServer, *perspectives: str) -> Options:
    """Return the options of a batch in this process."""
    request = {"provider_config": {"kind": "vllm", "base_url": server.url}, "model": "tiny-vision"}
    return Options((url,), perspectives, request)


async def test_a_cancelled_run_stores_finished_captions_and_does_not_hang(
    vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caption of an image is finished, the other one waits for the provider, and nobody reads further events."""
    monkeypatch.setattr("bridge.batch.run._EVENTS", 1)  # the events of a thousand images would fill the queue as well
    photos(tmp_path, "a.jpg")
    vllm_server.reply(b.Answer())
    vllm_server.default = b.Status(503, retry_after=0.01)
    options = options_for(str(tmp_path), vllm_server, "alt_text", "training_tags")
    async with open_services(load()) as services, prepared(options, services) as batch:
        events = Batch(batch).events()
        while not isinstance(await anext(events), Paused):
            pass
        await asyncio.wait_for(events.aclose(), GUARD)
    assert len(files(tmp_path)) == 1


class HeldFileSystem(MemoryFileSystem):
    """An object store in which one operation on a row of the index waits until `released` is set."""

    protocol = "held"
    store: ClassVar[dict[str, Any]] = {}
    operation = ""
    begun, released = threading.Event(), threading.Event()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.replace("held://", "memory://"))
        return stripped

    def _hold(self, operation: str, path: str) -> None:
        if operation == self.operation and "/.graphcap" in path and path.endswith(".jsonl"):
            self.begun.set()
            assert self.released.wait(GUARD), "The event loop waits for a thread."

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        self._hold("write", path)
        super().pipe_file(path, value, **options)

    def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
        self._hold("read", path)
        content: bytes = super().cat_file(path, *arguments, **options)
        return content


@pytest.fixture
def held() -> Iterator[type[HeldFileSystem]]:
    """The file system of `held://`, empty and without an operation that waits."""
    fsspec.register_implementation("held", HeldFileSystem, clobber=True)
    HeldFileSystem.store.clear()
    HeldFileSystem.operation = ""
    HeldFileSystem.begun.clear()
    HeldFileSystem.released.clear()
    HeldFileSystem().pipe_file("/set/a.jpg", picture(0))
    yield HeldFileSystem
    HeldFileSystem.released.set()


async def test_a_cancelled_run_waits_for_the_output_that_it_writes(
    held: type[HeldFileSystem], vllm_server: OpenAIServer
) -> None:
    """Otherwise a caption that is paid for would be lost, or written while another run uses the folder."""
    held.operation = "write"
    options = options_for("held://set", vllm_server, "alt_text")
    async with open_services(load()) as services, prepared(options, services) as batch:
        events = Batch(batch).events()
        await anext(events)
        await asyncio.to_thread(held.begun.wait, GUARD)
        end = asyncio.create_task(events.aclose())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not end.done()
        held.released.set()
        await asyncio.wait_for(end, GUARD)
    assert held().cat_file("/set/a.txt") == b"a alt_text"


async def test_an_interrupt_while_the_index_is_read(held: type[HeldFileSystem], vllm_server: OpenAIServer) -> None:
    held().pipe_file("/set/.graphcap.jsonl", b"")
    held.operation = "read"
    options = options_for("held://set", vllm_server, "alt_text")
    async with open_services(load()) as services, prepared(options, services) as batch:
        run = Batch(batch)
        events = run.events()
        first = asyncio.create_task(anext(events))
        await asyncio.to_thread(held.begun.wait, GUARD)
        run.stop()
        held.released.set()
        seen = [await first, *[event async for event in events]]
    assert isinstance(seen[-1], Finished)
    assert (seen[-1].end, vllm_server.calls) == ("interrupted", [])

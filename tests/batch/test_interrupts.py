"""A run whose process is interrupted, or whose output nobody reads."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from bridge.batch.models import Paused
from bridge.batch.options import Options
from bridge.batch.run import Batch
from bridge.batch.start import prepared
from bridge.captioning.services import open_services
from bridge.settings import load
from tests.batch.conftest import at, files, photos, started
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
    with started(tmp_path, *at(vllm_server), "--concurrency", "3") as process:
        vllm_server.wait_for_calls(3)
        for _ in range(signals):
            process.send_signal(number)
            assert process.stderr is not None
            if signals == 2:
                process.stderr.readline()
        if signals == 1:
            assert "Finishing the calls in flight" in process.stderr.readline()
            vllm_server.release()
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


async def test_a_cancelled_run_stores_finished_captions_and_does_not_hang(
    vllm_server: OpenAIServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One caption of an image is finished, the other one waits for the provider, and nobody reads further events."""
    monkeypatch.setattr("bridge.batch.run._EVENTS", 1)  # the events of a thousand images would fill the queue as well
    photos(tmp_path, "a.jpg")
    vllm_server.reply(b.Answer())
    vllm_server.default = b.Status(503, retry_after=0.01)
    request = {"provider_config": {"kind": "vllm", "base_url": vllm_server.url}, "model": "tiny-vision"}
    options = Options((str(tmp_path),), ("alt_text", "training_tags"), request)
    async with open_services(load()) as services, prepared(options, services) as batch:
        events = Batch(batch).events()
        while not isinstance(await anext(events), Paused):
            pass
        await asyncio.wait_for(events.aclose(), GUARD)
    assert len(files(tmp_path)) == 1

"""The display of a run in a pseudo-terminal, and what is written where there is none."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from array import array
from collections.abc import AsyncIterator
from select import select
from time import monotonic
from typing import Self

import pytest
from rich.cells import cell_len

from bridge.batch.models import Actors, Captioned, Event, Finished, Paused, Resumed, Row, Started, Totals, Waiting
from bridge.batch.options import Options
from bridge.batch.progress import follow
from bridge.batch.summary import Summary
from tests.guard import GUARD
from tests.service import ROOT, clean_environment

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
# Each line on standard input lets the run go on by one image; the end of the input ends it.
PROGRAM = """
import asyncio, sys
from bridge.batch.models import *
from bridge.batch.options import Options
from bridge.batch.progress import follow
from bridge.batch.summary import Summary

async def events():
    yield Started(9, 9, ("training_caption",), "photos", 2)
    yield Waiting(0, "model")
    yield Waiting(1, "image")
    number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        number += 1
        text = "日本 [bold]a\\x1b[31m cat[/bold] " * 20
        yield Captioned(Row(f"{number}.jpg", "p", text=text, attempts=1, input_tokens=1200))
    yield Finished(Totals(number))

asyncio.run(follow(events(), Summary(Options((), (), json_events="--json" in sys.argv)), stop=exit, seconds=0.01))
"""


class Terminal:
    """A process whose standard error is a terminal of this size."""

    def __init__(self, columns: int, *options: str, **environment: str) -> None:
        self._main, side = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *options],
            cwd=ROOT,
            env={**clean_environment(), "TERM": "xterm-256color", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=side,
        )
        os.close(side)
        self.shown = ""

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def step(self, text: str) -> str:
        """Let one image pass, and return what the terminal shows until `text` has appeared."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return self.until(text)

    def until(self, text: str) -> str:
        start, end = len(self.shown), monotonic() + GUARD
        while text not in ESCAPE.sub("", self.shown[start:]):
            assert select([self._main], [], [], end - monotonic())[0], f"'{text}' did not appear: {self.shown!r}"
            self.shown += os.read(self._main, 65536).decode("utf-8", "ignore")
        return self.shown[start:]

    def end(self) -> str:
        """End the run, and return what was written to standard output."""
        output, _ = self.process.communicate(timeout=GUARD)
        assert self.process.returncode == 0, self.shown
        while select([self._main], [], [], 0)[0]:
            try:
                self.shown += os.read(self._main, 65536).decode("utf-8", "ignore")
            except OSError:  # Linux: the other side is closed
                break
        return output.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._main)


def widest(frame: str) -> int:
    return max(cell_len(line) for line in re.split(r"[\r\n]+", ESCAPE.sub("", frame)))


@pytest.mark.slow
def test_a_terminal_that_is_resized() -> None:
    with Terminal(100) as shown:
        frame = shown.until("1 loading an image")
        assert "0 of 9" in frame
        frame = shown.step("1.jpg: 日本 [bold]a[31m cat")
        assert widest(frame) <= 100
        assert "1 waiting for the model, 1 loading an image" in frame
        assert "1 captioned, 1,200 tokens in, 0 out" in frame
        assert COLOUR.search(frame)
        shown.resize(30)
        for name in ("2.jpg: ", "3.jpg: "):  # the frame in which a name appears may have begun before the change
            shown.step(name)
        assert widest(shown.step("4.jpg: ")) <= 30
        shown.resize(8)
        for name in ("5.jpg", "6.jpg"):
            shown.step(name)
        assert widest(shown.step("7.jpg")) <= 8
        shown.end()
        assert shown.shown.count("\x1b[?25l") == shown.shown.count("\x1b[?25h") == 1  # the cursor is back


@pytest.mark.slow
def test_a_dumb_terminal_gets_lines() -> None:
    with Terminal(80, TERM="dumb") as shown:
        line = shown.step("1.jpg: ")
        shown.end()
        assert "\x1b" not in shown.shown
        assert "1 captioned" in line


@pytest.mark.slow
def test_json_leaves_standard_output_to_the_events_and_the_display_may_have_no_colour() -> None:
    with Terminal(80, "--json", NO_COLOR="1") as shown:
        shown.step("1.jpg: ")
        events = [json.loads(line) for line in shown.end().splitlines()]
        assert [event["type"] for event in events] == ["started", "waiting", "waiting", "captioned", "finished"]
        assert events[3]["row"]["key"] == "1.jpg"
        assert not COLOUR.search(shown.shown)


async def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A pause and its end, the last caption and a name that is not Unicode."""
    printed = ""

    async def printed_line(text: str) -> None:
        nonlocal printed
        async with asyncio.timeout(GUARD):
            while text not in printed:
                await asyncio.sleep(0)
                printed += capsys.readouterr().err

    async def events() -> AsyncIterator[Event]:
        await printed_line("Listing the images")
        yield Started(4, 2, ("a", "b"), "", 1)
        yield Waiting(0, "queued")
        await printed_line("0 of 4; 0 captioned; 1 in the provider's queue\n")
        yield Actors(ready=3, pending=2, restarting=1)
        await printed_line("; 3 of 6 actors ready, 2 starting or waiting for CPUs, 1 restarting\n")
        yield Paused("Provider rate limit exceeded", 10.0)
        await printed_line("; Paused: Provider rate limit exceeded\n")
        yield Resumed()
        yield Captioned(Row("a\n\udcff.jpg", "a", text="A cat.", attempts=1, cost=0.002))
        await printed_line(
            "1 captioned, $0.0020; 3 of 6 actors ready, 2 starting or waiting for CPUs, 1 restarting; a ?.jpg: A cat.\n"
        )
        yield Finished(Totals(1))

    summary = Summary(Options((), (), json_events=True))
    out = sys.stdout
    await follow(events(), summary, stop=sys.exit, seconds=0.001)
    assert sys.stdout is out
    assert summary.finished is not None
    assert next(line for line in printed.splitlines() if "1 of 4" in line).count("images/s") == 1


async def test_a_reader_that_pauses_blocks_no_other_task() -> None:
    source, target = os.pipe()
    resumed = threading.Event()

    def read() -> tuple[bool, str]:
        is_resumed = resumed.wait(GUARD)
        with os.fdopen(source) as file:
            return is_resumed, file.read()

    async def events() -> AsyncIterator[Event]:
        yield Started(1, 1, ("a",), "", 1)
        yield Captioned(Row("a.jpg", "a", text="x" * 200_000))
        yield Finished(Totals(1))

    async def run() -> None:
        with os.fdopen(target, "w") as out:
            await follow(events(), Summary(Options((), (), json_events=True)), stop=sys.exit, out=out)

    reader, writer = asyncio.create_task(asyncio.to_thread(read)), asyncio.create_task(run())
    waiting = array("i", [0])
    async with asyncio.timeout(GUARD):
        while waiting[0] < 50_000:
            await asyncio.sleep(0)
            fcntl.ioctl(source, termios.FIONREAD, waiting)
    resumed.set()
    await writer
    is_resumed, text = await reader
    assert is_resumed
    _, captioned, _ = map(json.loads, text.splitlines())
    assert captioned["row"]["text"] == "x" * 200_000

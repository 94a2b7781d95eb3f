"""A request ends at its deadline: slow work runs in threads, which cannot be cancelled and are not waited for."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bridge.captioning.answers import PartialObjects, read_answer
from bridge.captioning.plan import find_perspectives
from bridge.captioning.services import open_services
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.run import Run
from bridge.settings import Settings
from perspectives import perspective
from tests.service import ROOT, WORKSPACE

SECONDS = 0.005  # much less than the work takes
WIDE = {"type": "object", "properties": {f"f{number}": {} for number in range(990)}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": WIDE}}}
INLINE: dict[str, Any] = {"name": "mine", "prompt": "Describe the image.", "json_schema": SCHEMA}
MINE = perspective.parse(INLINE)
LARGE = json.dumps({"a": [{}] * 90_000})
IMPORT = """
import asyncio
from bridge.deadline import Deadline
from bridge.dispatch.clients import Clients
from bridge.run import Run
from providers.base import ProviderConfig
from providers.pool import Pool

asyncio.run(Clients(Pool(), Pool()).open(ProviderConfig("p", "vllm", "http://x"), True, Run(Deadline(0.005))))
"""

FIRST_RE_ASK = """
import asyncio, sys, threading
from tests.captioning.test_structured import WRONG, generate, new_run
from tests.servers import OpenAIServer

def note(event, arguments):
    if event == "import" and threading.current_thread() is threading.main_thread():
        imported.add(arguments[0].partition(".")[0])

imported = set()
with OpenAIServer("vllm") as server:
    server.reply(WRONG)
    sys.addaudithook(note)
    run = new_run(60)
    asyncio.run(generate(server, run))
print(len(run.attempts.calls), sorted(imported & {"anthropic", "instructor", "openai", "requests"}))
"""


async def parse(run: Run) -> object:
    async with open_services(Settings(workspace=WORKSPACE)) as services:
        run.deadline = Deadline(SECONDS)
        return await find_perspectives([INLINE], services, run)


@pytest.mark.parametrize(
    "work",
    [parse, lambda run: read_answer(LARGE, MINE, run.deadline), lambda run: PartialObjects(run, MINE).add(LARGE)],
    ids=["perspective", "answer", "partial object"],
)
async def test_a_slow_thread_does_not_delay_the_deadline(work: Callable[[Run], Awaitable[object]]) -> None:
    with pytest.raises(DeadlineExceeded):
        await work(Run(Deadline(SECONDS), emit=lambda event: None, streaming=True))


def test_a_slow_sdk_import_does_not_delay_the_deadline() -> None:
    ended = subprocess.run([sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "DeadlineExceeded" in ended.stderr
    assert "importing the SDK" in ended.stderr


@pytest.mark.slow
def test_the_first_re_ask_imports_instructor_outside_of_the_event_loop() -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_RE_ASK], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "2 []\n", ended.stderr

"""Work in threads ends for its request at the deadline, although a thread cannot be cancelled."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from bridge.captioning import answers, structured
from bridge.captioning.models import CaptionRequest
from bridge.captioning.plan import make_plan
from bridge.captioning.services import Services
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.clients import Clients
from bridge.run import Run
from perspectives import perspective
from providers import registry
from providers.base import ProviderConfig
from providers.pool import Pool
from tests.captioning.test_structured import WRONG, Script

HANG_GUARD = 60.0
WIDE = {"type": "object", "properties": {f"f{number}": {} for number in range(990)}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": WIDE}}}
INLINE: dict[str, Any] = {"name": "mine", "prompt": "Describe the image.", "json_schema": SCHEMA}
MINE = perspective.parse(INLINE)
LARGE = json.dumps({"a": [{}] * 90_000})


def ask(run: Run) -> Awaitable[object]:
    script = Script(WRONG)
    script.run = run
    return script.ask()


@pytest.mark.parametrize(
    ("module", "function", "work"),
    [
        (perspective, "parse", lambda run: make_plan(CaptionRequest(perspective=INLINE), cast(Services, None), run)),
        (answers, "read", lambda run: answers.read_answer(LARGE, MINE, run.deadline)),
        (answers, "partial_object", lambda run: answers.PartialObjects(run, MINE).add(LARGE)),
        (structured, "_import_instructor", ask),
        (
            registry,
            "client",
            lambda run: Clients(Pool(), Pool()).open(ProviderConfig("p", "vllm", "http://x"), True, run),
        ),
    ],
)
async def test_a_thread_that_takes_long_does_not_hold_the_request(
    monkeypatch: pytest.MonkeyPatch, module: Any, function: str, work: Callable[[Run], Awaitable[object]]
) -> None:
    end = threading.Event()
    monkeypatch.setattr(module, function, lambda *_: end.wait(HANG_GUARD))
    try:
        async with asyncio.timeout(HANG_GUARD):
            with pytest.raises(DeadlineExceeded):
                await work(Run(Deadline(0.3), emit=lambda event: None, streaming=True))
        assert not end.is_set()
    finally:
        end.set()

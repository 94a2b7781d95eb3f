"""Structured output with scripted answers: output modes, re-asks, the call budget."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest

from bridge.captioning.structured import Answer, StructuredOutput
from bridge.deadline import Deadline
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.targets import Target
from bridge.errors import OutputInvalid
from bridge.run import Attempt, Reset, Run
from perspectives import perspective as perspectives
from providers import errors
from providers.base import LADDER, Completion, Credentials, Delta, Image, OutputMode, ProviderConfig, VisionRequest
from providers.usage import Usage
from tests.contract.schemas import PLAIN

GOOD = '{"caption": "a cup"}'
WRONG = '{"caption": 7}'
IMAGE = Image(b"image", "image/jpeg", 1, 1)
TARGET = Target("scripted", ProviderConfig("scripted", "vllm"), "m", Credentials(), True)
TOKENS = Usage(10, 5)


class Script:
    """A dispatcher with scripted answers, the last one repeated; `requests` are the calls that were made."""

    def __init__(self, *steps: str | Exception, repeats: int = 0) -> None:
        """`repeats`: transport retries in each call."""
        self.steps = steps
        self.repeats = repeats
        self.requests: list[VisionRequest] = []
        self.events: list[Any] = []
        self.run = Run(Deadline(60), perspective="mine", emit=self.events.append, streaming=True)

    async def call(
        self, target: Target, request: VisionRequest, run: Run, *, reserve: int, has_fallback: bool
    ) -> AsyncGenerator[Delta | Completion]:
        self.requests.append(request)
        for _ in range(self.repeats + 1):
            attempt = Attempt(target.label, "e", request.model, request.output_mode, outcome="ok", usage=TOKENS)
            run.attempts.calls.append(attempt)
        step = self.steps[min(len(self.requests), len(self.steps)) - 1]
        if isinstance(step, Exception):
            attempt.outcome = "failed"
            raise step
        yield Delta(step)
        yield Completion(step, f"model-{len(self.requests)}", TOKENS)

    async def lower(self, target: Target, request: VisionRequest, run: Run) -> VisionRequest | None:
        step = LADDER.index(request.output_mode) + 1
        return replace(request, output_mode=LADDER[step]) if step < len(LADDER) else None

    async def ask(
        self,
        retries: int = 2,
        schema: Any = PLAIN,
        mode: OutputMode = LADDER[0],
        calls: int = 4,
        target: Target = TARGET,
        model: str = "m",
        **fields: Any,
    ) -> Answer:
        self.run.attempts.limit = calls
        perspective = perspectives.parse({"name": "mine", "prompt": "Look.", "json_schema": schema})
        request = VisionRequest(model, "Look.", 1, IMAGE, "Be brief.", schema=schema, output_mode=mode)
        output = StructuredOutput(request, target, perspective, cast(Dispatcher, self), self.run, **fields)
        return await output.generate(retries)

    @property
    def modes(self) -> list[str]:
        return [request.output_mode for request in self.requests]

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.run.attempts.calls]


def guess(error: errors.ProviderError) -> errors.ProviderError:
    """Return the error as one that may be about the schema."""
    if isinstance(error, errors.SchemaRejected):
        error.explained = False
    elif isinstance(error, errors.ServerFailed):
        error.may_be_schema = True
    return error


# Output modes.

REJECTED = errors.SchemaRejected("x")


@pytest.mark.parametrize(
    ("step", "mode", "calls", "modes"),
    [
        (REJECTED, "json_object", 4, ["json_object", "prompt"]),
        (REJECTED, "json_schema", 2, ["json_schema", "json_schema_relaxed"]),
        (guess(errors.SchemaRejected("x")), "json_schema", 4, ["json_schema", "json_schema_relaxed"]),
        (guess(errors.ServerFailed("x")), "json_schema", 4, ["json_schema", "json_schema_relaxed"]),
        (errors.ServerFailed("x"), "json_schema", 4, ["json_schema"]),
    ],
    ids=["below the last mode", "no calls left", "unexplained 400 twice", "unexplained 500 twice", "another 500"],
)
async def test_the_last_rejection_is_raised(
    step: errors.ProviderError, mode: OutputMode, calls: int, modes: list[str]
) -> None:
    script = Script(step)
    with pytest.raises(type(step)) as raised:
        await script.ask(mode=mode, calls=calls)
    assert raised.value is step
    assert script.modes == modes


@pytest.mark.parametrize(
    ("kind", "model", "temperature", "reason"),
    [("vllm", "m", 0.2, "temperature 0.2"), ("anthropic", "m", None, "retrying"), ("openai", "o3", None, "retrying")],
)
async def test_white_space_without_end_is_second_call_with_a_temperature_if_there_is_one(
    kind: str, model: str, temperature: float | None, reason: str
) -> None:
    script = Script(errors.WhitespaceRunaway("x", usage=TOKENS), GOOD)
    await script.ask(target=replace(TARGET, config=ProviderConfig("scripted", kind)), model=model)
    assert [request.options.temperature for request in script.requests] == [None, temperature]
    assert script.run.usage == Usage(20, 10)
    (reset,) = [event for event in script.events if isinstance(event, Reset)]
    assert reason in reset.reason
    script = Script(errors.WhitespaceRunaway("x"))
    with pytest.raises(errors.WhitespaceRunaway):
        await script.ask()
    assert len(script.requests) == 2


# Re-asks.


@pytest.mark.parametrize(
    ("retries", "calls", "reserve", "repeats", "answers"),
    [
        (0, 4, 0, 0, 1),
        (1, 4, 0, 0, 2),
        (2, 4, 0, 0, 3),
        (3, 4, 0, 0, 4),
        (3, 2, 0, 0, 2),
        (3, 1, 0, 0, 1),
        (3, 4, 2, 0, 2),
        (3, 4, 0, 1, 2),
    ],
)
async def test_retries_and_calls_bound_the_re_asks(
    retries: int, calls: int, reserve: int, repeats: int, answers: int
) -> None:
    script = Script(WRONG, repeats=repeats)
    with pytest.raises(OutputInvalid) as raised:
        await script.ask(retries, calls=calls, reserve=reserve)
    assert len(script.requests) == answers
    assert [problem.pointer for problem in raised.value.problems] == ["/caption"]
    assert ("once" if answers == 1 else f"{answers} times") in str(raised.value)


async def test_the_error_holds_no_text_of_the_answer() -> None:
    for script in (Script("PRIVATE text"), Script('{"caption": ["PRIVATE"]}')):
        with pytest.raises(OutputInvalid) as raised:
            await script.ask(1)
        assert "PRIVATE" not in f"{raised.value!s}{raised.value.problems}"


async def test_cancellation_during_a_re_ask() -> None:
    second_call = asyncio.Event()

    class Hanging(Script):
        async def call(self, *args: Any, **options: Any) -> AsyncGenerator[Delta | Completion]:
            if self.requests:
                second_call.set()
                await asyncio.Event().wait()
            async for part in super().call(*args, **options):
                yield part

    asking = asyncio.create_task(Hanging(WRONG).ask())
    await second_call.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_instructor_logs_no_answers(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("instructor").setLevel(logging.NOTSET)
    with caplog.at_level(logging.DEBUG):
        await Script('{"caption": ["PRIVATE"]}', "PRIVATE", GOOD).ask()
        with pytest.raises(OutputInvalid):
            await Script("PRIVATE").ask()
    text = [f"{record.getMessage()}{record.args}{record.exc_info}" for record in caplog.records]
    assert not [line for line in text if "PRIVATE" in line]
    assert not [record for record in caplog.records if record.name.startswith("instructor")]


# What counts as an answer.

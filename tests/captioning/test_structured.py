"""Structured output: output modes, re-asks and the limit of calls."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from bridge.captioning.answers import Reading
from bridge.captioning.structured import StructuredOutput
from bridge.errors import OutputInvalid
from bridge.run import Attempts, Reset, Run
from perspectives import perspective as perspectives
from providers import errors
from providers.base import OutputMode, ProviderConfig
from tests.contract.kinds import only
from tests.contract.schemas import PLAIN
from tests.dispatch.dispatching import REQUEST, TARGET, attempts, dispatching, endpoint, endpoints_of, new_run, outcomes
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

pytestmark = only("vllm")
WRONG = b.WrongSchema({"caption": ["PRIVATE"]})
RUNAWAY = b.Length('{"caption":' + "\n" * 100)
PERSPECTIVE = perspectives.parse({"name": "mine", "prompt": "Look.", "json_schema": PLAIN})


async def generate(server: OpenAIServer, run: Run, retries: int = 2, **fields: Any) -> Reading:
    async with dispatching(*endpoints_of(server)) as dispatcher:
        request = replace(REQUEST, schema=PLAIN, **fields)
        return await StructuredOutput(request, TARGET, PERSPECTIVE, dispatcher, run).generate(retries)


@pytest.mark.parametrize(
    ("mode", "calls", "modes"),
    [
        ("json_object", 4, ["json_object", "prompt"]),  # the last mode
        ("json_schema", 2, ["json_schema", "json_schema_relaxed"]),  # no calls are left
    ],
)
async def test_the_last_rejection_raises(server: OpenAIServer, mode: OutputMode, calls: int, modes: list[str]) -> None:
    server.default = b.RejectSchema()
    run = new_run(60, attempts=Attempts(calls))
    with pytest.raises(errors.ProviderError):
        await generate(server, run, output_mode=mode)
    assert attempts(run, lambda attempt: attempt.output_mode) == modes


async def test_endless_white_space_of_a_model_without_temperature_is_retried_once(server: OpenAIServer) -> None:
    """tests/contract covers models with a temperature."""
    server.default, server.models = RUNAWAY, ("o3",)
    events: list[object] = []
    run = new_run(60, emit=events.append)
    target = replace(TARGET, config=ProviderConfig("p", "openai"), model="o3")
    async with dispatching(*endpoints_of(server)) as dispatcher:
        output = StructuredOutput(replace(REQUEST, schema=PLAIN, model="o3"), target, PERSPECTIVE, dispatcher, run)
        with pytest.raises(errors.WhitespaceRunaway):
            await output.generate(2)
    assert len(server.calls) == 2
    assert not [call for call in server.calls if "temperature" in call.body]
    (reset,) = (event for event in events if isinstance(event, Reset))
    assert reset.reason == "The model wrote only white space; retrying."


@pytest.mark.parametrize(
    ("allowed", "failures", "answers"),
    [
        (Attempts(2), 0, 2),
        (Attempts(1), 0, 1),
        (Attempts(4, reserve=2), 0, 2),
        (Attempts(4), 1, 2),  # transport retries count too
    ],
)
async def test_re_asks_are_limited_by_the_allowed_calls(
    server: OpenAIServer, allowed: Attempts, failures: int, answers: int
) -> None:
    server.reply(*([b.Status(503, retry_after=0)] * failures + [WRONG]) * 4)
    run = new_run(60, attempts=allowed)
    with pytest.raises(OutputInvalid) as raised:
        await generate(server, run, retries=3)
    assert [outcome for _, outcome in outcomes(run)].count("invalid_answer") == answers
    assert [problem.pointer for problem in raised.value.problems] == ["/caption"]
    assert ("once" if answers == 1 else f"{answers} times") in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        '<think>Maybe {"caption": "a dog"}?</think>\n{"caption": "a cup"}',
        'Maybe {"caption": "a dog"}?</think>```json\n{"caption": "a cup"}\n```',
        '{"caption": "a cup"}</think>',
    ],
)
async def test_an_object_in_the_thoughts_of_a_model_is_not_the_answer(server: OpenAIServer, text: str) -> None:
    server.reply(b.Answer(text))
    reading = await generate(server, new_run(60))
    assert (reading.result, reading.text) == ({"caption": "a cup"}, text)


@pytest.mark.parametrize("invalid", [b.InvalidJson("PRIVATE text"), WRONG])
async def test_errors_and_logs_contain_no_answer_text(
    server: OpenAIServer, invalid: b.Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    """instructor logs answers with level ERROR."""
    logging.getLogger("instructor").setLevel(logging.NOTSET)
    server.default = invalid
    with caplog.at_level(logging.DEBUG), pytest.raises(OutputInvalid) as raised:
        await generate(server, new_run(60), retries=1)
    assert len(server.calls) == 2
    logged = [f"{record.getMessage()}{record.args}{record.exc_info}" for record in caplog.records]
    assert "PRIVATE" not in f"{raised.value!s}{raised.value.problems}{logged}"
    assert not [record for record in caplog.records if record.name.startswith("instructor")]


async def test_an_invalid_answer_is_recorded_without_the_key_of_any_endpoint(server: OpenAIServer) -> None:
    """The endpoints of a provider may have different keys."""
    server.default = b.InvalidJson("Authorization: Bearer key-of-a, or key-of-b")
    run = new_run(60)
    endpoints = [endpoint(name, server.url, f"key-of-{name}") for name in "ab"]
    async with dispatching(*endpoints, strategy="round_robin") as dispatcher:
        output = StructuredOutput(replace(REQUEST, schema=PLAIN), TARGET, PERSPECTIVE, dispatcher, run)
        with pytest.raises(OutputInvalid):
            await output.generate(1)
    masked = "Authorization: Bearer [key], or [key]"
    assert attempts(run, lambda attempt: (attempt.endpoint, attempt.raw_text)) == [("a", masked), ("b", masked)]


async def test_a_cancellation_during_a_re_ask_ends_it(server: OpenAIServer) -> None:
    server.reply(WRONG, b.Hold())
    run = new_run(60)
    asking = asyncio.create_task(generate(server, run))
    await asyncio.to_thread(server.wait_for_calls, 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert outcomes(run) == [("a", "invalid_answer"), ("a", "cancelled")]

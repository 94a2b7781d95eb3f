"""Calls over real sockets: which endpoint, how often, and what is recorded of them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from bridge.deadline import DeadlineExceeded
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.clients import MAX_MODES, OutputModes
from bridge.errors import CircuitBreakerOpen
from bridge.run import Progress, Reset
from providers import errors
from providers.base import Credentials, Image, ProviderConfig, VisionRequest
from providers.usage import Usage
from tests.dispatch.dispatching import (
    MODEL,
    PNG,
    REQUEST,
    TARGET,
    Clock,
    ask,
    attempts,
    dispatching,
    endpoint,
    named,
    new_run,
    outcomes,
)
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

STOPPED = "http://127.0.0.1:9/v1"
_numbers = count()


@pytest.fixture
def one() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as server:
        yield server


@pytest.fixture
def two() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as server:
        yield server


def distinct() -> VisionRequest:
    """A request whose image and schema differ from every other's."""
    number = next(_numbers)
    schema = {"type": "object", "properties": {f"field_{number}": {"type": "string"}}}
    return replace(REQUEST, image=Image(PNG + b"%d" % number, "image/png", 32, 32), schema=schema)


async def fail(dispatcher: Dispatcher, request: VisionRequest = REQUEST) -> errors.ProviderError:
    with pytest.raises(errors.ProviderError) as raised:
        await ask(dispatcher, request=request)
    return raised.value


# What is recorded.


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_call_is_recorded_once(one: OpenAIServer, streaming: bool) -> None:
    async with dispatching(*named(one)) as dispatcher:
        run = new_run(streaming=streaming)
        completion, pieces = await ask(dispatcher, run)
    assert ("".join(pieces) == completion.text) == streaming
    (attempt,) = run.attempts.calls
    assert (attempt.provider, attempt.endpoint, attempt.model, attempt.kind) == ("p", "a", MODEL, "vllm")
    assert (attempt.metric_provider, attempt.metric_model) == ("p", MODEL)
    assert (attempt.outcome, attempt.reason, attempt.output_mode) == ("ok", "", "json_schema")
    assert (attempt.address, attempt.sent_bytes, attempt.response_model) == (one.url, len(PNG), MODEL)
    assert attempt.usage == run.attempts.usage == Usage(120, 30, 64)
    assert 0 < attempt.seconds < 20


async def test_a_callers_model_and_provider_are_no_label_values(one: OpenAIServer) -> None:
    one.models = ("odd",)
    async with dispatching(*named(one)) as dispatcher:
        run = new_run()
        config = ProviderConfig("theirs", "vllm", one.url)
        theirs = replace(TARGET, label="theirs", config=config, provider="", model="odd", own_key=True)
        for target in (replace(TARGET, model="odd"), theirs):
            await ask(dispatcher, run, replace(REQUEST, model="odd"), target)
    assert attempts(run, lambda a: (a.metric_provider, a.metric_model)) == [("p", "other"), ("vllm", "other")]
    assert attempts(run, lambda a: a.reason) == ["", "fallback"]


async def test_a_cancelled_call_is_recorded_and_frees_its_slot(one: OpenAIServer) -> None:
    one.default = b.Hold()
    async with dispatching(*named(one)) as dispatcher:
        run = new_run()
        call = asyncio.create_task(ask(dispatcher, run))
        await asyncio.to_thread(one.wait_for_calls, 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        (state,) = dispatcher.report()[0].endpoints
    assert (outcomes(run), state.in_flight) == ([("a", "cancelled")], 0)


async def test_waiting_in_the_queue_is_reported_and_measured(one: OpenAIServer) -> None:
    one.reply(b.Hold())
    async with dispatching(*named(one, max_concurrency=1)) as dispatcher:
        first = asyncio.create_task(ask(dispatcher))
        await asyncio.to_thread(one.wait_for_calls, 1)
        events: list[object] = []
        run = new_run(emit=events.append)
        second = asyncio.create_task(ask(dispatcher, run))
        await asyncio.sleep(0.05)
        one.release()
        await asyncio.gather(first, second)
    assert [event.stage for event in events if isinstance(event, Progress)] == ["queued", "model"]
    assert run.timings.milliseconds()["queue"] > 0


# Retries and failover.


@pytest.mark.parametrize("behaviour", [b.Status(500), b.Status(503), b.Status(429, retry_after=9), b.Reset(), b.Cut()])
async def test_a_failed_call_goes_to_another_endpoint_at_once(
    one: OpenAIServer, two: OpenAIServer, behaviour: b.Behaviour
) -> None:
    one.default = behaviour
    async with dispatching(*named(one, two), strategy="round_robin") as dispatcher:
        events: list[object] = []
        run = new_run(emit=events.append)
        await ask(dispatcher, run)
    assert [endpoint for endpoint, _ in outcomes(run)] == ["a", "b"]
    assert attempts(run, lambda a: a.reason) == ["", "retry"]
    assert [type(event) for event in events] == [Progress, Progress, Reset, Progress]


@pytest.mark.parametrize(
    ("behaviour", "calls"),
    [
        (b.Status(503, retry_after=0.01), 3),
        (b.Reset(), 3),
        (b.Status(429, retry_after=0.01), 3),
        (b.Status(502), 3),
        (b.Status(500), 1),  # the schema may be the cause, which a less strict output mode avoids
        (b.Cut(), 2),  # issue 10, row 15
        (b.NotJson(), 1),
        (b.Status(401), 1),
        (b.Status(402), 1),
        (b.Status(404), 1),
        (b.Refusal(), 1),
        (b.Length(), 1),
    ],
    ids=repr,
)
async def test_how_often_one_endpoint_is_called(one: OpenAIServer, behaviour: b.Behaviour, calls: int) -> None:
    one.default = behaviour
    async with dispatching(*named(one), failures=9) as dispatcher:
        run = new_run()
        with pytest.raises(errors.ProviderError):
            await ask(dispatcher, run)
    assert len(one.calls) == len(run.attempts.calls) == calls


async def test_a_500_without_a_schema_is_repeated_once(one: OpenAIServer) -> None:
    one.default = b.Status(500)
    async with dispatching(*named(one)) as dispatcher:
        await fail(dispatcher, replace(REQUEST, schema=None))
    assert len(one.calls) == 2


async def test_a_response_that_was_cut_off_is_retried_unless_text_was_emitted(one: OpenAIServer) -> None:
    async with dispatching(*named(one)) as dispatcher:
        one.reply(b.Cut())
        run = new_run()
        await ask(dispatcher, run)
        assert [outcome for _, outcome in outcomes(run)] == ["response_interrupted", "ok"]
        one.reply(b.Hang("first"))
        run = new_run(1, streaming=True)
        with pytest.raises(errors.ProviderError):
            await ask(dispatcher, run)
        assert len(run.attempts.calls) == 1


async def test_calls_are_kept_for_fallbacks(one: OpenAIServer) -> None:
    one.default = b.Status(503, retry_after=0.01)
    async with dispatching(*named(one)) as dispatcher:
        with pytest.raises(errors.Unavailable):
            await ask(dispatcher, reserve=3)
    assert len(one.calls) == 1


async def test_four_calls_are_all_there_are() -> None:
    async with dispatching(*(endpoint(name, STOPPED) for name in "abcdef")) as dispatcher:
        run = new_run()
        with pytest.raises(errors.Unreachable):
            await ask(dispatcher, run)
    assert len({endpoint for endpoint, _ in outcomes(run)}) == len(run.attempts.calls) == 4


async def test_a_hint_beyond_the_deadline_is_not_waited_for(one: OpenAIServer) -> None:
    for status in (429, 503):
        one.calls.clear()
        one.default = b.Status(status, retry_after=60)
        async with dispatching(*named(one)) as dispatcher:
            error = await fail(dispatcher)
        assert (round(error.retry_after or 0), len(one.calls)) == (60, 1)


async def test_a_429_with_an_unusable_hint_has_a_retry_after(one: OpenAIServer) -> None:
    one.default = b.Status(429, headers={"Retry-After": "soon"})
    async with dispatching(*named(one)) as dispatcher:
        with pytest.raises(errors.RateLimited) as raised:
            await ask(dispatcher, new_run(0.5))
    assert 0.5 < (raised.value.retry_after or 0) < 2


async def test_each_endpoint_gets_its_own_key_and_a_callers_key_replaces_it(
    one: OpenAIServer, two: OpenAIServer
) -> None:
    listed = [endpoint("a", one.url, "sk-a"), endpoint("b", two.url, "sk-b")]
    async with dispatching(*listed, strategy="round_robin") as dispatcher:
        for _ in range(2):
            await ask(dispatcher)
        own = replace(TARGET, credentials=Credentials("sk-theirs"), own_key=True)
        await ask(dispatcher, target=own)
    keys = [[call.headers["authorization"] for call in server.calls] for server in (one, two)]
    assert keys == [["Bearer sk-a", "Bearer sk-theirs"], ["Bearer sk-b"]]


# Issue 10, row 1: a 500 belongs to the request that caused it.


async def test_a_500_that_one_request_provokes_opens_nothing(one: OpenAIServer) -> None:
    one.default = b.Status(500)
    async with dispatching(*named(one), failures=2) as dispatcher:
        for _ in range(8):
            await fail(dispatcher)
        one.default = b.Answer()
        await ask(dispatcher, request=distinct())


async def test_500s_of_three_different_requests_open_the_breaker(one: OpenAIServer) -> None:
    one.default = b.Status(500)
    async with dispatching(*named(one), failures=2) as dispatcher:
        for _ in range(3):
            await fail(dispatcher, distinct())
        with pytest.raises(CircuitBreakerOpen):
            await ask(dispatcher, request=distinct())
    assert len(one.calls) == 3


# Issue 10, row 2: an endpoint that hangs.


@pytest.mark.parametrize("streaming", [False, True])
async def test_no_call_fails_while_one_of_two_endpoints_hangs(
    one: OpenAIServer, two: OpenAIServer, streaming: bool
) -> None:
    one.default = b.Hang("connect")
    async with dispatching(*named(one, two), attempt_timeout=0.3) as dispatcher:
        runs = [new_run(streaming=streaming) for _ in range(16)]
        await asyncio.gather(*(ask(dispatcher, run) for run in runs))
    assert one.calls
    assert {outcomes(run)[-1] for run in runs} == {("b", "ok")}


async def test_a_slow_model_that_streams_is_not_cut_off(one: OpenAIServer, two: OpenAIServer) -> None:
    one.default = b.Drip(interval=0.02, size=20)
    async with dispatching(*named(one, two), strategy="round_robin", attempt_timeout=0.5) as dispatcher:
        run = new_run(streaming=True)
        await ask(dispatcher, run)
    assert outcomes(run) == [("a", "ok")]
    assert run.attempts.calls[0].seconds > 0.5


async def test_silence_in_the_middle_of_a_stream_ends_the_attempt(one: OpenAIServer, two: OpenAIServer) -> None:
    one.default = b.Hang("headers")
    async with dispatching(*named(one, two), strategy="round_robin", attempt_timeout=0.3) as dispatcher:
        run = new_run(streaming=True)
        await ask(dispatcher, run)
    assert outcomes(run) == [("a", "call_timeout"), ("b", "ok")]


@pytest.mark.parametrize(
    ("settings", "options", "seconds"),
    [
        ({}, {}, 1.0),  # nothing else can be called
        ({}, {"has_fallback": True}, 0.5),
        ({"attempt_timeout": 0.2}, {"has_fallback": True}, 0.2),
        ({"timeout": 0.3}, {}, 0.3),
    ],
)
async def test_how_long_a_silent_server_is_waited_for(
    one: OpenAIServer, settings: dict[str, float], options: dict[str, Any], seconds: float
) -> None:
    one.default = b.Hang("connect")
    async with dispatching(*named(one, **settings)) as dispatcher:
        run = new_run(1)
        with pytest.raises((errors.CallTimeout, DeadlineExceeded)):
            await ask(dispatcher, run, **options)
    assert seconds - 0.05 < run.attempts.calls[0].seconds < seconds + 5
    assert len(run.attempts.calls) == 1


# Issue 10, row 3: output modes.


async def ask_in_modes(dispatcher: Dispatcher, request: VisionRequest) -> list[str]:
    """Ask as captioning does: one mode down after a rejected schema. Return the modes that were sent."""
    run = new_run()
    lowered: VisionRequest | None = request
    while lowered is not None:
        try:
            await ask(dispatcher, run, lowered)
            break
        except errors.SchemaRejected:
            lowered = await dispatcher.lower(TARGET, lowered, run)
    return attempts(run, lambda a: a.output_mode)


async def test_an_accepted_mode_is_remembered_for_its_schema_alone(one: OpenAIServer) -> None:
    clock = Clock()
    async with dispatching(*named(one), clock=clock) as dispatcher:
        one.reply(b.RejectSchema(), b.Length())  # accepted, although the answer is truncated
        with pytest.raises(errors.Truncated):
            await ask_in_modes(dispatcher, REQUEST)
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema_relaxed"]
        assert await ask_in_modes(dispatcher, distinct()) == ["json_schema"]
        clock.now += 600
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema"]


async def test_what_one_endpoint_rejects_is_still_sent_to_the_other(one: OpenAIServer, two: OpenAIServer) -> None:
    two.modes = frozenset({"json_object", "text"})
    async with dispatching(*named(one, two), strategy="round_robin") as dispatcher:
        found = [await ask_in_modes(dispatcher, REQUEST) for _ in range(6)]
        runs = [new_run() for _ in range(4)]
        for run in runs:
            await ask(dispatcher, run)
    assert found[0] == ["json_schema"]
    assert {(a.endpoint, a.output_mode, a.outcome) for run in runs for a in run.attempts.calls} == {
        ("a", "json_schema", "ok"),
        ("b", "json_object", "ok"),
    }


def test_the_memory_of_output_modes_is_bounded() -> None:
    modes = OutputModes(Clock())
    lowered = replace(REQUEST, output_mode="json_object")
    for number in range(MAX_MODES + 1):
        modes.remember("vllm", "http://gpu/v1", replace(lowered, schema_digest=str(number)))
    known = [modes.first("vllm", "http://gpu/v1", replace(REQUEST, schema_digest=str(n))) for n in (0, 1, MAX_MODES)]
    assert known == ["json_schema", "json_object", "json_object"]


# Issue 10, row 4: after an outage.


async def test_after_an_outage_calls_wait_for_the_trial(one: OpenAIServer) -> None:
    clock = Clock()
    async with dispatching(*named(one), failures=1, max_queue=60, clock=clock) as dispatcher:
        one.default = b.Status(503, retry_after=60)
        await fail(dispatcher)
        clock.now += 30
        one.default = b.Answer()
        one.reply(b.Hold())
        calls = [asyncio.create_task(ask(dispatcher)) for _ in range(20)]
        await asyncio.to_thread(one.wait_for_calls, 2)
        assert len(one.calls) == 2
        one.release()
        await asyncio.gather(*calls)


# Connection tests.


async def test_a_connection_test_calls_each_endpoint_and_ignores_an_open_breaker(
    one: OpenAIServer, two: OpenAIServer
) -> None:
    async with dispatching(*named(one, two), failures=1) as dispatcher:
        one.reply(b.Status(502))
        two.reply(b.Status(502))
        await fail(dispatcher)
        with pytest.raises(CircuitBreakerOpen):
            await ask(dispatcher)
        run = new_run()
        results = [(name, check.steps[-1].status) async for name, check in dispatcher.check(TARGET, MODEL, run)]
    assert results == [("a", "success"), ("b", "success")]
    assert outcomes(run) == [("a", "ok"), ("b", "ok")]


async def test_a_connection_test_obeys_the_limits(one: OpenAIServer) -> None:
    async with dispatching(*named(one, requests_per_minute=1)) as dispatcher:
        await ask(dispatcher)
        check = await dispatcher.check_likeliest(TARGET, MODEL, new_run(5))
    assert (check.steps[-1].status, len(one.calls)) == ("failed", 1)
    assert "rate limit" in check.steps[-1].error


async def test_models_are_listed_by_an_endpoint_that_is_up(one: OpenAIServer) -> None:
    async with dispatching(endpoint("a", STOPPED), endpoint("b", one.url), failures=1) as dispatcher:
        await ask(dispatcher)
        assert [model.id for model in await dispatcher.list_models(TARGET, 5)] == [MODEL]

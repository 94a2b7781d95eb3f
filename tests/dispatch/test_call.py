"""Calls over real sockets: the chosen endpoint, retries, timeouts and recorded attempts."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Literal

import pytest

from bridge.deadline import Deadline
from bridge.dispatch import clients
from bridge.dispatch.attempts import Retries, Timeouts
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.clients import MAX_MODES, OutputModes
from bridge.dispatch.queue import ProviderQueue, Route
from bridge.dispatch.targets import Target
from bridge.errors import CircuitBreakerOpen
from bridge.run import Attempts, Progress, Reset, Run
from providers import errors
from providers.base import Credentials, Image, ProviderConfig, Usage, VisionRequest
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
    endpoints_of,
    new_run,
    outcomes,
    provider,
)
from tests.servers import OpenAIServer
from tests.servers import behaviours as b

_numbers = count()


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as started:
        yield started


@pytest.fixture
def second_server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm") as started:
        yield started


def distinct() -> VisionRequest:
    """Return a request with a unique image and schema."""
    number = next(_numbers)
    schema = {"type": "object", "properties": {f"field_{number}": {"type": "string"}}}
    return replace(REQUEST, image=Image(PNG + b"%d" % number, "image/png", 32, 32), schema=schema)


async def fail(dispatcher: Dispatcher, request: VisionRequest = REQUEST) -> errors.ProviderError:
    with pytest.raises(errors.ProviderError) as raised:
        await ask(dispatcher, request=request)
    return raised.value


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_call_is_recorded_once(server: OpenAIServer, streaming: bool) -> None:
    async with dispatching(*endpoints_of(server)) as dispatcher:
        run = new_run(streaming=streaming)
        completion, pieces = await ask(dispatcher, run)
    assert ("".join(pieces) == completion.text) == streaming
    (attempt,) = run.attempts.calls
    assert (attempt.provider, attempt.endpoint, attempt.model, attempt.kind) == ("p", "a", MODEL, "vllm")
    assert (attempt.metric_provider, attempt.metric_model) == ("p", MODEL)
    assert (attempt.outcome, attempt.reason, attempt.output_mode) == ("ok", "", "json_schema")
    assert (attempt.address, attempt.sent_bytes, attempt.response_model) == (server.url, len(PNG), MODEL)
    assert attempt.usage == run.attempts.usage == Usage(120, 30, 64)
    assert 0 < attempt.seconds < 20


async def test_a_cancelled_call_is_recorded_and_frees_its_slot(server: OpenAIServer) -> None:
    server.default = b.Hold()
    async with dispatching(*endpoints_of(server)) as dispatcher:
        run = new_run()
        call = asyncio.create_task(ask(dispatcher, run))
        await asyncio.to_thread(server.wait_for_calls, 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        (state,) = dispatcher.queues["p"].endpoints
    assert (outcomes(run), state.in_flight) == ([("a", "cancelled")], 0)


@pytest.mark.parametrize("behaviour", [b.Status(500), b.Status(503), b.Status(429, retry_after=9), b.Reset(), b.Cut()])
async def test_a_failed_call_is_retried_immediately_at_another_endpoint(
    server: OpenAIServer, second_server: OpenAIServer, behaviour: b.Behaviour
) -> None:
    server.default = behaviour
    async with dispatching(*endpoints_of(server, second_server), strategy="round_robin") as dispatcher:
        events: list[object] = []
        run = new_run(emit=events.append)
        await ask(dispatcher, run)
    assert [endpoint for endpoint, _ in outcomes(run)] == ["a", "b"]
    assert attempts(run, lambda a: a.reason) == ["", "retry"]
    stages = [event.stage for event in events if isinstance(event, Progress)]
    assert (stages, sum(isinstance(event, Reset) for event in events)) == (["model", "retry", "model"], 1)


@pytest.mark.parametrize(
    ("behaviour", "calls"),
    [
        (b.Reset(), 3),
        (b.Status(429, retry_after=0.01), 3),
        (b.Status(502), 3),
        (b.Status(500), 1),  # the schema may be the cause, which a less strict output mode avoids
        (b.NotJson(), 1),
        (b.Status(402), 1),
        (b.Status(404), 1),
        (b.Refusal(), 1),
        (b.Status(503, retry_after=60), 1),  # beyond the deadline
    ],
    ids=repr,
)
async def test_number_of_calls_to_a_failing_endpoint(server: OpenAIServer, behaviour: b.Behaviour, calls: int) -> None:
    server.default = behaviour
    async with dispatching(*endpoints_of(server), failures=9) as dispatcher:
        run = new_run()
        with pytest.raises(errors.ProviderError) as raised:
            await ask(dispatcher, run)
    assert len(server.calls) == len(run.attempts.calls) == calls
    if getattr(behaviour, "retry_after", None) == 60:
        assert round(raised.value.retry_after or 0) == 60


async def test_nothing_is_retried_after_text_was_emitted(server: OpenAIServer, second_server: OpenAIServer) -> None:
    server.default = b.Cut()
    async with dispatching(*endpoints_of(server, second_server), strategy="round_robin") as dispatcher:
        run = new_run(streaming=True)
        with pytest.raises(errors.ProviderError):
            await ask(dispatcher, run)
    assert (len(run.attempts.calls), second_server.calls) == (1, [])


async def test_calls_are_reserved_for_fallbacks(server: OpenAIServer) -> None:
    server.default = b.Status(429, headers={"Retry-After": "soon"})
    async with dispatching(*endpoints_of(server)) as dispatcher:
        run = new_run()
        run.attempts.reserve = 3
        with pytest.raises(errors.RateLimited) as raised:
            await ask(dispatcher, run)
    assert len(server.calls) == 1
    assert 0.5 < (raised.value.retry_after or 0) < 2  # not from the header, which is unusable


async def test_each_endpoint_gets_its_own_key_unless_the_caller_sends_one(
    server: OpenAIServer, second_server: OpenAIServer
) -> None:
    listed = [endpoint("a", server.url, "sk-a"), endpoint("b", second_server.url, "sk-b")]
    async with dispatching(*listed, strategy="round_robin") as dispatcher:
        for _ in range(2):
            await ask(dispatcher)
        own_key = replace(TARGET, credentials=Credentials("sk-theirs"), own_key=True)
        await ask(dispatcher, target=own_key)
    keys = [
        [call.headers["authorization"] for call in endpoint_server.calls] for endpoint_server in (server, second_server)
    ]
    assert keys == [["Bearer sk-a", "Bearer sk-theirs"], ["Bearer sk-b"]]


async def test_500s_open_the_breaker_only_after_three_different_requests(server: OpenAIServer) -> None:
    server.default = b.Status(500)
    async with dispatching(*endpoints_of(server), failures=2) as dispatcher:
        for _ in range(8):
            await fail(dispatcher)
        for _ in range(2):
            await fail(dispatcher, distinct())
        with pytest.raises(CircuitBreakerOpen):
            await ask(dispatcher, request=distinct())
    assert len(server.calls) == 10


@pytest.mark.parametrize(
    ("warm_up", "streaming", "after", "attempt_timeout", "seconds"),
    [
        (8, [False], "connect", 3, 60),
        pytest.param(8, [True], "headers", 3, 60, marks=pytest.mark.slow),
        pytest.param(0, [False, True], "connect", 0, 16, marks=pytest.mark.slow),  # half of the remaining time
    ],
)
async def test_no_call_fails_while_one_of_two_endpoints_hangs(
    server: OpenAIServer,
    second_server: OpenAIServer,
    warm_up: int,
    streaming: list[bool],
    after: Literal["connect", "headers"],
    attempt_timeout: float,
    seconds: float,
) -> None:
    async with dispatching(*endpoints_of(server, second_server), attempt_timeout=attempt_timeout) as dispatcher:
        for _ in range(warm_up):
            await ask(dispatcher, new_run(streaming=streaming[0]))
        server.default = b.Hang(after)
        runs = [new_run(seconds, streaming=each) for each in streaming for _ in range(16 // len(streaming))]
        await asyncio.gather(*(ask(dispatcher, run) for run in runs))
    for each in streaming:
        assert {outcomes(run)[0] for run in runs if run.streaming == each} == {("a", "call_timeout"), ("b", "ok")}
    assert {outcomes(run)[-1] for run in runs} == {("b", "ok")}


@pytest.mark.slow
async def test_a_slow_stream_is_not_interrupted(server: OpenAIServer, second_server: OpenAIServer) -> None:
    server.default = b.Drip(interval=0.05, size=50)
    async with dispatching(
        *endpoints_of(server, second_server), strategy="round_robin", attempt_timeout=2
    ) as dispatcher:
        run = new_run(streaming=True)
        await ask(dispatcher, run)
    assert outcomes(run) == [("a", "ok")]
    assert run.attempts.calls[0].seconds > 2


class Stopped(Deadline):
    """A deadline whose remaining time does not decrease."""

    def left(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("fields", "settings", "expected"),
    [
        ({}, {}, Timeouts(16, None, patient=True)),  # there is no alternative
        ({"has_fallback": True, "calls": 1}, {}, Timeouts(16, None, patient=True)),
        # A timeout after 8 seconds does not prove that the server is down.
        ({"has_fallback": True}, {}, Timeouts(16, 8, patient=False)),
        ({"has_fallback": True, "left": 60}, {}, Timeouts(60, 30, patient=True)),
        ({"endpoints": 2}, {}, Timeouts(16, 8, patient=False)),
        ({"endpoints": 2, "reserve": 3}, {}, Timeouts(16, None, patient=True)),
        ({"endpoints": 2, "attempt_timeout": 3}, {}, Timeouts(16, 3, patient=True)),  # as configured
        ({"endpoints": 2, "attempt_timeout": 3}, {"attempt_timeout": 2}, Timeouts(16, 2, patient=True)),
        ({"endpoints": 2, "attempt_timeout": 3, "left": 1}, {}, Timeouts(1, 1, patient=False)),
        ({"timeout": 5}, {}, Timeouts(5, None, patient=True)),
        ({"timeout": 5}, {"timeout": 30}, Timeouts(16, None, patient=True)),
    ],
)
def test_timeouts_of_a_call(fields: dict[str, Any], settings: dict[str, float], expected: Timeouts) -> None:
    listed = [endpoint(str(place), **settings) for place in range(fields.pop("endpoints", 1))]
    queue = ProviderQueue("p", provider(*listed), 8, Clock())
    run = Run(Stopped(fields.pop("left", 16)), has_fallback=fields.pop("has_fallback", False))
    run.attempts = Attempts(fields.pop("calls", 4), fields.pop("reserve", 0))
    assert Retries(Route(queue, queue.endpoints), run, **fields).timeouts(queue.endpoints[0]) == expected


async def ask_in_modes(dispatcher: Dispatcher, request: VisionRequest, target: Target = TARGET) -> list[str]:
    """Select the next output mode after a rejected schema, as captioning does. Return the modes that were sent."""
    run = new_run()
    attempt: VisionRequest | None = request
    while attempt is not None:
        try:
            await ask(dispatcher, run, attempt, target)
            break
        except (errors.SchemaRejected, errors.ServerFailed):
            attempt = await dispatcher.lower(target, attempt, run)
    return attempts(run, lambda a: a.output_mode)


async def test_a_mode_is_remembered_per_schema_and_not_after_a_500(server: OpenAIServer) -> None:
    clock = Clock()
    async with dispatching(*endpoints_of(server), clock=clock) as dispatcher:
        server.reply(b.RejectSchema(), b.Length())  # accepted, although the answer is truncated
        with pytest.raises(errors.Truncated):
            await ask_in_modes(dispatcher, REQUEST)
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema_relaxed"]
        assert await ask_in_modes(dispatcher, distinct()) == ["json_schema"]
        clock.now += 600
        server.reply(b.Status(500))
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema", "json_schema_relaxed"]
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema"]


async def test_output_modes_are_remembered_per_endpoint(server: OpenAIServer, second_server: OpenAIServer) -> None:
    second_server.modes = frozenset({"json_object", "text"})
    async with dispatching(*endpoints_of(server, second_server), strategy="round_robin") as dispatcher:
        modes = [await ask_in_modes(dispatcher, REQUEST) for _ in range(6)]
        runs = [new_run() for _ in range(4)]
        for run in runs:
            await ask(dispatcher, run)
    assert modes[0] == ["json_schema"]
    assert {(a.endpoint, a.output_mode, a.outcome) for run in runs for a in run.attempts.calls} == {
        ("a", "json_schema", "ok"),
        ("b", "json_object", "ok"),
    }


def test_the_number_of_remembered_output_modes_is_bounded() -> None:
    modes = OutputModes(Clock())
    requests = [replace(REQUEST, schema={"title": str(number)}) for number in range(MAX_MODES + 1)]
    for request in requests:
        modes.remember("vllm", "http://gpu/v1", replace(request, output_mode="json_object"))
    known = [modes.first("vllm", "http://gpu/v1", requests[number]) for number in (0, 1, MAX_MODES)]
    assert known == ["json_schema", "json_object", "json_object"]


async def test_addresses_of_callers_do_not_evict_the_modes_of_configured_ones(
    server: OpenAIServer, second_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_MODES", 1)
    foreign = replace(
        TARGET, config=ProviderConfig("x", "vllm", second_server.url), provider="", trusted=False, own_key=True
    )
    async with dispatching(*endpoints_of(server)) as dispatcher:
        for target, rejecting in ((TARGET, server), (foreign, second_server)):
            rejecting.reply(b.RejectSchema())
            await ask_in_modes(dispatcher, REQUEST, target)
        assert await ask_in_modes(dispatcher, REQUEST) == ["json_schema_relaxed"]


async def test_models_for_an_error_are_listed_only_with_a_free_slot(server: OpenAIServer) -> None:
    async with dispatching(*endpoints_of(server, max_concurrency=1), failures=1) as dispatcher:
        assert await dispatcher.known_models(TARGET) == server.models
        server.reply(b.Hold())
        call = asyncio.create_task(ask(dispatcher))
        await asyncio.to_thread(server.wait_for_calls, 1)
        assert await dispatcher.known_models(TARGET) == ()  # busy
        server.release()
        await call
        server.default = b.Status(502)
        await fail(dispatcher)
        assert await dispatcher.known_models(TARGET) == ()  # the circuit breaker is open
        assert dispatcher.queues["p"].endpoints[0].in_flight == 0


async def test_a_connection_test_calls_each_endpoint_and_ignores_an_open_breaker(
    server: OpenAIServer, second_server: OpenAIServer
) -> None:
    async with dispatching(*endpoints_of(server, second_server), failures=1) as dispatcher:
        server.reply(b.Status(502))
        second_server.reply(b.Status(502))
        await fail(dispatcher)
        with pytest.raises(CircuitBreakerOpen):
            await ask(dispatcher)
        run = new_run()
        checks = await dispatcher.check(TARGET, MODEL, run, every_endpoint=True)
        results = [(name, check.steps[-1].status) for name, check in checks.items()]
    assert results == [("a", "success"), ("b", "success")]
    assert outcomes(run) == [("a", "ok"), ("b", "ok")]


async def test_each_connection_test_begins_with_the_strictest_output_mode(server: OpenAIServer) -> None:
    server.modes = frozenset({"json_object", "text"})
    server.default = b.Answer({"answer": "image-received"})
    async with dispatching(*endpoints_of(server)) as dispatcher:
        for _ in range(2):
            run = new_run()
            result = (await dispatcher.check(TARGET, MODEL, run))["a"]
            assert result.schema_enforced is False
            modes = attempts(run, lambda attempt: attempt.output_mode)
            assert modes == ["json_schema", "json_schema_relaxed", "json_object"]

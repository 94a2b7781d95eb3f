"""The client on the openai package: behaviour that is not part of the contract of all clients."""

import asyncio
import json

import pytest

from providers import errors
from providers.base import Completion
from providers.hints import Allowance
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME
from tests.contract.target import EVERYTHING, Target, make_target
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.servers.rate_limited import RateLimitedServer

EVENT = b'data: {"choices": [{"delta": {"content": "A boat."}, "finish_reason": "stop"}]}\n\n'


@pytest.fixture
def target(pool: Pool, vllm_server: OpenAIServer) -> Target:
    return make_target(KIND_BY_NAME["vllm"], vllm_server, pool)


@pytest.mark.parametrize("ending", [b": nothing more\n\n", b"data: {broken\n\n", b'data: {"error": {"code": 500}}\n\n'])
async def test_a_failure_after_the_finish_reason_is_ignored(target: Target, ending: bytes) -> None:
    target.server.reply(b.Status(200, {"content-type": "text/event-stream"}, EVENT + ending))
    assert (await target.ask(True)).text == "A boat."


@pytest.mark.parametrize("stream", [EVENT, b'data: {"choices": [{"delta": {"content": "A b"}}]}\n\ndata: [DONE]\n\n'])
async def test_a_stream_that_stays_open_after_its_end_is_closed(target: Target, pool: Pool, stream: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + stream)
        await writer.drain()
        await reader.read()  # the request's body, then the end of the connection
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as listening:
        host, port = listening.sockets[0].getsockname()
        open_ended = make_target(target.kind, target.server, pool, base_url=f"http://{host}:{port}")
        if stream is EVENT:
            assert (await open_ended.ask(True)).text == "A boat."
        else:
            error = await open_ended.failure(True)
            assert (type(error), error.message) == (errors.BadReply, "vLLM ended its answer before it was complete.")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ('{"error": {"code": "429", "message": "m"}}', errors.RateLimited),
        ('{"error": {"code": 400, "message": "The model `x` is not a valid model"}}', errors.UnknownModel),
        ('{"error": "text"}', errors.BadReply),
        ('{"choices": [{"error": {"code": 502}}]}', errors.ServerFailed),
        ("null", errors.BadReply),
        ("[" * 100_000, errors.BadReply),
    ],
)
async def test_an_error_inside_a_200_is_classified(
    target: Target, event: str, expected: type[errors.ProviderError], streamed: bool
) -> None:
    body = f"event: ping\n\n: comment\n\ndata: {event}\n\n" if streamed else event
    content_type = "text/event-stream" if streamed else "application/json"
    target.server.reply(b.Status(200, {"content-type": content_type}, body.encode()))
    assert type(await target.failure(streamed)) is expected


@pytest.mark.parametrize(
    ("reason", "expected", "sentence"),
    [
        ("model_length", errors.Truncated, "Shorten the prompt or send a smaller image."),
        ("abort", errors.BadReply, "ended its answer before it was complete."),
    ],
)
async def test_finish_reasons_of_incomplete_answers(
    target: Target, streamed: bool, reason: str, expected: type[errors.ProviderError], sentence: str
) -> None:
    content = {"delta" if streamed else "message": {"content": "A b"}, "finish_reason": reason}
    event = json.dumps({"choices": [content]})
    content_type = "text/event-stream" if streamed else "application/json"
    body = f"data: {event}\n\n" if streamed else event
    target.server.reply(b.Status(200, {"content-type": content_type}, body.encode()))
    error = await target.failure(streamed)
    assert type(error) is expected
    assert error.message.endswith(sentence)


@pytest.mark.parametrize(
    ("speed", "expected"),
    [("41.5", 41.5), *((odd, None) for odd in ("1e999", "1" + "0" * 400, "Infinity", "NaN", "true", "-1", '"9"'))],
    ids=lambda value: str(value)[:9],
)
async def test_only_a_plausible_speed_is_read(target: Target, speed: str, expected: float | None) -> None:
    answer = '"choices": [{"message": {"content": "A boat."}, "finish_reason": "stop"}]'
    target.server.reply(b.Raw(f'{{{answer}, "timings": {{"predicted_per_second": {speed}}}}}'.encode()))
    assert (await target.ask(False)).tokens_per_second == expected


async def test_announced_rate_limits_are_on_answers_and_errors(pool: Pool, streamed: bool) -> None:
    with RateLimitedServer(2, 3600) as server:
        target = make_target(KIND_BY_NAME["openai"], server, pool)
        outcomes: list[Completion | errors.ProviderError] = [await target.ask(streamed, image=None)]
        server.reply(b.Length())
        outcomes += [await target.failure(streamed, image=None) for _ in range(2)]
    assert [type(outcome) for outcome in outcomes[1:]] == [errors.Truncated, errors.RateLimited]
    allowances = [outcome.rate.requests for outcome in outcomes if outcome.rate]
    assert [allowance.remaining for allowance in allowances if allowance] == [1, 0, 0]
    assert isinstance(allowances[-1], Allowance)
    assert outcomes[-1].retry_after == pytest.approx(allowances[-1].reset, abs=1)  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["gpt-5-mini", "o4-mini"])
async def test_reasoning_models_get_no_sampling_parameters(pool: Pool, streamed: bool, model: str) -> None:
    with OpenAIServer() as server:
        target = make_target(KIND_BY_NAME["openai"], server, pool)
        completion = await target.ask(streamed, model=model, options=EVERYTHING)
        assert server.call.options == {"max_completion_tokens": 256, "seed": 7}
    for name in ("temperature", "top_p", "repetition_penalty"):
        assert any(name in warning for warning in completion.warnings)

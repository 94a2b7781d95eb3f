"""Server failures: every client raises the same error class for the same cause."""

import pytest

from providers import errors
from providers.base import Credentials, Usage
from providers.hints import DEFAULT_RETRY_AFTER
from tests.contract.kinds import EVERY_KIND
from tests.contract.schemas import PLAIN
from tests.contract.target import Target
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour

STATUSES = {
    300: errors.WrongPath,
    401: errors.AuthFailed,
    402: errors.QuotaExceeded,
    403: errors.AuthFailed,
    405: errors.WrongPath,
    408: errors.Unavailable,
    413: errors.RequestRejected,
    418: errors.RequestRejected,
    422: errors.RequestRejected,
    429: errors.RateLimited,
    499: errors.RequestRejected,
    500: errors.ServerFailed,
    502: errors.ServerFailed,
    503: errors.Unavailable,
    504: errors.ServerFailed,
    520: errors.ServerFailed,
    529: errors.Unavailable,
}
PAGE = b"<html><body><h1>nginx</h1></body></html>"


async def test_each_status_raises_its_error_class(target: Target, streamed: bool) -> None:
    """Each status costs one call, because retries are the task of the dispatcher."""
    for status, expected in STATUSES.items():
        target.server.reply(b.Status(status))
        error = await target.failure(streamed)
        assert (type(error), error.status, error.retry_after) == (expected, status, None)
    assert len(target.server.calls) == len(STATUSES)


async def test_retry_after(target: Target, streamed: bool) -> None:
    for status in (429, 503):
        target.server.reply(b.Status(status, retry_after=7.5))
        assert (await target.failure(streamed)).retry_after == 7.5
    for hint in ("soon", "-3", "nan", "inf", ""):
        target.server.reply(b.Status(429, headers={"retry-after": hint}))
        assert (await target.failure(streamed)).retry_after == DEFAULT_RETRY_AFTER


@EVERY_KIND
async def test_named_causes(target: Target, streamed: bool) -> None:
    key = target.server.key
    target.server.key = "the-right-key"
    wrong = await target.failure(streamed, credentials=Credentials("the-wrong-key"))
    assert type(wrong) is errors.AuthFailed
    target.server.key = key
    target.server.reply(b.TooLong(), b.NoCredit())
    assert type(await target.failure(streamed, schema=PLAIN)) is errors.ContextTooLong
    # Gemini and Ollama use the same message for an empty account as for a rate limit.
    credit = errors.RateLimited if target.kind.kind in ("gemini", "ollama") else errors.QuotaExceeded
    assert type(await target.failure(streamed)) is credit


@EVERY_KIND
async def test_an_unknown_model(target: Target, streamed: bool) -> None:
    if not target.kind.knows_models:
        assert await target.ask(streamed, model="no-such-model")
        return
    for schema in (None, PLAIN):
        error = await target.failure(streamed, model="no-such-model", schema=schema)
        assert type(error) is errors.UnknownModel
        assert "no-such-model" in error.message


@EVERY_KIND
@pytest.mark.parametrize("mode", ["json_schema", "json_schema_relaxed"])
async def test_a_rejected_schema(target: Target, streamed: bool, mode: str) -> None:
    target.server.reply(b.RejectSchema())
    assert type(await target.failure(streamed, schema=PLAIN, output_mode=mode)) is errors.SchemaRejected


async def test_refusals_and_safety_blocks(target: Target, streamed: bool) -> None:
    if target.kind.declines:
        target.server.reply(b.Refusal("I'm sorry, the SECRET-WORDS stay here."))
        error = await target.failure(streamed, schema=PLAIN)
        assert (type(error), error.usage) == (errors.Refused, Usage(120, 30, 64))
        assert "SECRET-WORDS" not in error.message
    if target.kind.filters:
        target.server.reply(b.SafetyBlock("answer"))
        assert type(await target.failure(streamed, schema=PLAIN)) is errors.Blocked


@EVERY_KIND
async def test_truncated_answers(target: Target, streamed: bool) -> None:
    target.server.reply(b.Length(), b.Length('{"caption": "a boat"' + "\n" * 100))
    for expected in (errors.Truncated, errors.WhitespaceRunaway):
        error = await target.failure(streamed, schema=PLAIN)
        assert (type(error), error.usage) == (expected, Usage(120, 30, 64 if target.kind.caches else None))


async def test_a_stream_of_white_space_is_cancelled_early(target: Target) -> None:
    target.server.reply(b.Answer('{"caption":' + " " * 200_000, pieces=2_000))
    error = await target.failure(streamed=True)
    assert type(error) is errors.WhitespaceRunaway
    assert (error.usage is not None) is (target.kind.kind in ("vllm", "gemini", "anthropic"))  # reported in each event


@pytest.mark.parametrize(
    "behaviour",
    [b.EmptyChoices(), b.Answer(" \n\t "), b.ToolCall(), b.ErrorInStream(), b.NotJson()],
    ids=lambda behaviour: type(behaviour).__name__,
)
async def test_a_200_without_an_answer(target: Target, streamed: bool, behaviour: Behaviour) -> None:
    target.server.reply(behaviour)
    error = await target.failure(streamed)
    assert isinstance(error, errors.BadReply | errors.ServerFailed)
    assert not isinstance(error, errors.ResponseInterrupted)
    assert not {"nginx", "runner"} & set(error.message.lower().split())


@EVERY_KIND
async def test_an_error_before_the_first_text_has_the_meaning_of_its_code(target: Target) -> None:
    has_code = target.kind.kind in ("vllm", "llamacpp", "openrouter", "litellm", "gemini", "anthropic")
    for code in (429, 500, 503):
        target.server.reply(b.ErrorInStream(text="", code=code))
        assert type(await target.failure(streamed=True)) is (STATUSES[code] if has_code else errors.BadReply)


async def test_output_that_the_server_cannot_parse_is_kept(target: Target) -> None:
    """llama-server sends some chunks, then an error object (measured)."""
    target.server.reply(b.ErrorInStream("does not match the expected peg-native format", text='{"caption": '))
    error = await target.failure(streamed=True)
    assert isinstance(error, errors.UnparsableOutput)
    assert error.begun
    assert error.raw_text == '{"caption": '


async def test_interrupted_responses(target: Target, streamed: bool) -> None:
    for after in (0, 1, 20, 120, 240, None):
        target.server.reply(b.Cut(after_bytes=after))
        error = await target.failure(streamed)
        assert type(error) is errors.ResponseInterrupted or (error.begun and isinstance(error, errors.BadReply))
    target.server.reply(b.Unfinished())
    assert type(await target.failure(streamed=True)) is errors.BadReply

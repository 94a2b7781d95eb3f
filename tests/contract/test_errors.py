"""Failures of the server: every client raises one class of error for each cause."""

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


async def test_statuses(to: Target, streamed: bool) -> None:
    """Each is one call: retries are the dispatcher's work."""
    for status, expected in STATUSES.items():
        to.server.reply(b.Status(status))
        error = await to.failure(streamed)
        assert (type(error), error.status, error.retry_after) == (expected, status, None)
    assert len(to.server.calls) == len(STATUSES)


async def test_retry_after(to: Target, streamed: bool) -> None:
    for status in (429, 503):
        to.server.reply(b.Status(status, retry_after=7.5))
        assert (await to.failure(streamed)).retry_after == 7.5
    for hint in ("soon", "-3", "nan", "inf", ""):
        to.server.reply(b.Status(429, headers={"retry-after": hint}))
        assert (await to.failure(streamed)).retry_after == DEFAULT_RETRY_AFTER


@EVERY_KIND
async def test_named_causes(to: Target, streamed: bool) -> None:
    key = to.server.key
    to.server.key = "the-right-key"
    wrong = await to.failure(streamed, credentials=Credentials("the-wrong-key"))
    assert type(wrong) is errors.AuthFailed
    to.server.key = key
    to.server.reply(b.TooLong(), b.NoCredit())
    assert type(await to.failure(streamed, schema=PLAIN)) is errors.ContextTooLong
    # Gemini and Ollama word an empty account as they word a rate limit.
    credit = errors.RateLimited if to.kind.kind in ("gemini", "ollama") else errors.QuotaExceeded
    assert type(await to.failure(streamed)) is credit


@EVERY_KIND
async def test_an_unknown_model(to: Target, streamed: bool) -> None:
    if not to.kind.knows_models:
        assert await to.ask(streamed, model="no-such-model")
        return
    for schema in (None, PLAIN):
        error = await to.failure(streamed, model="no-such-model", schema=schema)
        assert type(error) is errors.UnknownModel
        assert "no-such-model" in error.message


@EVERY_KIND
@pytest.mark.parametrize("mode", ["json_schema", "json_schema_relaxed"])
async def test_a_rejected_schema(to: Target, streamed: bool, mode: str) -> None:
    to.server.reply(b.RejectSchema())
    assert type(await to.failure(streamed, schema=PLAIN, output_mode=mode)) is errors.SchemaRejected


async def test_refusals_and_safety_blocks(to: Target, streamed: bool) -> None:
    if to.kind.declines:
        to.server.reply(b.Refusal("I'm sorry, the SECRET-WORDS stay here."))
        error = await to.failure(streamed, schema=PLAIN)
        assert (type(error), error.usage) == (errors.Refused, Usage(120, 30, 64))
        assert "SECRET-WORDS" not in error.message
    if to.kind.filters:
        to.server.reply(b.SafetyBlock("answer"))
        assert type(await to.failure(streamed, schema=PLAIN)) is errors.Blocked


@EVERY_KIND
async def test_truncated_answers(to: Target, streamed: bool) -> None:
    to.server.reply(b.Length(), b.Length('{"caption": "a boat"' + "\n" * 100))
    for expected in (errors.Truncated, errors.WhitespaceRunaway):
        error = await to.failure(streamed, schema=PLAIN)
        assert (type(error), error.usage) == (expected, Usage(120, 30, 64 if to.kind.caches else None))


async def test_a_stream_of_white_space_is_cancelled_early(to: Target) -> None:
    to.server.reply(b.Answer('{"caption":' + " " * 200_000, pieces=2_000))
    error = await to.failure(streamed=True)
    assert type(error) is errors.WhitespaceRunaway
    assert (error.usage is not None) is (to.kind.kind in ("vllm", "gemini", "anthropic"))  # reported in each event


@pytest.mark.parametrize(
    "behaviour",
    [b.EmptyChoices(), b.Answer(" \n\t "), b.ToolCall(), b.ErrorInStream(), b.NotJson()],
    ids=lambda behaviour: type(behaviour).__name__,
)
async def test_a_200_without_an_answer(to: Target, streamed: bool, behaviour: Behaviour) -> None:
    to.server.reply(behaviour)
    error = await to.failure(streamed)
    assert isinstance(error, errors.BadReply | errors.ServerFailed)
    assert not isinstance(error, errors.ResponseInterrupted)
    assert not {"nginx", "runner"} & set(error.message.lower().split())


@EVERY_KIND
async def test_an_error_before_the_first_text_has_the_meaning_of_its_code(to: Target) -> None:
    has_code = to.kind.kind in ("vllm", "llamacpp", "openrouter", "litellm", "gemini", "anthropic")
    for code in (429, 500, 503):
        to.server.reply(b.ErrorInStream(text="", code=code))
        assert type(await to.failure(streamed=True)) is (STATUSES[code] if has_code else errors.BadReply)


async def test_output_that_the_server_cannot_parse_is_kept(to: Target) -> None:
    """llama-server: some chunks, then an error object (measured)."""
    to.server.reply(b.ErrorInStream("does not match the expected peg-native format", text='{"caption": '))
    error = await to.failure(streamed=True)
    assert isinstance(error, errors.UnparsableOutput)
    assert error.begun
    assert error.raw_text == '{"caption": '


async def test_interrupted_responses(to: Target, streamed: bool) -> None:
    for after in (0, 1, 20, 120, 240, None):
        to.server.reply(b.Cut(after_bytes=after))
        error = await to.failure(streamed)
        assert type(error) is errors.ResponseInterrupted or (error.begun and isinstance(error, errors.BadReply))
    to.server.reply(b.Unfinished())
    assert type(await to.failure(streamed=True)) is errors.BadReply

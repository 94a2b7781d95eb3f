"""What every client makes of a server that does not answer: one class of error for each cause."""

import pytest

from providers import errors
from providers.base import Credentials
from providers.hints import DEFAULT_RETRY_AFTER
from providers.pool import Pool
from providers.text import MAX_CHARACTERS
from providers.usage import Usage
from tests.contract.kinds import EVERY_KIND, OF_KIND, Kind
from tests.contract.schemas import PLAIN
from tests.contract.target import Target, target
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
    500: errors.ServerFailed,
    502: errors.ServerFailed,
    499: errors.RequestRejected,
    503: errors.Unavailable,
    504: errors.ServerFailed,
    520: errors.ServerFailed,
    529: errors.Unavailable,
}
PAGE = b"<html><body><h1>nginx</h1></body></html>"


@pytest.mark.parametrize("status", STATUSES)
async def test_status(to: Target, streamed: bool, status: int) -> None:
    to.server.reply(b.Status(status))
    error = await to.failure(streamed)
    assert type(error) is STATUSES[status]
    assert error.status == status
    assert error.retry_after is None
    assert len(to.server.calls) == 1  # retrying is not the client's business


@pytest.mark.parametrize("status", [401, 429, 502, 503])
async def test_status_with_a_page_for_people_as_its_body(to: Target, streamed: bool, status: int) -> None:
    to.server.reply(b.Status(status, body=PAGE))
    error = await to.failure(streamed)
    assert type(error) is STATUSES[status]
    assert "nginx" not in error.message


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"3", b'"x"', b'{"error": null}', b'{"error": []}', b"\xff\xfe{"]
)
async def test_status_with_an_odd_body(to: Target, body: bytes) -> None:
    to.server.reply(b.Status(503, body=body), b.Status(400, body=body))
    assert type(await to.failure()) is errors.Unavailable
    assert type(await to.failure()) is errors.RequestRejected


@pytest.mark.parametrize("status", [429, 503])
async def test_server_says_how_long_to_wait(to: Target, streamed: bool, status: int) -> None:
    to.server.reply(b.Status(status, retry_after=7.5))
    assert (await to.failure(streamed)).retry_after == 7.5


@pytest.mark.parametrize("hint", ["soon", "-3", "nan", "inf", ""])
async def test_nonsense_hint(to: Target, hint: str) -> None:
    to.server.reply(b.Status(429, headers={"retry-after": hint}))
    assert (await to.failure()).retry_after == DEFAULT_RETRY_AFTER


@EVERY_KIND
async def test_wrong_key(to: Target, streamed: bool) -> None:
    to.server.key = "the-right-one"
    error = await to.failure(streamed, credentials=Credentials("the-wrong-one"))
    assert type(error) is errors.AuthFailed


@EVERY_KIND
async def test_unknown_model(to: Target, streamed: bool) -> None:
    if not to.kind.knows_models:
        assert await to.ask(streamed, model="no-such-model")
        return
    error = await to.failure(streamed, model="no-such-model")
    assert type(error) is errors.UnknownModel
    assert "no-such-model" in error.message


async def test_unknown_model_is_told_as_such_with_a_schema_too(to: Target) -> None:
    if to.kind.knows_models:
        assert type(await to.failure(model="no-such-model", schema=PLAIN)) is errors.UnknownModel


@EVERY_KIND
async def test_context_too_long(to: Target, streamed: bool) -> None:
    to.server.reply(b.TooLong())
    error = await to.failure(streamed, schema=PLAIN)
    assert type(error) is errors.ContextTooLong


@EVERY_KIND
async def test_no_credit(to: Target, streamed: bool) -> None:
    to.server.reply(b.NoCredit())
    error = await to.failure(streamed)
    # Gemini and Ollama word an empty account as they word a rate limit.
    waits = to.kind.kind in ("gemini", "ollama")
    assert type(error) is (errors.RateLimited if waits else errors.QuotaExceeded)


@EVERY_KIND
@pytest.mark.parametrize("mode", ["json_schema", "json_schema_relaxed"])
async def test_schema_rejected(to: Target, streamed: bool, mode: str) -> None:
    to.server.reply(b.RejectSchema())
    assert type(await to.failure(streamed, schema=PLAIN, output_mode=mode)) is errors.SchemaRejected


async def test_bare_400_with_a_schema_may_be_about_the_schema(to: Target) -> None:
    """Gemini's 400 for a schema beyond its budget is that of an unreadable picture: vercel/ai#21192."""
    to.server.reply(b.Status(400, message="Request contains an invalid argument."))
    assert type(await to.failure(schema=PLAIN)) is errors.SchemaRejected


@pytest.mark.parametrize("mode", ["prompt", "json_schema"])
async def test_400_without_a_schema_is_about_the_request(to: Target, mode: str) -> None:
    to.server.reply(b.Status(400, message="Request contains an invalid argument."))
    schema = PLAIN if mode == "prompt" else None
    assert type(await to.failure(schema=schema, output_mode=mode)) is errors.RequestRejected


async def test_refusal(to: Target, streamed: bool) -> None:
    if not to.kind.declines:
        pytest.skip("the protocol has no field for refusals")
    to.server.reply(b.Refusal("I'm sorry, the SECRET-WORDS stay here."))
    error = await to.failure(streamed, schema=PLAIN)
    assert type(error) is errors.Refused
    assert error.usage == Usage(120, 30, 64)
    assert "SECRET-WORDS" not in error.message


async def test_safety_system_stops_the_answer(to: Target, streamed: bool) -> None:
    if not to.kind.filters:
        pytest.skip("the protocol tells of no safety system")
    to.server.reply(b.SafetyBlock("answer"))
    assert type(await to.failure(streamed, schema=PLAIN)) is errors.Blocked


@pytest.mark.parametrize("name", ["openai", "gemini"])
async def test_safety_system_stops_the_prompt(name: str, pool: Pool, streamed: bool) -> None:
    with OF_KIND[name].server() as server:
        server.reply(b.SafetyBlock("prompt"))
        error = await target(OF_KIND[name], server, pool).failure(streamed, schema=PLAIN)
        assert type(error) is errors.Blocked


@EVERY_KIND
async def test_truncation(to: Target, streamed: bool) -> None:
    to.server.reply(b.Length())
    error = await to.failure(streamed, schema=PLAIN)
    assert type(error) is errors.Truncated
    assert error.usage == Usage(120, 30, 64 if to.kind.caches else None)


@pytest.mark.parametrize(
    "behaviour",
    [b.EmptyChoices(), b.EmptyText(), b.ToolCall(), b.ErrorInStream(), b.NotJson(), b.Cut()],
    ids=lambda one: type(one).__name__,
)
async def test_200_without_an_answer(to: Target, streamed: bool, behaviour: Behaviour) -> None:
    to.server.reply(behaviour)
    error = await to.failure(streamed)
    assert isinstance(error, errors.BadReply | errors.ServerFailed)
    assert not {"nginx", "runner"} & set(error.message.lower().split())


@pytest.mark.parametrize("code", [400, 429, 500, 503])
async def test_error_after_the_first_text_is_not_one_to_ask_again_after(to: Target, code: int) -> None:
    """What was written is paid for. llama-server ends output that it cannot read with such an event (measured)."""
    to.server.reply(b.ErrorInStream(code=code))
    assert type(await to.failure(streamed=True, schema=PLAIN)) is errors.BadReply


@EVERY_KIND
@pytest.mark.parametrize("code", [429, 500, 503])
async def test_error_before_the_first_text_is_what_its_code_says(to: Target, code: int) -> None:
    to.server.reply(b.ErrorInStream(text="", code=code))
    told = to.kind.kind in (
        "vllm",
        "llamacpp",
        "openrouter",
        "litellm",
        "gemini",
        "anthropic",
    )  # others tell none in a 200
    assert type(await to.failure(streamed=True)) is (STATUSES[code] if told else errors.BadReply)


async def test_answer_longer_than_any_caption(to: Target, streamed: bool) -> None:
    to.server.reply(b.Answer("a" * (MAX_CHARACTERS + 1)))
    assert "too long" in (await to.failure(streamed)).message


@pytest.mark.parametrize("after", [0, 1, 120, 240, 400])
async def test_stream_cut_anywhere(to: Target, after: int) -> None:
    to.server.reply(b.Cut(after_bytes=after))
    assert isinstance(await to.failure(streamed=True), errors.BadReply)


async def test_wrong_path(kind: Kind, to: Target, streamed: bool) -> None:
    to.server.reply(b.Status(404, body=b"404 page not found"))
    error = await to.failure(streamed)
    assert type(error) is errors.WrongPath


async def test_a_response_that_is_cut_off_is_told_from_a_malformed_one(to: Target, streamed: bool) -> None:
    to.server.reply(b.Cut(after_bytes=20), b.NotJson())
    cut, malformed = await to.failure(streamed), await to.failure(streamed)
    assert type(cut) is errors.ResponseInterrupted
    assert not cut.begun
    assert type(malformed) is errors.BadReply


async def test_a_stream_of_white_space_is_cancelled_early(to: Target) -> None:
    to.server.reply(b.Answer('{"caption":' + " " * 200_000, pieces=2_000))
    error = await to.failure(streamed=True)
    assert type(error) is errors.WhitespaceRunaway
    assert (error.usage is not None) is (to.kind.kind in ("vllm", "gemini", "anthropic"))  # reported in each event


async def test_a_truncated_answer_that_ends_in_white_space(to: Target, streamed: bool) -> None:
    to.server.reply(b.Length('{"caption": "a boat"' + "\n" * 100))
    error = await to.failure(streamed)
    assert type(error) is errors.WhitespaceRunaway
    assert error.usage == Usage(120, 30, 64 if to.kind.caches else None)


async def test_output_that_the_server_cannot_parse_is_kept(to: Target) -> None:
    """llama-server: some chunks, then an error object (measured)."""
    to.server.reply(b.ErrorInStream("does not match the expected peg-native format", text='{"caption": '))
    error = await to.failure(streamed=True)
    if to.kind.variant:  # transformers serve sends another error body
        assert type(error) is errors.BadReply
        return
    assert isinstance(error, errors.UnparsableOutput)
    assert error.begun
    assert error.raw_text == ('{"caption": ' if to.kind.kind in ("openai", "vllm") else "")


async def test_listing_models_opens_a_connection_of_its_own(to: Target) -> None:
    """A probe over a pooled connection fails when the server closes idle ones after a few seconds."""
    await to.complete()
    if to.kind.lists_models:
        await to.client.models(Credentials(to.server.key), 5)
        assert to.server.connections == 2

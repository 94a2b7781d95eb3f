"""A key goes where it belongs and nowhere else."""

import logging
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from providers import errors, registry
from providers.base import Credentials, ProviderConfig
from providers.pool import Pool
from tests.contract.kinds import OF_KIND, Kind
from tests.contract.target import PHOTO, Target, check, target
from tests.servers import TrapServer
from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour

AMBIENT = "sk-ambient-key-of-the-server"
SECRET = "".join(("sk-secret", "-key-of-the-caller"))
PROMPT = "".join(("PRIVATE", "-", "PROMPT"))  # in pieces: a traceback shows source lines
MORE_NAMES = (
    "ANTHROPIC_AUTH_TOKEN",
    "OPENAI_ADMIN_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "GOOGLE_API_KEY",
    "GEMINI_API_KEY",
)
FAILURES: list[Behaviour] = [
    b.Status(400),
    b.Status(401),
    b.Status(404, body=SECRET.encode()),
    b.Status(429, message=f"Key {SECRET} is over its limit"),
    b.Status(500, message=f"Key {SECRET}"),
    b.NotJson(f"<html>{SECRET}</html>"),
    b.ErrorInStream(SECRET),
    b.EmptyChoices(),
    b.Length(SECRET),
    b.Cut(),
    b.Reset(),
    b.InvalidUtf8(),
]


@pytest.fixture
def ambient_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every variable that any SDK or any of our kinds reads a key from."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login someone password {AMBIENT}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in {*MORE_NAMES, *(name for spec in registry.specs() for name in spec.key_env)}:
        monkeypatch.setenv(name, AMBIENT)


def keys_of(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name in ("authorization", "x-goog-api-key", "x-api-key", "api-key")
    }


@pytest.mark.usefixtures("ambient_keys")
async def test_no_key_means_no_header(kind: Kind, pool: Pool, streamed: bool) -> None:
    with kind.server(key="") as server:
        keyless = target(kind, server, pool)
        await keyless.ask(streamed, credentials=Credentials(""))
        await keyless.ask(streamed, credentials=Credentials("  "))
        if kind.lists_models:
            await keyless.client.models(Credentials(""), 5)
        for request in server.requests:
            assert not keys_of(request.headers)
            assert AMBIENT not in f"{request.target}{request.headers}"
            assert "key=" not in request.target


@pytest.mark.usefixtures("ambient_keys")
async def test_ambient_keys_never_reach_a_stranger(kind: Kind, pool: Pool, trap: TrapServer) -> None:
    stranger = registry.client(ProviderConfig("stranger", kind.kind, trap.url), pool)
    request = Target(kind, kind.server(), stranger).request(credentials=Credentials(""))
    with pytest.raises(errors.ProviderError):
        await stranger.complete(request)
    with pytest.raises(errors.ProviderError):
        [_ async for _ in stranger.stream(request)]
    with pytest.raises(errors.ProviderError):
        await stranger.models(Credentials(""), 5)
    await check(stranger, Credentials(""), 5, "tiny-vision")
    assert len(trap.requests) >= 4
    assert not trap.carries(AMBIENT)


@pytest.mark.usefixtures("ambient_keys")
async def test_the_callers_key_wins_and_is_the_only_one(kind: Kind, pool: Pool, streamed: bool) -> None:
    with kind.server(key=SECRET) as server:
        await target(kind, server, pool).ask(streamed)
        assert len(keys_of(server.call.headers)) == 1
        assert AMBIENT not in str(server.call.headers)
        assert SECRET not in server.call.target


async def test_two_callers_at_once_each_with_their_own_key(to: Target, streamed: bool) -> None:
    to.server.key = ""
    to.server.default = b.Hold()
    async with anyio.create_task_group() as group:
        for key in ("sk-first", "sk-second"):
            group.start_soon(partial(to.ask, streamed, prompt=key, credentials=Credentials(key)))
        await anyio.to_thread.run_sync(to.server.wait_for_calls, 2)
        to.server.release()
    for call in to.server.calls:
        (sent,) = keys_of(call.headers).values()
        assert sent.endswith(call.prompt)


@pytest.mark.parametrize("key", ["sk-naïve", "sk-\r\nX-Evil: 1", "sk-\x00", "ключ"])
async def test_key_that_no_header_can_carry(to: Target, streamed: bool, key: str) -> None:
    error = await to.failure(streamed, credentials=Credentials(key))
    assert type(error) is errors.AuthFailed
    assert not to.server.calls
    assert key not in whole(error)


@pytest.fixture
def all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger there is, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        yield caplog
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def test_key_is_in_no_log(kind: Kind, pool: Pool, streamed: bool, all_logs: pytest.LogCaptureFixture) -> None:
    with kind.server(key=SECRET) as server:
        to = target(kind, server, pool, api_key=SECRET)
        await to.ask(streamed)
        await check(to.client, Credentials(SECRET), 5, server.models[0])
        server.reply(b.Status(500), b.Status(401))
        await to.failure(streamed)
        await to.failure(streamed)
        assert SECRET not in "".join(f"{one.getMessage()}{one.args}{one.__dict__}" for one in all_logs.records)


async def test_picture_and_prompt_are_in_no_log(to: Target, streamed: bool, all_logs: pytest.LogCaptureFixture) -> None:
    await to.ask(streamed, prompt="PRIVATE-PROMPT", system="PRIVATE-SYSTEM")
    logged = "".join(f"{one.getMessage()}{one.args}" for one in all_logs.records if one.levelno >= logging.INFO)
    assert "PRIVATE" not in logged
    assert PHOTO.base64[:40] not in logged


@pytest.mark.parametrize("behaviour", FAILURES, ids=lambda one: f"{type(one).__name__} {getattr(one, 'code', '')}")
async def test_key_is_in_no_error(kind: Kind, pool: Pool, streamed: bool, behaviour: Behaviour) -> None:
    with kind.server(key=SECRET) as server:
        to = target(kind, server, pool, api_key=SECRET)
        server.reply(behaviour)
        try:
            await to.ask(streamed, prompt=PROMPT)
        except errors.ProviderError as error:
            told = whole(error)
            assert SECRET not in told
            assert PROMPT not in told


def whole(error: BaseException | None) -> str:
    """Everything an error tells when it is printed, logged or looked into, and what it was raised from."""
    told = ""
    while error is not None:
        told += f"{error!s}\n{error!r}\n{error.args!r}\n{vars(error)!r}\n{''.join(traceback.format_exception(error))}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


def test_every_kind_is_in_the_contract() -> None:
    assert {spec.kind for spec in registry.specs()} == {"builtin", *OF_KIND}

"""Keys are sent only to their own server, and appear in no log and no error."""

import json
import logging
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from providers import errors, registry
from providers.base import Credentials
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME, Kind
from tests.contract.target import PHOTO, Target, check, make_target
from tests.servers import behaviours as b

AMBIENT = "sk-ambient-key-of-the-server"
SECRET = "".join(("sk-secret", "-key-of-the-caller"))
PROMPT = "".join(("PRIVATE", "-", "PROMPT"))  # concatenated, because a traceback shows source lines
VARIABLES: dict[str, str] = {
    **dict.fromkeys(("OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_WEBHOOK_SECRET"), AMBIENT),
    **dict.fromkeys(("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_WEBHOOK_SIGNING_KEY", "ANTHROPIC_IDENTITY_TOKEN"), AMBIENT),
    **dict.fromkeys(("ANTHROPIC_FEDERATION_RULE_ID", "ANTHROPIC_ORGANIZATION_ID"), AMBIENT),
    **dict.fromkeys(("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OLLAMA_HOST"), f"http://{AMBIENT}.invalid"),
    **dict.fromkeys(("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"), f"http://{AMBIENT}.invalid"),
    **dict.fromkeys(("OPENAI_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_HEADERS"), f"X-A: {AMBIENT}\nUser-Agent: {AMBIENT}"),
    **dict.fromkeys(("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"), "true"),
    **dict.fromkeys(("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"), "europe-west1"),
    "GOOGLE_GENAI_CLIENT_MODE": "replay",
    "GOOGLE_GENAI_API_VERSION": "v7",
}
"""The environment variables that SDKs read, except keys."""
FAILURES: list[b.Behaviour] = [
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
    """Set every variable that an SDK or a kind of provider reads, and write the files that they read."""
    netrc, profiles = tmp_path / "netrc", tmp_path / "configs"
    netrc.write_text(f"default login user password {AMBIENT}\n")
    profiles.mkdir()
    profile = {"authentication": {"type": "user_oauth"}, "base_url": f"http://{AMBIENT}.invalid"}
    (profiles / "default.json").write_text(json.dumps(profile))
    keys = dict.fromkeys((name for spec in registry.specs() for name in spec.key_env), AMBIENT)
    files = {"NETRC": str(netrc), "ANTHROPIC_CONFIG_DIR": str(tmp_path)}
    for name, value in {**VARIABLES, **keys, **files}.items():
        monkeypatch.setenv(name, value)


def keys_in(headers: dict[str, str]) -> dict[str, str]:
    names = ("authorization", "x-goog-api-key", "x-api-key", "api-key")
    return {name: value for name, value in headers.items() if name in names}


@pytest.mark.usefixtures("ambient_keys")
async def test_only_the_requests_key_is_sent(kind: Kind, pool: Pool, streamed: bool) -> None:
    with kind.server(key="") as server:
        target = make_target(kind, server, pool)
        for key in ("", "  ", SECRET):
            await target.ask(streamed, credentials=Credentials(key))
            assert len(keys_in(server.calls[-1].headers)) == bool(key.strip())
        await target.client.models(Credentials(""), 60)
        for request in server.requests:
            assert AMBIENT not in f"{request.target}{request.headers}"
            assert SECRET not in request.target
            assert "key=" not in request.target
            assert not [name for name in request.headers if name.startswith("x-stainless")]


async def test_concurrent_callers_use_their_own_keys(target: Target, streamed: bool) -> None:
    target.server.key = ""
    target.server.default = b.Hold()
    async with anyio.create_task_group() as group:
        for key in ("sk-first", "sk-second"):
            group.start_soon(partial(target.ask, streamed, prompt=key, credentials=Credentials(key)))
        await anyio.to_thread.run_sync(target.server.wait_for_calls, 2)
        target.server.release()
    for call in target.server.calls:
        (sent,) = keys_in(call.headers).values()
        assert sent.endswith(call.prompt)


@pytest.mark.parametrize("key", ["sk-naïve", "sk-\r\nX-Evil: 1", "sk-\x00", "ключ"])
async def test_a_key_that_is_invalid_in_a_header_is_rejected(target: Target, streamed: bool, key: str) -> None:
    error = await target.failure(streamed, credentials=Credentials(key))
    assert type(error) is errors.AuthFailed
    assert not target.server.calls
    assert key not in error_text(error)


@pytest.fixture
def all_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Set every logger to DEBUG."""
    with caplog.at_level(logging.DEBUG):
        loggers = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.DEBUG)
        yield caplog
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def test_no_log_contains_the_key_the_image_or_the_prompt(
    kind: Kind, pool: Pool, streamed: bool, all_logs: pytest.LogCaptureFixture
) -> None:
    with kind.server(key=SECRET) as server:
        target = make_target(kind, server, pool, api_key=SECRET)
        await target.ask(streamed, prompt=PROMPT, system=PROMPT)
        await check(target.client, Credentials(SECRET), 5, server.models[0])
        server.reply(b.Status(500), b.Status(401))
        await target.failure(streamed)
        await target.failure(streamed)
    assert SECRET not in "".join(f"{record.getMessage()}{record.args}{record.__dict__}" for record in all_logs.records)
    visible = [record for record in all_logs.records if record.levelno >= logging.INFO]
    logged = "".join(f"{record.getMessage()}{record.args}" for record in visible)
    assert PROMPT not in logged
    assert PHOTO.base64.decode()[:40] not in logged


async def test_no_error_contains_the_key_or_the_prompt(kind: Kind, pool: Pool, streamed: bool) -> None:
    with kind.server(key=SECRET) as server:
        target = make_target(kind, server, pool, api_key=SECRET)
        for behaviour in FAILURES:
            server.reply(behaviour)
            try:
                await target.ask(streamed, prompt=PROMPT)
            except errors.ProviderError as error:
                text = error_text(error)
                assert SECRET not in text, behaviour
                assert PROMPT not in text, behaviour


def error_text(error: BaseException | None) -> str:
    """Return every text form of an error and of its causes: str, repr, arguments, attributes and traceback."""
    text = ""
    while error is not None:
        text += f"{error!s}\n{error!r}\n{error.args!r}\n{vars(error)!r}\n{''.join(traceback.format_exception(error))}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text


def test_every_kind_has_contract_tests() -> None:
    assert {spec.kind for spec in registry.specs()} == {"builtin", "local", *KIND_BY_NAME}

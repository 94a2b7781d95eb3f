"""Provider messages in errors: where they appear, and that echoed data does not leak."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import caption
from bridge.captioning import problems
from bridge.captioning.models import CaptionOptions, Problem
from bridge.captioning.services import Services, open_services
from bridge.deadline import Deadline
from bridge.errors import TABLE
from bridge.run import Run
from bridge.settings import Settings
from bridge.telemetry.record import RequestRecord, log_fields
from providers.errors import Unreachable
from tests.api.streams import inline
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.telemetry.figures import studio, workspace

KEY = "Kq7-the-configured-key-of-the-gpu"
PROMPTS = (
    "Describe the zebra.",
    "Describe the zebra and its friends in three or four short sentences, without adjectives.",
)
WORDS = "image token count exceeds limit 4096"


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm", key=KEY) as running:
        yield running


@pytest.fixture(scope="module", params=["show", "log", "hide"])
async def services(
    request: pytest.FixtureRequest, server: OpenAIServer, tmp_path_factory: pytest.TempPathFactory, anyio_backend: str
) -> AsyncIterator[Services]:
    toml = studio(server.url, server.models, api_key=f'"{KEY}"')
    folder = workspace(tmp_path_factory.mktemp("work"), toml)
    async with open_services(Settings(workspace=folder, provider_messages=request.param)) as opened:
        yield opened


async def fail(services: Services, photo: bytes, prompt: str = "p", **fields: Any) -> tuple[Problem, dict[str, Any]]:
    """Return the problem of a caption that fails, and the fields of its log line."""
    record = RequestRecord("r1", wants_caption=True)
    run = record.start_run(Deadline(20))
    options = CaptionOptions.model_validate(fields)
    with pytest.raises(tuple(TABLE)) as raised:
        await caption(photo, inline("mine", prompt), provider="studio", options=options, services=services, run=run)
    problem = problems.from_error(raised.value, run)
    return problem, log_fields(record, "POST", "/", "")


async def test_where_provider_messages_appear(services: Services, server: OpenAIServer, photo: bytes) -> None:
    server.reply(b.Status(401, message=f"{WORDS}\x07\n{KEY}"))
    problem, logged = await fail(services, photo)
    mode = services.settings.provider_messages
    assert problem.attempts is not None
    (attempt,) = problem.attempts
    message = f"{WORDS} [key]"
    assert (attempt.status, attempt.provider_message) == (401, message if mode == "show" else None)
    assert problem.detail.endswith(f'The provider\'s message: "{message}".') == (mode == "show")
    assert (WORDS in problem.model_dump_json()) == (mode == "show")
    assert logged.get("provider_message") == (None if mode == "hide" else message)


async def test_an_echoing_server_leaks_nothing(services: Services, server: OpenAIServer, photo: bytes) -> None:
    mode = services.settings.provider_messages
    for part, prompt in itertools.product(("headers", "prompt", "body"), PROMPTS):
        server.reply(b.Echo(part, 401))
        problem, logged = await fail(services, photo, prompt)
        text = problem.model_dump_json() + str(logged)
        for secret in (KEY, "zebra", "base64", "/9j/"):
            assert secret not in text, (part, prompt, secret)
        assert ("cannot serve" in problem.detail) == (mode == "show")
        assert ("cannot serve" in str(logged)) == (mode != "hide")


async def test_an_invalid_answer_is_shown_without_keys(services: Services, server: OpenAIServer, photo: bytes) -> None:
    server.reply(b.InvalidJson(f"Authorization: Bearer {KEY}"))
    problem, logged = await fail(services, photo, max_output_retries=0)
    assert problem.attempts is not None
    shown = services.settings.provider_messages == "show"
    assert problem.attempts[0].raw_text == ("Authorization: Bearer [key]" if shown else None)
    assert "Authorization" not in str(logged)


@pytest.mark.parametrize("shown", [True, False])
async def test_errors_name_a_providers_address_only_where_that_is_allowed(
    shown: bool, tmp_path: Path, photo: bytes
) -> None:
    workspace(tmp_path, studio("http://127.0.0.1:9", ["m"]))
    async with open_services(Settings(workspace=tmp_path), shows_addresses=shown) as services:
        with pytest.raises(Unreachable) as raised:
            await caption(photo, "alt_text", provider="studio", services=services, run=Run(Deadline(20)))
    assert ("127.0.0.1:9" in str(raised.value)) == shown

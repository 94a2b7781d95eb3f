"""The provider without a server keeps the same contract as far as it applies."""

import json

import pytest

from providers import registry
from providers.base import (
    LADDER,
    BaseClient,
    Completion,
    Credentials,
    Delta,
    Options,
    OutputMode,
    ProviderConfig,
    VisionRequest,
)
from providers.pool import Pool
from tests.contract.schemas import PLAIN, RICH
from tests.contract.target import PHOTO, check
from tests.servers import TrapServer


def request(**changes: object) -> VisionRequest:
    return VisionRequest(**{"model": "measurements", "prompt": "Look.", "timeout": 5.0, "image": PHOTO, **changes})  # type: ignore[arg-type]


@pytest.fixture
def client(pool: Pool) -> BaseClient:
    return registry.client(ProviderConfig("builtin", "builtin"), pool)


async def test_text_model_and_no_tokens(client: BaseClient) -> None:
    completion = await client.complete(request())
    assert completion.text
    assert completion.model == "measurements"
    assert completion.usage is None
    assert any("pixels, not content" in warning for warning in completion.warnings)


@pytest.mark.parametrize("mode", LADDER)
async def test_deltas_make_up_the_text_and_the_completion_comes_last(client: BaseClient, mode: OutputMode) -> None:
    *deltas, completion = [each async for each in client.stream(request(schema=RICH, output_mode=mode))]
    assert isinstance(completion, Completion)
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == completion.text
    assert completion.text == (await client.complete(request(schema=RICH))).text
    assert set(RICH["required"]) <= json.loads(completion.text).keys()


async def test_options_that_mean_nothing_here_are_named(client: BaseClient) -> None:
    options = Options(max_tokens=5, temperature=0.5, top_p=0.5, repetition_penalty=1.1, seed=7)
    warnings = " ".join((await client.complete(request(options=options))).warnings)
    for name in ("max_tokens", "temperature", "top_p", "repetition_penalty"):
        assert name in warnings
    assert client.spec.takes == {"seed"}


async def test_no_address_is_dialled(pool: Pool, trap: TrapServer) -> None:
    client = registry.client(ProviderConfig("builtin", "builtin", trap.url, "sk-secret"), pool)
    completion = await client.complete(request(schema=PLAIN, credentials=Credentials("sk-secret")))
    assert "sk-secret" not in repr(completion)
    assert trap.untouched


async def test_models_and_check(client: BaseClient) -> None:
    models = await client.models(Credentials(), 5)
    assert [model.id for model in models] == ["measurements"]
    found = await check(client, Credentials(), 5, "measurements")
    assert [step.step for step in found.steps] == ["initialize_client", "list_models", "test_chat_completion"]
    assert {step.status for step in found.steps} == {"success"}
    assert found.models == models
    assert found.model == "measurements"
    assert len(found.warnings) == 1
    assert "pixels, not content" in found.warnings[0]


async def test_check_without_a_model_writes_nothing(client: BaseClient) -> None:
    found = await check(client, Credentials(), 5)
    assert [step.step for step in found.steps] == ["initialize_client", "list_models"]
    assert found.model == ""

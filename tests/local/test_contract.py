"""The contract of provider clients with a real llama.cpp engine, for every client that can call it."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import pytest
from PIL import Image as Pillow

from providers import registry
from providers.base import LADDER, Credentials, Image, Options, ProviderConfig, Turn
from providers.errors import AuthFailed, ContextTooLong, ImageRejected, Truncated
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME
from tests.contract.schemas import PLAIN, RICH
from tests.contract.target import Target, check
from tests.guard import GUARD
from tests.local.conftest import CONTEXT
from tests.local.test_engines import options
from tests.servers import WireServer

pytestmark = pytest.mark.slow
CLIENTS = ("local", "llamacpp", "lmstudio", "openai-compatible", "vllm")
SHORT: dict[str, Any] = {
    "type": "object",
    "properties": {"caption": {"type": "string", "maxLength": 40}, "calm": {"type": "boolean"}},
    "required": ["caption", "calm"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Engine:
    """The attributes of a server that `Target` reads."""

    models: tuple[str, ...]
    key: str


@pytest.fixture(params=CLIENTS)
async def target(request: pytest.FixtureRequest, model: Path, pool: Pool) -> AsyncIterator[Target]:
    """Start an engine: the client `local` leases it, and the other clients use its URL and key."""
    kind = KIND_BY_NAME["llamacpp"]
    context = {"context": CONTEXT}
    async with pool.engines.lease(options(model, context=CONTEXT), GUARD) as lease:
        if request.param == "local":
            client = registry.client(ProviderConfig("local", "local", options=context), pool)
            server = Engine((str(model),), "")
        else:
            client = registry.client(ProviderConfig("e", request.param, lease.address.url), pool)
            server = Engine(("tiny",), lease.address.key)
        yield Target(kind, cast("WireServer", server), client)


@pytest.mark.parametrize("mode", LADDER[:-1])  # without a grammar, random weights may answer nothing
async def test_a_schema_is_enforced(target: Target, mode: Any, streamed: bool) -> None:
    if target.client.spec.kind == "lmstudio" and mode == "json_object":
        pytest.skip("LM Studio rejects json_object")
    completion = await target.ask(
        streamed, schema=SHORT, output_mode=mode, timeout=GUARD, options=Options(max_tokens=400)
    )
    assert completion.model == "tiny"
    assert completion.usage is not None
    assert completion.usage.output_tokens
    assert completion.tokens_per_second
    answer = json.loads(completion.text)
    if mode != "json_object" or target.client.spec.kind in ("local", "llamacpp"):
        assert answer.keys() == SHORT["properties"].keys()
    if mode == "json_schema" and target.client.spec.kind in ("local", "llamacpp", "lmstudio"):
        assert jsonschema_rs.is_valid(SHORT, answer)


@pytest.mark.parametrize("schema", [PLAIN, RICH], ids=["plain", "rich"])
async def test_a_large_schema_is_accepted(target: Target, schema: dict[str, Any]) -> None:
    if target.client.spec.kind not in ("local", "llamacpp", "lmstudio"):
        pytest.skip("the dialect is not that of llama.cpp")
    completion = await target.complete(schema=schema, timeout=GUARD, options=Options(max_tokens=4000))
    assert "caption" in json.loads(completion.text)


async def test_an_answer_at_the_token_limit_is_truncated(target: Target) -> None:
    error = await target.failure(schema=SHORT, options=Options(max_tokens=3), timeout=GUARD)
    assert isinstance(error, Truncated)
    assert error.usage is not None
    assert error.usage.output_tokens == 3


async def test_every_option_is_accepted(target: Target) -> None:
    every = Options(max_tokens=200, temperature=0.5, top_p=0.9, repetition_penalty=1.1, seed=7)
    completion = await target.complete(schema=SHORT, options=every, timeout=GUARD)
    assert completion.warnings == target.client.spec.unsupported(every)


async def test_an_answer_can_be_corrected(target: Target) -> None:
    turns = (Turn("assistant", "{}"), Turn("user", "The field caption is missing."))
    assert (await target.complete(schema=SHORT, turns=turns, system="Be brief.", timeout=GUARD)).text


@pytest.mark.parametrize(("format", "accepted"), [("JPEG", True), ("PNG", True), ("WEBP", False), ("broken", False)])
async def test_images(target: Target, format: str, accepted: bool) -> None:
    image = Image(b"\xff\xd8\xff\xe0 broken", "image/jpeg", 64, 48)
    if format != "broken":
        file = BytesIO()
        Pillow.new("RGB", (64, 48), "teal").save(file, format)
        image = Image(file.getvalue(), f"image/{format.lower()}", 64, 48)
    if accepted:
        assert (await target.complete(image=image, schema=SHORT, timeout=GUARD)).text
    else:
        assert isinstance(await target.failure(image=image, schema=SHORT, timeout=GUARD), ImageRejected)


async def test_a_prompt_beyond_the_context(target: Target) -> None:
    assert isinstance(await target.failure(prompt="word " * CONTEXT, timeout=GUARD), ContextTooLong)


async def test_a_wrong_key(target: Target) -> None:
    if target.client.spec.kind == "local":
        pytest.skip("the client chooses the key")
    error = await target.failure(credentials=Credentials("wrong-key-0123456789"), timeout=GUARD)
    assert isinstance(error, AuthFailed)


async def test_the_connection_check_succeeds(target: Target) -> None:
    request = target.request()
    result = await check(target.client, request.credentials, GUARD, request.model)
    assert {step.status for step in result.steps} == {"success"}, result.steps
    assert (result.images, result.response_model) == (True, "tiny")

"""The list of models, and the steps of a connection check."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from providers import errors, registry
from providers.addresses import AddressNotAllowed
from providers.base import Credentials, Model, ProviderConfig
from providers.checks import Check
from providers.pool import Pool
from tests.contract.kinds import EVERY_KIND, Kind
from tests.contract.target import Target, make_target
from tests.contract.target import check as check_client
from tests.servers import behaviours as b
from tests.servers import recorded_errors


async def check(target: Target, model: str = "", key: str | None = None) -> Check:
    return await check_client(target.client, Credentials(target.server.key if key is None else key), 60, model)


def statuses(result: Check) -> dict[str, str]:
    return {step.step: step.status for step in result.steps}


def last_error(result: Check) -> str:
    """Return the error of the last failed step, which users read first."""
    return [step.error for step in result.steps if step.status == "failed"][-1]


@EVERY_KIND
async def test_models_are_listed(kind: Kind, pool: Pool) -> None:
    with kind.server(models=("first", "second/with-slash:7b")) as server:
        target = make_target(kind, server, pool)
        if not kind.lists_models:
            with pytest.raises(errors.ProviderError):
                await target.client.models(Credentials(server.key), 60)
            return
        models = await target.client.models(Credentials(server.key), 60)
        assert [model.id for model in models] == ["first", "second/with-slash:7b"]
        assert all(isinstance(model, Model) and model.name for model in models)
        result = await check(target)
        assert statuses(result) == {"initialize_client": "success", "list_models": "success"}
        assert (result.models, server.calls) == (models, [])


@EVERY_KIND
async def test_a_check_with_a_model_calls_it_with_an_image_and_a_schema(target: Target) -> None:
    model = target.server.models[0]
    result = await check(target, model)
    assert statuses(result)["test_chat_completion"] == "success"
    assert "failed" not in statuses(result).values()
    assert target.server.call.model == model
    assert target.server.call.image is not None
    assert (result.images, result.schema_enforced, result.response_model) == (True, True, model)


async def test_a_model_without_vision_fails_the_check(target: Target) -> None:
    target.server.reply(recorded_errors.LLAMA_NO_VISION)
    result = await check(target, target.server.models[0])
    assert last_error(result).startswith("This model takes no images")
    assert result.images is False


@pytest.mark.parametrize("answer", ["OK", '{"answer": "OK"}', '{"answer": "no-image", "note": ""}'])
async def test_a_schema_that_is_not_enforced_is_reported_with_the_servers_model_name(
    target: Target, answer: str
) -> None:
    target.server.reply(b.Answer(answer, model="tiny-vision-q4"))
    result = await check(target, target.server.models[0])
    assert (result.schema_enforced, result.response_model) == (False, "tiny-vision-q4")
    assert any("did not enforce the schema" in warning for warning in result.warnings)
    message = next(step.message for step in result.steps if step.step == "test_chat_completion")
    assert "(the server calls it tiny-vision-q4) accepted an image and ignored the schema" in message


class RejectingTransport(httpx2.AsyncBaseTransport):
    """Reject every connection, as the address check does, and count the requests."""

    requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        raise httpx2.ConnectError("no") from AddressNotAllowed("This address is not allowed.")


@pytest.fixture
async def rejecting() -> AsyncIterator[tuple[Pool, RejectingTransport]]:
    transport = RejectingTransport()
    pool = Pool(lambda keepalive: transport)
    yield pool, transport
    await pool.aclose()


@pytest.mark.parametrize(("kind", "variable"), [("openai", "OPENAI_API_KEY"), ("gemini", "GEMINI_API_KEY")])
async def test_a_missing_key_is_reported_before_a_connection_is_opened(
    rejecting: tuple[Pool, RejectingTransport], kind: str, variable: str
) -> None:
    pool, transport = rejecting
    hosted = registry.client(ProviderConfig(kind, kind), pool)
    result = await check_client(hosted, Credentials(" "), 5, "some-model")
    assert statuses(result) == {"initialize_client": "success", "list_models": "failed"}
    sentence = f"{hosted.spec.title} requires an API key. Set {variable}, or send api_key with the request."
    assert (last_error(result), transport.requests) == (sentence, 0)


async def test_a_refused_address_reaches_the_caller(rejecting: tuple[Pool, RejectingTransport], target: Target) -> None:
    """The base URL is not the provider's own, so no key is required."""
    pool, transport = rejecting
    client = make_target(target.kind, target.server, pool).client
    request = target.request(credentials=Credentials())
    for call in (client.complete(request), anext(aiter(client.stream(request))), client.models(Credentials(), 60)):
        with pytest.raises(errors.Unreachable, match="not allowed") as caught:
            await call
        assert isinstance(caught.value.__cause__, AddressNotAllowed)
    assert transport.requests == 3


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (b.Status(401), errors.AuthFailed),
        (b.Status(404, body=b"404 page not found"), errors.WrongPath),
        (b.Status(429, retry_after=3), errors.RateLimited),
        (b.NotJson(), errors.BadReply),
        (b.Reset(), errors.Unreachable),
        (b.Hang("connect"), errors.CallTimeout),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
async def test_a_failed_listing(target: Target, behaviour: b.Behaviour, expected: type[errors.ProviderError]) -> None:
    target.server.reply_to_listing(behaviour)
    with pytest.raises(expected):
        await target.client.models(Credentials(target.server.key), 0.1 if isinstance(behaviour, b.Hang) else 60)

"""Models are listed and connections are checked for real."""

import httpx2
import pytest

from providers import errors, registry
from providers.base import Credentials, Model, ProviderConfig, VisionRequest
from providers.checks import Check
from providers.pool import Pool
from tests.contract.kinds import EVERY_KIND, OF_KIND, Kind
from tests.contract.target import Target, target
from tests.contract.target import check as check_client
from tests.servers import GeminiServer, observed
from tests.servers import behaviours as b


async def check(to: Target, model: str = "", key: str | None = None) -> Check:
    return await check_client(to.client, Credentials(to.server.key if key is None else key), 5, model)


def failed(found: Check) -> str:
    """The sentence of the one step that failed."""
    (step,) = [step for step in found.steps if step.status == "failed"]
    assert step.error
    return step.error


def taken(found: Check) -> dict[str, str]:
    return {step.step: step.status for step in found.steps}


@EVERY_KIND
async def test_models(kind: Kind, pool: Pool) -> None:
    with kind.server(models=("first", "second/with-slash:7b")) as server:
        to = target(kind, server, pool)
        if not kind.lists_models:
            with pytest.raises(errors.ProviderError):
                await to.client.models(Credentials(server.key), 5)
            return
        models = await to.client.models(Credentials(server.key), 5)
        assert [model.id for model in models] == ["first", "second/with-slash:7b"]
        assert all(isinstance(model, Model) and model.name for model in models)


async def test_check_without_a_model_lists_and_asks_nothing(to: Target) -> None:
    if not to.kind.lists_models:
        pytest.skip("the server lists no models")
    found = await check(to)
    assert taken(found) == {"initialize_client": "success", "list_models": "success"}
    assert [model.id for model in found.models] == list(to.server.models)
    assert not to.server.calls


@EVERY_KIND
async def test_check_with_a_model_really_asks_it(to: Target) -> None:
    found = await check(to, to.server.models[0])
    assert taken(found)["test_chat_completion"] == "success"
    assert "failed" not in taken(found).values()
    assert to.server.call.model == to.server.models[0]
    assert to.server.call.image is not None
    assert found.images is True
    assert found.schema_enforced is True
    assert found.response_model == to.server.models[0]


async def test_short_completion_that_reaches_the_limit_counts_as_an_answer(to: Target) -> None:
    to.server.reply(b.Length("O"))
    assert taken(await check(to, to.server.models[0]))["test_chat_completion"] == "success"


async def test_check_of_a_model_without_vision_fails(to: Target) -> None:
    to.server.reply(*[observed.LLAMA_NO_VISION] * 4)
    found = await check(to, to.server.models[0])
    assert sentence_of(found).startswith("This model takes no images")
    assert found.images is False


async def test_check_tells_that_a_schema_is_not_enforced(to: Target) -> None:
    to.server.reply(b.Answer("OK", model="tiny-vision-q4"))
    found = await check(to, to.server.models[0])
    assert found.schema_enforced is False
    assert found.response_model == "tiny-vision-q4"
    assert any("did not enforce the schema" in warning for warning in found.warnings)
    message = next(step.message for step in found.steps if step.step == "test_chat_completion")
    assert "(the server calls it tiny-vision-q4) accepted an image and ignored the schema" in message


async def test_four_causes_four_sentences(kind: Kind, pool: Pool) -> None:
    with kind.server(key="the-right-one") as server:
        to = target(kind, server, pool)
        model = server.models[0]
        found = {"key": await check(to, model, "the-wrong-one")}
        away = target(kind, server, pool, base_url=server.origin + kind.wrong_path)
        found["path"] = await check(away, model)
        if kind.knows_models:
            found["model"] = await check(to, "no-such-model")
    found["host"] = await check(to, model)
    sentences = {cause: sentence_of(one) for cause, one in found.items()}
    assert len(set(sentences.values())) == len(sentences), sentences
    assert "key" in sentences["key"].lower()
    assert "path" in sentences["path"].lower() or "base url" in sentences["path"].lower()
    assert "no-such-model" in sentences.get("model", "no-such-model")
    assert "connect" in sentences["host"].lower()
    assert "the-wrong-one" not in str(found)


async def test_unknown_model_is_told_with_what_there_is(kind: Kind, pool: Pool) -> None:
    if not (kind.knows_models and kind.lists_models):
        pytest.skip("the server lists no models or takes any name")
    with kind.server(models=("a", "b", "c", "d", "e", "f", "g")) as server:
        found = await check(target(kind, server, pool), "no-such-model")
    assert failed(found).endswith(" It lists a, b, c, d, e and 2 more.")


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("openai", "OPENAI_API_KEY"),
        ("gemini", "GEMINI_API_KEY"),
        ("anthropic", "ANTHROPIC_API_KEY"),
        ("openrouter", "OPENROUTER_API_KEY"),
    ],
)
async def test_missing_key_is_told_before_anyone_is_called(kind: str, variable: str) -> None:
    dialled: list[str] = []

    class Trap(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            dialled.append(str(request.url))
            raise httpx2.ConnectError("no")

    pool = Pool(lambda keepalive: Trap())
    hosted = registry.client(ProviderConfig(kind, kind), pool)
    found = await check_client(hosted, Credentials(" "), 5, "some-model")
    assert taken(found) == {"initialize_client": "success", "list_models": "failed"}
    sentence = f"{hosted.spec.title} requires an API key. Set {variable}, or send api_key with the request."
    assert failed(found) == sentence
    with pytest.raises(errors.AuthFailed, match="requires an API key"):
        await hosted.complete(VisionRequest("some-model", "Look.", 5))
    assert not dialled
    elsewhere = registry.client(ProviderConfig(kind, kind, "http://compatible.invalid"), pool)
    with pytest.raises(errors.Unreachable):  # another server may want no key
        await elsewhere.complete(VisionRequest("some-model", "Look.", 5))
    assert len(dialled) == 1
    await pool.aclose()


def sentence_of(found: Check) -> str:
    """The last failure is the one that people read first."""
    return [step.error for step in found.steps if step.status == "failed"][-1]


@pytest.mark.parametrize("cause", ["key", "host"])
async def test_no_step_is_taken_after_a_final_failure(kind: Kind, pool: Pool, cause: str) -> None:
    with kind.server(key="the-right-one") as server:
        to = target(kind, server, pool)
        if cause == "key":
            found = await check(to, server.models[0], "the-wrong-one")
            assert not [call for call in server.calls if call.model]
    if cause == "host":
        found = await check(to, server.models[0])
    assert "test_chat_completion" not in taken(found)


@EVERY_KIND
@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1beta", "/api", "/api/v1", "/api/v1/"])
async def test_base_url_as_people_write_it(to: Target, pool: Pool, ending: str) -> None:
    own = {
        "openrouter": ("", "/", "/api/v1", "/api/v1/"),
        "ollama": ("", "/", "/v1", "/v1/", "/api"),
        "gemini": ("", "/", "/v1beta", "/v1/", "/v1"),
    }
    if ending not in own.get(to.kind.kind, ("", "/", "/v1", "/v1/")):
        pytest.skip("nobody writes that for this kind")
    written = to.server.origin + ending
    await target(to.kind, to.server, pool, base_url=written).complete()
    await target(to.kind, to.server, pool, base_url=written.removeprefix("http://")).complete()
    assert len(to.server.calls) == 2


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (b.Status(401), errors.AuthFailed),
        (b.Status(403), errors.AuthFailed),
        (b.Status(404, body=b"404 page not found"), errors.WrongPath),
        (b.Status(429, retry_after=3), errors.RateLimited),
        (b.Status(500), errors.ServerFailed),
        (b.Status(503), errors.Unavailable),
        (b.NotJson(), errors.BadReply),
        (b.Cut(of=b.NotJson()), errors.BadReply),
        (b.Redirect("http://127.0.0.1:9/"), errors.WrongPath),
        (b.Reset(), errors.Unreachable),
        (b.Hang("connect"), errors.CallTimeout),
        (b.Compressed(), errors.BadReply),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else None,
)
async def test_listing_that_fails(to: Target, behaviour: b.Behaviour, expected: type[errors.ProviderError]) -> None:
    if not to.kind.lists_models:
        pytest.skip("the server lists no models")
    to.server.reply_to_listing(behaviour)
    with pytest.raises(expected):
        await to.client.models(Credentials(to.server.key), 0.1 if isinstance(behaviour, b.Hang) else 5)


async def test_gemini_lists_page_by_page(pool: Pool) -> None:
    names = tuple(f"gemini-{number}" for number in range(1500))
    with GeminiServer(models=names) as server:
        models = await target(OF_KIND["gemini"], server, pool).client.models(Credentials(server.key), 5)
        assert tuple(model.id for model in models) == names
        assert len(server.requests) == 2


async def test_list_that_never_ends(pool: Pool) -> None:
    page = b'{"models": [], "nextPageToken": "0"}'
    with GeminiServer() as server:
        server.reply_to_listing(*[b.Raw(page)] * 10_000)
        with pytest.raises((errors.CallTimeout, errors.BadReply)):
            await target(OF_KIND["gemini"], server, pool).client.models(Credentials(server.key), 0.3)

"""The ollama client over real sockets, against a server that speaks Ollama's protocol."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from providers import errors
from providers.base import Delta, Image, Model, Options, ProviderConfig, Turn
from providers.dialects import describe, relaxed
from providers.dialects import ollama as dialect
from providers.ollama import SPEC, OllamaClient
from providers.pool import Pool
from providers.usage import Usage
from tests.providers.native import EVERY_OPTION, SCHEMA, answer, asked, jpeg, streamed, with_key
from tests.servers import OllamaServer, TrapServer
from tests.servers import behaviours as b
from tests.servers.call import without_images

MODEL = "tiny-vision"
ENVIRONMENT_KEY = "key-of-the-environment"
DOORS = pytest.mark.parametrize("door", ["complete", "stream"])


@pytest.fixture
def server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


@pytest.fixture(scope="module")
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.aclose()


def client(pool: Pool, url: str, **options: Any) -> OllamaClient:
    return OllamaClient(ProviderConfig("ollama", "ollama", url, options=options), pool)


async def test_the_wire_body_of_a_full_request(pool: Pool, server: OllamaServer) -> None:
    ollama = client(pool, server.url, num_ctx=4096, keep_alive="10m", think=False)
    turns = (Turn("assistant", "{}"), Turn("user", "boats is missing"))
    await ollama.complete(asked(MODEL, options=EVERY_OPTION, turns=turns, headers={"traceparent": "00-1"}))
    call = server.call
    assert without_images(call.body, call.images) == {
        "model": MODEL,
        "stream": False,
        "messages": [
            {"role": "system", "content": "You look closely."},
            {
                "role": "user",
                "content": f"Describe the picture.\n\n{describe(dialect(SCHEMA))}",
                "images": [f"sha256:{call.images[0].sha256}"],
            },
            {"role": "assistant", "content": "{}"},
            {"role": "user", "content": "boats is missing"},
        ],
        "format": dialect(SCHEMA),
        "options": {
            "num_ctx": 4096,
            "num_predict": 300,
            "temperature": 0.25,
            "top_p": 0.75,
            "repeat_penalty": 1.125,
            "seed": 7,
        },
        "keep_alive": "10m",
        "think": False,
        "tools": [],
    }
    assert call.headers["traceparent"] == "00-1"
    assert call.images[0].data == jpeg()


@pytest.mark.parametrize(
    ("mode", "form", "tail"),
    [
        ("json_schema", dialect(SCHEMA), f"\n\n{describe(dialect(SCHEMA))}"),
        ("json_schema_relaxed", dialect(relaxed(SCHEMA)), f"\n\n{describe(dialect(relaxed(SCHEMA)))}"),
        ("json_object", "json", f"\n\n{describe(SCHEMA)}"),
        ("prompt", None, f"\n\n{describe(SCHEMA)}"),
    ],
)
async def test_each_output_mode(pool: Pool, server: OllamaServer, mode: Any, form: Any, tail: str) -> None:
    """ollama/ollama#8162: the schema is never shown to the model unless it stands in the prompt."""
    await client(pool, server.url).complete(asked(MODEL, output_mode=mode))
    assert server.call.body.get("format") == form
    assert server.call.prompt == f"Describe the picture.{tail}"


async def test_nothing_is_sent_that_was_not_asked_for(pool: Pool, server: OllamaServer) -> None:
    """datalab-to/marker#1076: not even an empty list of images."""
    await client(pool, server.url).complete(asked(MODEL, image=None, system=" ", schema=None))
    body = server.call.body
    assert body["messages"] == [{"role": "user", "content": "Describe the picture."}]
    assert body["options"] == {"num_ctx": 8192}
    assert body.keys() == {"model", "messages", "options", "stream", "tools"}


@DOORS
async def test_an_answer_with_its_usage(pool: Pool, server: OllamaServer, door: str) -> None:
    server.reply(b.Answer('{"seen": "é"}', model="tiny-vision:q4"))
    completion = await answer(client(pool, server.url), asked(MODEL), door)
    assert completion.text == '{"seen": "é"}'
    assert completion.model == "tiny-vision:q4"
    assert completion.usage == Usage(120, 30)
    assert completion.warnings == ()


async def test_deltas_are_the_text_without_the_thoughts(pool: Pool, server: OllamaServer) -> None:
    server.reply(b.Answer("a boat and a quay", pieces=4, thinking="hm, boats"))
    deltas, completion = await streamed(client(pool, server.url), asked(MODEL))
    assert len(deltas) == 4
    assert "".join(deltas) == completion.text == "a boat and a quay"


@DOORS
async def test_a_full_context_is_warned_of(pool: Pool, server: OllamaServer, door: str) -> None:
    """haoxiang-xu/PuPu#227: Ollama drops the front of a prompt behind a 200."""
    completion = await answer(client(pool, server.url, num_ctx=150), asked(MODEL), door)
    assert len(completion.warnings) == 1
    assert "num_ctx" in completion.warnings[0]


@DOORS
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (b.Length(), errors.Truncated),
        (b.EmptyText(), errors.BadReply),
        (b.EmptyChoices(), errors.BadReply),
        (b.ErrorInStream(), errors.BadReply),
        (b.Unfinished(), errors.BadReply),
        (b.Cut(), errors.BadReply),
        (b.NotJson(), errors.BadReply),
        (b.Reset(), errors.Unreachable),
        (b.Status(400), errors.SchemaRejected),
        (b.RejectSchema(), errors.SchemaRejected),
        (b.Status(500, message="invalid JSON schema in format"), errors.SchemaRejected),
        (b.Status(500), errors.ServerFailed),
        (b.Status(502, body=b"<html>bad gateway</html>"), errors.ServerFailed),
        (b.Status(503), errors.Unavailable),
        (b.Status(503, body=b"\xff\xfe{"), errors.Unavailable),
        (b.Status(503, body=b"null"), errors.Unavailable),
        (b.Status(401), errors.AuthFailed),
        (b.Status(404, body=b"<html>no such page</html>"), errors.WrongPath),
        (b.TooLong(), errors.ContextTooLong),
        (b.Redirect("http://127.0.0.1:9/"), errors.WrongPath),
    ],
    ids=str,
)
async def test_what_goes_wrong_has_one_error(
    pool: Pool, server: OllamaServer, behaviour: b.Behaviour, kind: type[errors.ProviderError], door: str
) -> None:
    server.reply(behaviour)
    with pytest.raises(errors.ProviderError) as caught:
        await answer(client(pool, server.url), asked(MODEL), door)
    assert type(caught.value) is kind
    assert len(server.calls) == 1
    assert "stopped" not in caught.value.message  # the server's own words


async def test_a_schema_blamed_inside_a_stream(pool: Pool, server: OllamaServer) -> None:
    """ollama/ollama#12422: the refusal of a schema comes in a 200."""
    server.reply(b.ErrorInStream("failed to load model vocabulary required for format", text=""))
    with pytest.raises(errors.SchemaRejected):
        await streamed(client(pool, server.url), asked(MODEL))


@DOORS
async def test_the_picture_is_encoded_once_and_taken_for_no_file(pool: Pool, server: OllamaServer, door: str) -> None:
    """The SDK would encode it anew in each call, and take a text for the name of a file (ollama 0.6.3)."""
    image = Image(b"never looked at again", "image/jpeg", 48, 48)
    vars(image)["base64"] = Image(jpeg(), "image/jpeg", 48, 48).base64  # as if an earlier call had encoded it
    ollama = client(pool, server.url)
    for prompt in ("Colours.", "Objects."):
        request = asked(MODEL, image=image, prompt=prompt)
        await answer(ollama, request, door)
        arguments: Any = ollama.written(request)
        assert [type(each) for each in arguments["messages"][1]["images"]] == [bytes]
    assert [call.images[0].data for call in server.calls] == [jpeg()] * 2
    assert [call.prompt.split()[0] for call in server.calls] == ["Colours.", "Objects."]


@pytest.mark.parametrize("model", ["", " "])
async def test_no_model_is_told_before_the_call(pool: Pool, server: OllamaServer, model: str) -> None:
    with pytest.raises(errors.UnknownModel, match="Name one"):
        await client(pool, server.url).complete(asked(model))
    assert not server.requests


@DOORS
async def test_a_rate_limit_tells_how_long_to_wait(pool: Pool, server: OllamaServer, door: str) -> None:
    server.reply(b.Status(429, retry_after=7))
    with pytest.raises(errors.RateLimited) as caught:
        await answer(client(pool, server.url), asked(MODEL), door)
    assert caught.value.retry_after == 7
    assert caught.value.status == 429


async def test_four_ways_not_to_connect_have_four_sentences(pool: Pool, server: OllamaServer) -> None:
    with OllamaServer() as gone:
        dead = gone.url
    cases = (
        (server.url, "missing", errors.UnknownModel),
        (f"{server.url}/proxy", MODEL, errors.WrongPath),
        (dead, MODEL, errors.Unreachable),
    )
    sentences = set()
    for url, model, kind in cases:
        with pytest.raises(kind) as caught:
            await client(pool, url).complete(asked(model))
        sentences.add(caught.value.message)
    with OllamaServer(key="right") as locked, pytest.raises(errors.AuthFailed) as denied:
        await client(pool, locked.url).complete(asked(MODEL, credentials=with_key("wrong-key")))
    assert len(sentences | {denied.value.message}) == 4
    assert "wrong-key" not in denied.value.message


@pytest.mark.parametrize("after", ["connect", "headers", "first"])
@DOORS
async def test_time_covers_the_whole_call(pool: Pool, server: OllamaServer, after: Any, door: str) -> None:
    server.reply(b.Hang(after))
    with pytest.raises(errors.CallTimeout):
        await answer(client(pool, server.url), asked(MODEL, timeout=0.2), door)


async def test_a_dripping_stream_does_not_outlive_its_time(pool: Pool, server: OllamaServer) -> None:
    server.reply(b.Drip(interval=0.01, size=1))
    with pytest.raises(errors.CallTimeout):
        await streamed(client(pool, server.url), asked(MODEL, timeout=0.2))


async def test_leaving_a_stream_hangs_up(pool: Pool, server: OllamaServer) -> None:
    server.reply(b.Hang("first"))
    parts = client(pool, server.url).stream(asked(MODEL))
    assert isinstance(await anext(parts), Delta)
    await parts.aclose()
    assert await asyncio.to_thread(server.closed.wait, 5)


@pytest.mark.parametrize("key", ["", "key-of-the-caller"])
async def test_no_key_of_the_environment_travels(
    pool: Pool, server: OllamaServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", ENVIRONMENT_KEY)
    with TrapServer() as trap:
        monkeypatch.setenv("OLLAMA_HOST", trap.url)
        ollama = client(pool, server.url)
        await ollama.models(with_key(key), 5)
        await ollama.complete(asked(MODEL, credentials=with_key(key)))
        assert trap.untouched
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == [f"Bearer {key}" if key else None] * 2


@DOORS
async def test_why_an_address_was_refused_is_not_lost(door: str) -> None:
    """The guard speaks through the transport; the bridge tells its refusal apart by the cause."""

    class RefusedAddress(Exception):
        pass

    class Guard(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no") from RefusedAddress()

    pool = Pool(httpx_transport_factory=Guard)
    with pytest.raises(errors.Unreachable) as caught:
        await answer(client(pool, "http://127.0.0.1:9"), asked(MODEL), door)
    assert isinstance(caught.value.__cause__, RefusedAddress)
    await pool.aclose()


async def test_a_key_no_header_can_carry(pool: Pool, server: OllamaServer) -> None:
    with pytest.raises(errors.AuthFailed) as caught:
        await client(pool, server.url).complete(asked(MODEL, credentials=with_key("sécret\nx")))
    assert "cret" not in f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
    assert not server.requests


@DOORS
async def test_the_key_is_in_no_log(caplog: pytest.LogCaptureFixture, pool: Pool, door: str) -> None:
    caplog.set_level(logging.DEBUG)
    with OllamaServer(key="secret-of-the-call") as server:
        ollama = client(pool, server.url)
        await answer(ollama, asked(MODEL, credentials=with_key("secret-of-the-call")), door)
    assert "secret-of-the-call" not in f"{caplog.text} {ollama!r} {vars(ollama)}"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/api", "/api/chat"])
async def test_base_urls_as_people_write_them(pool: Pool, server: OllamaServer, suffix: str) -> None:
    await client(pool, server.url + suffix).complete(asked(MODEL))
    assert server.call.path == "/api/chat"


async def test_models(pool: Pool) -> None:
    with OllamaServer(models=("llava:7b", "qwen3:4b")) as server:
        listed = await client(pool, server.url).models(with_key(""), 5)
    assert listed == (Model("llava:7b", "llava:7b"), Model("qwen3:4b", "qwen3:4b"))


async def test_models_fail_like_calls_do(pool: Pool, server: OllamaServer) -> None:
    with OllamaServer(key="right") as locked, pytest.raises(errors.AuthFailed):
        await client(pool, locked.url).models(with_key("wrong-key"), 5)
    with pytest.raises(errors.WrongPath):
        await client(pool, f"{server.url}/proxy").models(with_key(""), 5)


async def test_a_path_as_an_image_is_impossible(pool: Pool, server: OllamaServer, tmp_path: Any) -> None:
    """The SDK would read a file for a text; a request carries bytes, and these are sent as they are."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"the file's content")
    image = type(asked(MODEL).image)(str(secret).encode(), "image/jpeg", 1, 1)  # type: ignore[misc]
    with pytest.raises(errors.ProviderError):
        await client(pool, server.url).complete(asked(MODEL, image=image))
    assert b"file's content" not in server.requests[-1].body


@pytest.mark.parametrize("options", [{"num_ctx": "many"}, {"num_ctx": True}, {"keep_alive": []}, {"think": 3}])
async def test_an_option_of_the_wrong_type_names_itself(
    pool: Pool, server: OllamaServer, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.RequestRejected, match=next(iter(options))):
        await client(pool, server.url, **options).complete(asked(MODEL))
    assert not server.requests


def test_the_spec_names_what_it_takes() -> None:
    assert SPEC.takes == set(Options.__dataclass_fields__)


async def test_the_check_lists_and_asks(pool: Pool, server: OllamaServer) -> None:
    found = await client(pool, server.url).check(with_key(""), 5, MODEL)
    assert [(step.step, step.status) for step in found.steps] == [
        ("initialize_client", "success"),
        ("list_models", "success"),
        ("test_chat_completion", "success"),
    ]

"""The ollama client over real sockets, against a server that speaks Ollama's protocol."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from providers import errors
from providers.base import Image, Options, ProviderConfig, Turn
from providers.dialects import describe, relaxed
from providers.dialects import ollama as dialect
from providers.ollama import SPEC, OllamaClient
from providers.pool import Pool
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
async def test_a_full_context_is_warned_of(pool: Pool, server: OllamaServer, door: str) -> None:
    """haoxiang-xu/PuPu#227: Ollama drops the front of a prompt behind a 200."""
    completion = await answer(client(pool, server.url, num_ctx=150), asked(MODEL), door)
    assert len(completion.warnings) == 1
    assert "num_ctx" in completion.warnings[0]


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
    with pytest.raises(errors.UnknownModel, match="No model is set"):
        await client(pool, server.url).complete(asked(model))
    assert not server.requests


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

"""The Gemini client over real sockets, against a server that speaks the Gemini API."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from providers import errors
from providers.base import Model, Options, ProviderConfig, Turn
from providers.dialects import describe, relaxed
from providers.dialects import gemini as dialect
from providers.gemini import SPEC, GeminiClient
from providers.pool import Pool
from providers.usage import Usage
from tests.providers.native import EVERY_OPTION, SCHEMA, answer, asked, jpeg, streamed, with_key
from tests.servers import GeminiServer, TrapServer
from tests.servers import behaviours as b
from tests.servers.call import without_images
from tests.servers.reply import Reply, event_stream, json_reply

MODEL = "gemini-2.5-flash"
KEY = "AIza-key-of-the-caller"
ENVIRONMENT_KEY = "AIza-key-of-the-environment"
DOORS = pytest.mark.parametrize("door", ["complete", "stream"])


class ScriptedGemini(GeminiServer):
    """Answers with given bodies, or pages of models, where these are set."""

    bodies_to_send: tuple[Any, ...] = ()
    pages: dict[str, Any] | None = None

    def render(self, call: Any, behaviour: b.Behaviour) -> Reply:
        if not self.bodies_to_send:
            return super().render(call, behaviour)
        many = list(self.bodies_to_send)
        return event_stream(many, done=False) if call.stream else json_reply(many[0])

    def read(self, call: Any) -> Reply | None:
        if self.pages and call.method == "GET":
            return json_reply(self.pages[call.query.get("pageToken", "")])
        return super().read(call)


@pytest.fixture
def server() -> Iterator[ScriptedGemini]:
    with ScriptedGemini(key=KEY) as server:
        yield server


@pytest.fixture(scope="module")
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.aclose()


def client(pool: Pool, url: str, **options: Any) -> GeminiClient:
    return GeminiClient(ProviderConfig("gemini", "gemini", url, options=options), pool)


def request(**changes: Any) -> Any:
    return asked(changes.pop("model", MODEL), **{"credentials": with_key(KEY), **changes})


async def test_the_wire_body_of_a_full_request(pool: Pool, server: GeminiServer) -> None:
    gemini = client(
        pool,
        server.url,
        safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"},
        media_resolution="high",
        thinking_budget=0,
    )
    turns = (Turn("assistant", "{}"), Turn("user", "boats is missing"))
    await gemini.complete(request(options=EVERY_OPTION, turns=turns, headers={"traceparent": "00-1"}))
    call = server.call
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": f"sha256:{call.images[0].sha256}"}}
    assert without_images(call.body, call.images) == {
        "systemInstruction": {"parts": [{"text": "You look closely."}], "role": "user"},
        "contents": [
            {"role": "user", "parts": [picture, {"text": "Describe the picture."}]},
            {"role": "model", "parts": [{"text": "{}"}]},
            {"role": "user", "parts": [{"text": "boats is missing"}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 300,
            "temperature": 0.25,
            "topP": 0.75,
            "seed": 7,
            "responseMimeType": "application/json",
            "responseJsonSchema": dialect(SCHEMA),
            "mediaResolution": "MEDIA_RESOLUTION_HIGH",
            "thinkingConfig": {"thinkingBudget": 0},
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
    }
    assert call.path == f"/v1beta/models/{MODEL}:generateContent"
    assert call.headers["traceparent"] == "00-1"
    assert "x-server-timeout" not in call.headers
    assert list(call.body["generationConfig"]["responseJsonSchema"]["properties"]) == ["seen", "boats", "tags"]


@DOORS
async def test_the_picture_travels_in_plain_base64(pool: Pool, server: GeminiServer, door: str) -> None:
    """The SDK's own alphabet is the URL-safe one, which a compatible proxy may drop in silence."""
    await answer(client(pool, server.url), request(), door)
    sent = server.call.body["contents"][0]["parts"][0]["inlineData"]["data"]
    assert "+" in sent
    assert "/" in sent
    assert server.call.images[0].data == jpeg()


@pytest.mark.parametrize(
    ("mode", "form", "tail"),
    [
        ("json_schema", ("application/json", dialect(SCHEMA)), ""),
        ("json_schema_relaxed", ("application/json", dialect(relaxed(SCHEMA))), ""),
        ("json_object", ("application/json", None), f"\n\n{describe(SCHEMA)}"),
        ("prompt", (None, None), f"\n\n{describe(SCHEMA)}"),
    ],
)
async def test_each_output_mode(pool: Pool, server: GeminiServer, mode: Any, form: Any, tail: str) -> None:
    await client(pool, server.url).complete(request(output_mode=mode))
    config = server.call.body.get("generationConfig", {})
    assert (config.get("responseMimeType"), config.get("responseJsonSchema")) == form
    assert server.call.prompt == f"Describe the picture.{tail}"


async def test_nothing_is_sent_that_was_not_asked_for(pool: Pool, server: GeminiServer) -> None:
    """Safety settings above all: without any, Google's own hold."""
    await client(pool, server.url).complete(request(image=None, system=" ", schema=None))
    body = server.call.body
    assert body.pop("contents") == [{"role": "user", "parts": [{"text": "Describe the picture."}]}]
    assert not body.get("generationConfig")
    assert body.keys() <= {"generationConfig"}


def test_the_spec_names_what_it_takes() -> None:
    assert set(Options.__dataclass_fields__) - {"repetition_penalty"} == SPEC.takes


@DOORS
@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("RECITATION", errors.Blocked),
        ("PROHIBITED_CONTENT", errors.Blocked),
        ("BLOCKLIST", errors.Blocked),
        ("SPII", errors.Blocked),
        ("IMAGE_SAFETY", errors.Blocked),
        ("MALFORMED_RESPONSE", errors.BadReply),
        ("MALFORMED_FUNCTION_CALL", errors.BadReply),
        ("OTHER", errors.BadReply),
        ("CONTINUATION", errors.Truncated),
        ("A\nNEW REASON", errors.BadReply),
    ],
)
async def test_every_other_way_to_finish(
    pool: Pool, server: ScriptedGemini, reason: str, kind: type[errors.ProviderError], door: str
) -> None:
    """CONTINUATION among them: the SDK would make a second call by itself."""
    candidate = {"content": {"parts": [{"text": "A pic"}]}, "finishReason": reason, "continuationToken": "dG9rZW4="}
    server.bodies_to_send = ({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9}},)
    with pytest.raises(kind) as caught:
        await answer(client(pool, server.url), request(), door)
    assert caught.value.usage == Usage(9)
    assert len(server.calls) == 1


async def test_an_error_inside_a_stream_is_what_its_code_says(pool: Pool, server: GeminiServer) -> None:
    server.reply(b.ErrorInStream(text=""))
    with pytest.raises(errors.ServerFailed):
        await streamed(client(pool, server.url), request())


@DOORS
async def test_zeros_of_a_proxy_are_no_usage(pool: Pool, server: ScriptedGemini, door: str) -> None:
    candidate = {"content": {"parts": [{"text": "A pier"}]}, "finishReason": "STOP"}
    zeros = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
    server.bodies_to_send = ({"candidates": [candidate], "usageMetadata": zeros},)
    assert (await answer(client(pool, server.url), request(), door)).usage is None


@DOORS
@pytest.mark.parametrize("body", [[], {"candidates": "none"}, {"candidates": [{"content": 4}]}, {"error": "x"}])
async def test_json_of_another_shape(pool: Pool, server: ScriptedGemini, body: Any, door: str) -> None:
    server.bodies_to_send = (body,)
    with pytest.raises(errors.BadReply):
        await answer(client(pool, server.url), request(), door)


async def test_an_account_gemini_does_not_serve(pool: Pool, server: GeminiServer) -> None:
    """google-gemini/gemini-cli#24641: a 400 that no simpler schema cures."""
    body = b'{"error": {"code": 400, "message": "User location", "status": "FAILED_PRECONDITION"}}'
    server.reply(b.Status(400, body=body))
    with pytest.raises(errors.RequestRejected, match="country"):
        await client(pool, server.url).complete(request())


@pytest.mark.parametrize("model", ["", "../files", "x?key=1", "x:embedContent", "a b", "x#y", "x%2e"])
async def test_a_model_that_would_change_the_url(pool: Pool, server: GeminiServer, model: str) -> None:
    with pytest.raises(errors.UnknownModel):
        await client(pool, server.url).complete(request(model=model))
    assert not server.requests


@pytest.mark.parametrize("key", ["", KEY])
async def test_nothing_of_the_environment_travels_or_leads_astray(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TrapServer() as trap, GeminiServer(key="") as server:
        for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
            monkeypatch.setenv(name, ENVIRONMENT_KEY)
        for name in ("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, trap.url)
        for name in ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"):
            monkeypatch.setenv(name, "true")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west1")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
        monkeypatch.setenv("GOOGLE_GENAI_CLIENT_MODE", "replay")
        monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v7")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        gemini = client(pool, server.url)
        await gemini.models(with_key(key), 5)
        await gemini.complete(request(credentials=with_key(key)))
        await streamed(gemini, request(credentials=with_key(key)))
        assert trap.untouched
    assert [sent.headers.get("x-goog-api-key") for sent in server.requests] == [key or None] * 3
    assert not any(ENVIRONMENT_KEY in f"{sent.headers} {sent.target}" for sent in server.requests)
    assert "GOOGLE_API_KEY" not in caplog.text


async def test_aiohttp_is_not_used(pool: Pool, server: GeminiServer) -> None:
    """It is installed (instructor brings it) and would pass by the pool's limits and the address guard."""
    small = Pool(max_reply_bytes=20)
    for door in ("complete", "stream"):
        with pytest.raises(errors.BadReply, match="longer than 20 bytes"):
            await answer(client(small, server.url), request(), door)
    await small.aclose()


async def test_models_that_only_embed_are_left_out(pool: Pool, server: ScriptedGemini) -> None:
    rows = [
        {"name": "models/gemini-2.5-pro", "supportedGenerationMethods": ["countTokens", "generateContent"]},
        {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/of-a-proxy", "displayName": "Of a proxy"},
    ]
    server.pages = {"": {"models": rows[:2], "nextPageToken": "2"}, "2": {"models": rows[2:]}}
    listed = await client(pool, server.url).models(with_key(KEY), 5)
    assert listed == (Model("gemini-2.5-pro", "gemini-2.5-pro"), Model("of-a-proxy", "Of a proxy"))


async def test_a_list_without_an_end_is_cut(pool: Pool, server: ScriptedGemini) -> None:
    rows = [{"name": f"models/m{number}"} for number in range(500)]
    server.pages = {key: {"models": rows, "nextPageToken": "again"} for key in ("", "again")}
    assert len(await client(pool, server.url).models(with_key(KEY), 5)) == 2000


@pytest.mark.parametrize(
    "options",
    [
        {"thinking_budget": "much"},
        {"thinking_level": "huge"},
        {"media_resolution": 4},
        {"safety_settings": {"HARM_CATEGORY_HARASSMENT": "NEVER"}},
        {"safety_settings": {"HARASSMENT": "OFF"}},
        {"safety_settings": {"HARM_CATEGORY_HARASSMENT": ["OFF"]}},
        {"safety_settings": "off"},
    ],
    ids=str,
)
async def test_an_option_of_the_wrong_value_names_itself(
    pool: Pool, server: GeminiServer, options: dict[str, Any]
) -> None:
    with pytest.raises(errors.RequestRejected, match=next(iter(options))):
        await client(pool, server.url, **options).complete(request())
    assert not server.requests

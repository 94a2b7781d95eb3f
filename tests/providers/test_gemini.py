"""The Gemini client: what the contract suite does not show of every client."""

from collections.abc import Iterator
from typing import Any

import pytest

from providers import errors
from providers.base import Credentials, ProviderConfig
from providers.gemini import GeminiClient
from providers.pool import Pool
from providers.usage import Usage
from tests.providers.calls import make_request, send, stream
from tests.servers import GeminiServer, TrapServer
from tests.servers import behaviours as b
from tests.servers.reply import Reply, event_stream, json_reply

KEY = "AIza-key-of-the-caller"
ENVIRONMENT_KEY = "AIza-key-of-the-environment"
STREAMED = pytest.mark.parametrize("streamed", [False, True])


class ScriptedGemini(GeminiServer):
    """Answers with these bodies where they are set."""

    bodies_to_send: tuple[Any, ...] = ()

    def render(self, call: Any, behaviour: b.Behaviour) -> Reply:
        if not self.bodies_to_send:
            return super().render(call, behaviour)
        bodies = list(self.bodies_to_send)
        return event_stream(bodies, done=False) if call.stream else json_reply(bodies[0])


@pytest.fixture
def server() -> Iterator[ScriptedGemini]:
    with ScriptedGemini(key=KEY) as server:
        yield server


def client(pool: Pool, url: str, **options: Any) -> GeminiClient:
    return GeminiClient(ProviderConfig("gemini", "gemini", url, options=options), pool)


def request(key: str = KEY, **changes: Any) -> Any:
    return make_request("gemini-2.5-flash", credentials=Credentials(key), **changes)


async def test_configured_options_are_sent(pool: Pool, server: GeminiServer) -> None:
    options = {"media_resolution": "high", "thinking_budget": 0, "thinking_level": "low"}
    harassment = {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    await client(pool, server.url, safety_settings=harassment, **options).complete(request())
    body = server.call.body
    assert body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_HIGH"
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0, "thinkingLevel": "LOW"}
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    assert "x-server-timeout" not in server.call.headers


@STREAMED
@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((reason, errors.Blocked) for reason in ("RECITATION", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")),
        *((reason, errors.BadReply) for reason in ("MALFORMED_RESPONSE", "OTHER", "A\nNEW REASON")),
        ("CONTINUATION", errors.Truncated),
    ],
)
async def test_other_finish_reasons(
    pool: Pool, server: ScriptedGemini, reason: str, expected: type[errors.ProviderError], streamed: bool
) -> None:
    """For CONTINUATION the SDK would make a second call by itself."""
    candidate = {"content": {"parts": [{"text": "A pier"}]}, "finishReason": reason, "continuationToken": "dG9rZW4="}
    server.bodies_to_send = ({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9}},)
    with pytest.raises(expected) as caught:
        await send(client(pool, server.url), request(), streamed)
    assert caught.value.usage == Usage(9)
    assert len(server.calls) == 1


@pytest.mark.parametrize("key", ["", KEY])
async def test_the_environment_is_not_used(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with TrapServer() as trap, GeminiServer(key="") as server:
        environment = {
            **dict.fromkeys(("GOOGLE_API_KEY", "GEMINI_API_KEY"), ENVIRONMENT_KEY),
            **dict.fromkeys(("GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL", "HTTP_PROXY", "http_proxy"), trap.url),
            **dict.fromkeys(("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_ENTERPRISE"), "true"),
            "GOOGLE_CLOUD_PROJECT": "a-project",
            "GOOGLE_CLOUD_LOCATION": "europe-west1",
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json",
            "GOOGLE_GENAI_CLIENT_MODE": "replay",
            "GOOGLE_GENAI_API_VERSION": "v7",
            "NO_PROXY": "127.0.0.1",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        gemini = client(pool, server.url)
        await gemini.models(Credentials(key), 60)
        await gemini.complete(request(key))
        await stream(gemini, request(key))
        assert trap.untouched
    assert [sent.headers.get("x-goog-api-key") for sent in server.requests] == [key or None] * 3
    assert not any(ENVIRONMENT_KEY in f"{sent.headers} {sent.target}" for sent in server.requests)
    assert "GOOGLE_API_KEY" not in caplog.text

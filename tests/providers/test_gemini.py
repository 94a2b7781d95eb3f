"""The Gemini client: what the contract suite does not show of every client."""

from collections.abc import Iterator
from typing import Any

import pytest

from providers import errors
from providers.pool import Pool
from providers.usage import Usage
from tests.contract.kinds import OF_KIND
from tests.contract.target import target
from tests.servers import GeminiServer
from tests.servers import behaviours as b
from tests.servers.reply import Reply, event_stream, json_reply

GEMINI = OF_KIND["gemini"]


class ScriptedGemini(GeminiServer):
    """Answers with this body where it is set."""

    body_to_send: Any = None

    def render(self, call: Any, behaviour: b.Behaviour) -> Reply:
        if self.body_to_send is None:
            return super().render(call, behaviour)
        return event_stream([self.body_to_send], done=False) if call.stream else json_reply(self.body_to_send)


@pytest.fixture
def server() -> Iterator[ScriptedGemini]:
    with ScriptedGemini() as server:
        yield server


async def test_configured_options_are_sent(pool: Pool, server: GeminiServer) -> None:
    options = {"media_resolution": "high", "thinking_budget": 0, "thinking_level": "low"}
    harassment = {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    await target(GEMINI, server, pool, options={"safety_settings": harassment, **options}).complete()
    body = server.call.body
    assert body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_HIGH"
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0, "thinkingLevel": "LOW"}
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    assert "x-server-timeout" not in server.call.headers


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
    server.body_to_send = {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9}}
    error = await target(GEMINI, server, pool).failure(streamed)
    assert (type(error), error.usage) == (expected, Usage(9))
    assert len(server.calls) == 1

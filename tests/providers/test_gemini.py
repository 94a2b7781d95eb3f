"""The Gemini client: behaviour that is not part of the contract of all clients."""

import pytest

from providers import errors
from providers.base import Usage
from providers.pool import Pool
from tests.contract.kinds import KIND_BY_NAME, only
from tests.contract.target import Target, make_target
from tests.servers import WireServer
from tests.servers import behaviours as b
from tests.servers.reply import json_bytes

pytestmark = only("gemini")


async def test_configured_options_are_sent(pool: Pool, server: WireServer) -> None:
    options = {"media_resolution": "high", "thinking_budget": 0, "thinking_level": "low"}
    harassment = {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"}
    await make_target(
        KIND_BY_NAME["gemini"], server, pool, options={"safety_settings": harassment, **options}
    ).complete()
    body = server.call.body
    assert body["generationConfig"]["mediaResolution"] == "MEDIA_RESOLUTION_HIGH"
    assert body["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 0, "thinkingLevel": "LOW"}
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
    assert "x-server-timeout" not in server.call.headers


@pytest.mark.parametrize("threshold", ["SOME", 5, ["OFF"], {"OFF": "OFF"}], ids=str)
async def test_an_invalid_safety_threshold_is_reported(pool: Pool, server: WireServer, threshold: object) -> None:
    settings = {"HARM_CATEGORY_HARASSMENT": threshold}
    target = make_target(KIND_BY_NAME["gemini"], server, pool, options={"safety_settings": settings})
    assert type(await target.failure()) is errors.InvalidOption
    assert not server.calls


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((reason, errors.Blocked) for reason in ("RECITATION", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY")),
        *((reason, errors.BadReply) for reason in ("MALFORMED_RESPONSE", "OTHER", "A\nNEW REASON")),
        ("CONTINUATION", errors.Truncated),
    ],
)
async def test_other_finish_reasons(
    target: Target, reason: str, expected: type[errors.ProviderError], streamed: bool
) -> None:
    """For CONTINUATION, the SDK would send a second call."""
    candidate = {"content": {"parts": [{"text": "A pier"}]}, "finishReason": reason, "continuationToken": "dG9rZW4="}
    body = json_bytes({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 9}})
    target.server.reply(b.Raw(b"data: " + body + b"\n\n", "text/event-stream") if streamed else b.Raw(body))
    error = await target.failure(streamed)
    assert (type(error), error.usage) == (expected, Usage(9))
    assert len(target.server.calls) == 1

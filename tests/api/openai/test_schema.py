"""A schema in response_format: the text of the user becomes the prompt."""

from typing import Any

import pytest

from tests.api.openai.ask import FORMAT, ask, refusal, request, send
from tests.clients.bridge import Bridge, message
from tests.servers import behaviours as b


def test_text_and_schema_are_a_perspective(bridge: Bridge) -> None:
    bridge.server.default = b.Answer({"mood": "calm"})
    text = 'Tell the {mood}, as in {"mood": "…"}.'
    data = ask(bridge, model="@studio", messages=[message(text, "In one word.")], response_format=FORMAT)
    assert data["choices"][0]["message"]["content"] == '{"mood":"calm"}'
    call = bridge.server.call
    assert call.prompt.startswith(f"{text}\n\nIn one word.")
    assert "<context>" not in call.prompt
    assert call.schema["properties"].keys() == {"mood"}
    assert call.body["response_format"]["json_schema"]["name"] == "caption"


REFUSED_SCHEMAS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "with a perspective": (request(response_format=FORMAT), "invalid_request", "response_format", "'look'"),
    "with neither": (request(model="@studio"), "invalid_request", "model", "perspective"),
    "without a schema": (
        request(model="@studio", response_format={"type": "json_schema"}),
        "invalid_request",
        "response_format",
        "json_schema",
    ),
    "a schema that is none": (
        request(
            model="@studio",
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string"}}},
        ),
        "invalid_perspective",
        "response_format",
        "object",
    ),
}


@pytest.mark.parametrize("name", REFUSED_SCHEMAS)
def test_misplaced_schemas(bridge: Bridge, name: str) -> None:
    body, code, param, hint = REFUSED_SCHEMAS[name]
    response = send(bridge, body)
    data = refusal(response)
    assert (response.status_code, data["code"], data["param"]) == (422, code, param), data
    assert hint in data["message"]
    assert bridge.server.calls == []

"""Chat requests, and the bridge that the tests of OpenAI's clients use as well."""

import json
from typing import Any

import httpx

from tests.clients.bridge import ANSWER, DATA_URI, MODEL, Bridge, message
from tests.clients.conftest import bridge, started

__all__ = ["bridge", "started"]
COMPACT = json.dumps(ANSWER, ensure_ascii=False, separators=(",", ":"))
IMAGE = {"type": "image_url", "image_url": {"url": DATA_URI}}
SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "caption", "strict": True, "schema": SCHEMA}}
CHAT = "/chat/completions"


def request(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [message("Taken at the fair.")], **changes}


def send(bridge: Bridge, body: dict[str, Any], **headers: str) -> httpx.Response:
    return bridge.service.request("POST", f"/v1{CHAT}", json=body, headers=headers)


def ask(bridge: Bridge, **changes: Any) -> dict[str, Any]:
    response = send(bridge, request(**changes))
    assert response.status_code == 200, response.text
    return response.json()  # type: ignore[no-any-return]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error object, and check its format."""
    data = response.json()
    assert set(data) == {"error"}
    assert set(data["error"]) == {"message", "type", "param", "code"}
    assert data["error"]["message"].endswith((".", "?"))
    return data["error"]  # type: ignore[no-any-return]

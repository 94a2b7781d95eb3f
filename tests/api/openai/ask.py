"""A chat request as the tests send it, and what they read of the answer."""

import json
from typing import Any

import httpx

from tests.clients.bridge import ANSWER, DATA_URI, MODEL, Bridge, message

COMPACT = json.dumps(ANSWER, ensure_ascii=False, separators=(",", ":"))
IMAGE = {"type": "image_url", "image_url": {"url": DATA_URI}}
SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "caption", "strict": True, "schema": SCHEMA}}
CHAT = "/chat/completions"


def request(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [message("Taken at the fair.")], **changes}


def send(bridge: Bridge, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(bridge.url + CHAT, json=body, headers=headers, timeout=30, trust_env=False)


def ask(bridge: Bridge, **changes: Any) -> dict[str, Any]:
    answer = send(bridge, request(**changes))
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The error, once its shape was looked at."""
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    assert told["error"]["message"].endswith((".", "?"))
    return told["error"]  # type: ignore[no-any-return]

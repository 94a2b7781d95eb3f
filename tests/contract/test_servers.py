"""The test servers reject what the real ones reject: a server that accepts anything would prove nothing."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import httpx2
import pytest
from PIL import Image as Pillow

from tests.contract.schemas import PLAIN, RICH
from tests.servers import AnthropicServer, GeminiServer, OllamaServer, OpenAIServer, WireServer
from tests.servers.schemas import anthropic_fault, gemini_fault, strict_fault

TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def test_strict_mode_rejects() -> None:
    for schema in (
        *(PLAIN, RICH, TEXT, {"anyOf": [closed(a=TEXT)], "type": "object"}),
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        *(closed(a={**TEXT, **words}) for words in ({"minLength": 1}, {"format": "uri"}, {"pattern": "^(?!x)"})),
        *(closed(a={"type": "array", **words}) for words in ({}, {"items": {}}, {"items": TEXT, "uniqueItems": True})),
        closed(a={"type": "object", "additionalProperties": TEXT}),
        closed(a={"type": ["object", "null"], "properties": {"b": TEXT}}),
        *(closed(a=node) for node in ({}, {"allOf": [TEXT]}, {"anyOf": [TEXT, {}]})),
    ):
        assert strict_fault(schema), schema


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (closed(a={"const": 1}), "const"),
        ({"$schema": "x", **closed()}, "$schema"),
        ({"title": "x", **closed()}, "title"),
        (closed(title=TEXT, const=TEXT), None),
        (closed(a={"type": "integer", "exclusiveMinimum": 0}), "exclusiveMinimum"),
        (closed(a={"enum": [str(number) for number in range(100)]}), "too many states"),
        (closed(a={"type": "array", "items": TEXT, "maxItems": 500}), ""),
        ({"type": "object", "additionalProperties": TEXT}, None),
    ],
)
def test_gemini_rejects(schema: dict[str, Any], fault: str | None) -> None:
    result = gemini_fault(schema)
    assert (result is None) == (fault is None)
    assert (fault or "") in (result or "")


def chat(server: WireServer, content: Any = "hi", **changes: Any) -> httpx2.Response:
    body = {"model": server.models[0], "messages": [{"role": "user", "content": content}], **changes}
    headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
    path = "/api/chat" if isinstance(server, OllamaServer) else "/chat/completions"
    return httpx2.post(server.url + path, json=body, headers=headers)


def encoded(format: str, encode: Any = b64encode) -> str:
    file = BytesIO()
    Pillow.new("RGB", (40, 30), "teal").save(file, format)
    return str(encode(file.getvalue()).decode())


def data_url(format: str, declared: str = "") -> list[dict[str, Any]]:
    url = f"data:image/{declared or format.lower()};base64,{encoded(format)}"
    return [{"type": "image_url", "image_url": {"url": url}}]


@pytest.mark.parametrize(
    ("variant", "changes", "status"),
    [
        ("openai", {}, 200),
        ("openai", {"repetition_penalty": 1.1}, 400),
        ("openai", {"model": "gpt-5-mini", "max_tokens": 5}, 400),
        ("openai", {"model": "gpt-5-mini", "max_completion_tokens": 5}, 200),
        ("openai", {"model": "o4-mini", "temperature": 0.5}, 400),
        ("openai", {"model": "gpt-9"}, 404),
        ("openai", {"response_format": {"type": "json_object"}}, 400),
        ("vllm", {"repetition_penalty": 1.1, "guided_json": PLAIN}, 200),
        ("vllm", {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": RICH}}}, 400),
        ("vllm", {"model": "gpt-9"}, 404),
        ("llamacpp", {"model": "gpt-9", "repetition_penalty": 1.1}, 200),
        ("lmstudio", {"response_format": {"type": "json_object"}}, 400),
        ("openrouter", {"model": "gpt-9"}, 400),
        ("litellm", {"model": "gpt-9"}, 400),
        ("transformers", {"model": "gpt-9"}, 400),
        ("transformers", {"repetition_penalty": 1.1}, 422),
        ("transformers", {"top_k": 5}, 422),
    ],
)
def test_requests_that_variants_accept_and_reject(variant: str, changes: dict[str, Any], status: int) -> None:
    with OpenAIServer(variant) as server:
        assert chat(server, **changes).status_code == status
        assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("variant", "content", "status"),
    [
        ("openai", data_url("WEBP"), 200),
        ("openai", data_url("TIFF"), 400),
        ("vllm", data_url("TIFF"), 200),
        ("llamacpp", data_url("WEBP"), 400),
        ("llamacpp", data_url("AVIF"), 400),
        ("llamacpp", data_url("PNG"), 200),
        ("vllm", data_url("PNG", "jpeg"), 400),
        ("vllm", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], 400),
        ("vllm", [{"type": "image_url", "image_url": {"url": encoded("PNG")}}], 400),
        ("vllm", [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], 400),
    ],
)
def test_images_that_variants_accept_and_reject(variant: str, content: Any, status: int) -> None:
    with OpenAIServer(variant) as server:
        assert chat(server, content).status_code == status


def ollama_chat(**message: Any) -> int:
    with OllamaServer() as server:
        whole = {"role": "user", "content": "hi", **message}
        return chat(server, messages=[whole]).status_code


def test_ollama_rejects() -> None:
    assert ollama_chat() == 200
    assert ollama_chat(images=[encoded("JPEG")]) == 200
    assert ollama_chat(images=[]) == 400
    assert ollama_chat(images=[encoded("WEBP")]) == 400
    assert ollama_chat(images=["data:image/png;base64," + encoded("PNG")]) == 400
    with OllamaServer() as server:
        missing = chat(server, model="gone")
        assert (missing.status_code, missing.json()) == (404, {"error": "model 'gone' not found"})
        assert chat(server, format="yaml").status_code == 400
        assert chat(server, format=PLAIN, stream=False).json()["message"]["content"] == '{"caption": "a caption"}'
        assert server.calls[-1].schema == PLAIN


def gemini(server: GeminiServer, parts: list[Any], key: str = "", **body: Any) -> httpx2.Response:
    url = f"{server.url}/v1beta/models/{server.models[0]}:generateContent"
    whole = {"contents": [{"role": "user", "parts": parts}], **body}
    return httpx2.post(url, json=whole, headers={"x-goog-api-key": key or server.key})


@pytest.mark.parametrize(
    "body",
    [
        {"config": {}},
        {"generationConfig": {"max_output_tokens": 5}},
        {"generationConfig": {"responseJsonSchema": PLAIN}},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": RICH}},
    ],
)
def test_gemini_rejects_unknown_fields(body: dict[str, Any]) -> None:
    with GeminiServer() as server:
        assert gemini(server, [{"text": "hi"}], **body).status_code == 400


@pytest.mark.parametrize(
    "schema",
    [
        RICH,
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        closed(a={"type": "string", "maxLength": 9}),
        closed(a={"type": "integer", "minimum": 1}),
        closed(a={"type": "array", "items": TEXT, "maxItems": 3}),
        closed(a={"type": "array", "items": TEXT, "minItems": 2}),
        closed(a={"type": "string", "pattern": "^(?!x)"}),
        closed(a={"type": "string", "format": "regex"}),
        closed(a={"enum": [{"b": 1}]}),
        closed(a={}),
        {**closed(**{f"a{number}": TEXT for number in range(25)}), "required": []},
        closed(**{f"a{number}": {"type": ["string", "null"]} for number in range(17)}),
    ],
)
def test_anthropic_rejects(schema: dict[str, Any]) -> None:
    assert anthropic_fault(schema)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"max_tokens": None}, 400),
        ({"temperature": 1.0}, 400),
        ({"system": " "}, 400),
        ({"model": "claude-9"}, 404),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]}, 400),
        ({"output_config": {"format": {"type": "json_schema", "schema": RICH}}}, 400),
        ({"output_config": {"format": {"type": "json_schema", "schema": PLAIN}}}, 200),
        ({"tools": [], "tool_choice": {"type": "tool", "name": "a"}}, 400),
    ],
)
def test_requests_to_anthropic(changes: dict[str, Any], status: int) -> None:
    with AnthropicServer() as server:
        headers = {"authorization": f"Bearer {server.key}", "anthropic-version": "2026-10-21"}
        messages = [{"role": "user", "content": "hi"}]
        body = {"model": server.models[0], "max_tokens": 9, "messages": messages, **changes}
        url, body = f"{server.url}/messages", {name: value for name, value in body.items() if value is not None}
        assert httpx2.post(url, json=body, headers=headers).status_code == status
        assert httpx2.post(url, json=body, headers={**headers, "anthropic-version": "2023-06-01"}).status_code == 400
        assert httpx2.post(url, json=body, headers={"anthropic-version": "2026-10-21"}).status_code == 401

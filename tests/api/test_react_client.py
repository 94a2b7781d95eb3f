"""graphcap's React client, as it really calls and really parses: it must work unchanged.

The requests are byte for byte what its screens send; the checks are those its Zod schemas and components make.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.contract.kinds import KINDS, Kind
from tests.servers import TrapServer
from tests.servers import behaviours as b
from tests.service import Service

PAGE = "http://localhost:32200"
KEY = "sk-callers-own-key-123456"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


class Client:
    """`fetch` from the page at localhost:32200."""

    def __init__(self, base: str) -> None:
        self.base = base

    def get(self, path: str) -> httpx.Response:
        answer = httpx.get(self.base + path, headers={"Origin": PAGE}, trust_env=False)
        assert answer.headers["access-control-allow-origin"] in (PAGE, "*")
        return answer

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        preflight = httpx.options(
            self.base + path,
            headers={
                "Origin": PAGE,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
            trust_env=False,
        )
        assert preflight.status_code == 200
        assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
        assert "POST" in preflight.headers["access-control-allow-methods"]
        answer = httpx.post(self.base + path, json=body, headers={"Origin": PAGE}, timeout=30, trust_env=False)
        assert answer.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "access-control-allow-credentials" not in answer.headers
        return answer


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url + "/api/v1")


def config(kind: Kind, url: str, key: str = KEY) -> dict[str, Any]:
    return {
        "name": "My provider",
        "kind": kind.kind,
        "environment": "local",
        "base_url": url,
        "api_key": key,
        "default_model": "tiny-vision",
        "models": ["tiny-vision"],
    }


def screen_request(provider_config: dict[str, Any], model: str, **changes: Any) -> dict[str, Any]:
    return {
        "perspective": "graph_caption",
        "image_path": "/workspace/datasets/samples/coffee.jpg",
        "provider": "My provider",
        "model": model,
        "provider_config": provider_config,
        "temperature": 0.7,
        "max_tokens": 4096,
        "top_p": 0.95,
        "repetition_penalty": 1.1,
        "global_context": "You are a visual captioning perspective.",
        "context": [],
        "resize_resolution": "NONE",
        **changes,
    }


def check_caption(body: dict[str, Any], fields: list[dict[str, Any]]) -> None:
    assert isinstance(body["perspective"], str)
    assert isinstance(body["provider"], str)
    assert isinstance(body["result"], dict)
    assert "content" not in body
    assert isinstance(body.get("raw_text", ""), str)
    assert all(isinstance(body["metadata"][name], str) for name in ("model", "provider", "version", "config_name"))
    assert None not in body.values()
    for field in fields:
        assert field["name"] in body["result"], "the card would show the word undefined"


def check_field(field: dict[str, Any]) -> None:
    assert field["type"] in ("str", "int", "float", "bool", "dict")
    assert isinstance(field["name"], str)
    assert isinstance(field["description"], str)
    for flag in ("is_list", "is_complex"):
        assert isinstance(field.get(flag, True), bool)
    for one in field.get("fields") or []:
        check_field(one)


def check_perspective(one: dict[str, Any]) -> None:
    assert all(isinstance(one[name], str) for name in ("name", "display_name", "version", "description"))
    schema = one["schema"]
    assert all(
        isinstance(schema[name], str) for name in ("name", "display_name", "version", "prompt", "context_template")
    )
    for field in schema["schema_fields"]:
        check_field(field)
    for column in schema["table_columns"]:
        assert isinstance(column["name"], str)
        assert isinstance(column["style"], str)
        assert isinstance(column.get("description", ""), str)


def test_connect(client: Client) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"


def test_the_lists_fill_the_screens(client: Client) -> None:
    listed = client.get("/perspectives/list").json()["perspectives"]
    assert len(listed) >= 25
    for one in listed:
        check_perspective(one)
    structured = {one["name"]: one for one in listed}["graph_caption"]["schema"]["schema_fields"]
    assert any(field.get("fields") for field in structured), "structured fields are told with their fields"
    modules = client.get("/perspectives/modules").json()["modules"]
    for module in modules:
        assert all(isinstance(module[name], str) for name in ("name", "display_name", "description"))
        assert isinstance(module["enabled"], bool)
        one = client.get(f"/perspectives/modules/{module['name']}")
        assert "application/json" in one.headers["content-type"]
        assert one.json()["module"] == module
        assert len(one.json()["perspectives"]) == module["perspective_count"]
        for perspective in one.json()["perspectives"]:
            check_perspective(perspective)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.id for kind in KINDS])
def test_a_screen_captions_through_every_kind(client: Client, kind: Kind) -> None:
    fields = client.get("/perspectives/graph_caption").json()["schema"]["schema_fields"]
    with kind.server(key=KEY) as server:
        if not kind.constrains:
            server.default = b.Answer(builtin_caption(client)["result"])
        answer = client.post(
            "/perspectives/caption-from-path", screen_request(config(kind, server.url), server.models[0])
        )
        assert answer.status_code == 200, answer.text
        check_caption(answer.json(), fields)
        assert answer.json()["provider"] == "My provider"
        assert server.call.system == "You are a visual captioning perspective."


def builtin_caption(client: Client) -> dict[str, Any]:
    config = {"name": "B", "kind": "builtin", "environment": "local", "api_key": "", "models": []}
    answer = client.post("/perspectives/caption-from-path", screen_request(config, "any"))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_screen_captions_with_builtin(client: Client) -> None:
    fields = client.get("/perspectives/graph_caption").json()["schema"]["schema_fields"]
    check_caption(builtin_caption(client), fields)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.kind in ("vllm", "ollama")], ids=lambda kind: kind.id)
def test_an_empty_key_is_no_key(client: Client, kind: Kind) -> None:
    with kind.server() as server:
        request = screen_request(config(kind, server.url, key=""), server.models[0])
        assert client.post("/perspectives/caption-from-path", request).status_code == 200
        assert "authorization" not in {name.lower() for name in server.call.headers}


@pytest.mark.parametrize(
    ("changes", "contexts"),
    [
        ({"global_context": ""}, []),
        ({"context": None}, []),
        ({"context": "a plain string"}, ["a plain string"]),
        ({"context": '["a list", "in a string"]'}, ["a list", "in a string"]),
        ({"context": ["Alpha.", "Beta."]}, ["Alpha.", "Beta."]),
        ({"resize_resolution": "SD_VGA"}, []),
        ({"something_new": {"the client": "grew"}}, []),
        ({"temperature": None, "max_tokens": None, "top_p": None, "repetition_penalty": None}, []),
    ],
)
def test_what_upstream_took_is_taken(client: Client, changes: dict[str, Any], contexts: list[str]) -> None:
    kind = next(kind for kind in KINDS if kind.kind == "vllm")
    with kind.server(key=KEY) as server:
        request = screen_request(config(kind, server.url), server.models[0], **changes)
        answer = client.post("/perspectives/caption-from-path", request)
        assert answer.status_code == 200, answer.text
        tagged = "".join(f"<context>\n{text}\n</context>\n\n" for text in contexts)
        assert server.call.prompt.startswith(tagged)
        assert server.call.prompt.count("<context>") == len(contexts)


def test_the_doubled_slash_of_a_url_typed_with_one_at_its_end(service: Service) -> None:
    client = Client(service.url + "//api/v1")
    assert client.get("/health").status_code == 200
    assert client.get("/perspectives/list").status_code == 200
    request = screen_request({"name": "B", "kind": "builtin", "api_key": ""}, "any")
    assert client.post("/perspectives/caption-from-path", request).status_code == 200


def test_nested_options_without_a_provider_config(client: Client) -> None:
    nested = {
        "image_path": "/workspace/datasets/samples/coffee.jpg",
        "perspective": "alt_text",
        "provider_id": 3,
        "provider": "builtin",
        "options": {
            "model": "measurements",
            "temperature": 0.5,
            "resize": False,
            "resize_resolution": "SD_VGA",
            "context": [],
        },
    }
    answer = client.post("/perspectives/caption-from-path", nested)
    assert answer.status_code == 200, answer.text
    label = client.post("/perspectives/caption-from-path", {**nested, "provider": "My OpenAI"})
    assert label.status_code == 404
    assert "My OpenAI" in label.json()["detail"]


@pytest.mark.parametrize("path", ["/etc/passwd", "/../../etc/passwd", "/datasets/../../README.md"])
def test_no_file_outside_the_workspace_leaves(client: Client, path: str) -> None:
    with TrapServer() as trap:
        kind = next(kind for kind in KINDS if kind.kind == "openai")
        request = screen_request(config(kind, trap.url), "m", image_path=f"/workspace{path}")
        answer = client.post("/perspectives/caption-from-path", request)
        assert answer.status_code in (403, 404)
        assert trap.untouched


# Test Connection


def connection(client: Client, name: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"/providers/{name}/test-connection", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found.get("status") != "error"
    assert "validationErrors" not in found
    steps = found["result"]["diagnostics"]["connection_steps"]
    for step in steps:
        assert step["status"] in ("success", "failed", "skipped", "pending")
        assert isinstance(step["step"], str)
        assert isinstance(step["timestamp"], str)
    keys = [f"{step['step']}-{step['timestamp']}" for step in steps]
    assert len(set(keys)) == len(keys)
    for warning in found["result"]["diagnostics"]["warnings"]:
        assert isinstance(warning["warning_type"], str)
        assert isinstance(warning["message"], str)
    assert isinstance(found["result"]["details"], dict)
    return found


def step_names(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["step"], one["status"]) for one in found["result"]["diagnostics"]["connection_steps"]]


@pytest.mark.parametrize("name", ["My provider", "50% off", "a/b c", "Größe", "100%%20"])
def test_the_button_works_whatever_the_provider_is_called(client: Client, name: str) -> None:
    kind = next(kind for kind in KINDS if kind.kind == "openai")
    with kind.server(key=KEY) as server:
        body = {**config(kind, server.url), "default_model": server.models[0], "name": name}
        found = connection(client, quote(name, safe="/%"), body)
        assert step_names(found) == [
            ("initialize_client", "success"),
            ("list_models", "success"),
            ("test_chat_completion", "success"),
        ]
        assert found["result"]["details"] == {"models_count": len(server.models), "test_model": server.models[0]}
        assert len(server.calls) == 1


@pytest.mark.parametrize("kind", KINDS, ids=[kind.id for kind in KINDS])
def test_the_button_tells_the_truth(client: Client, kind: Kind) -> None:
    sentences = []
    with kind.server(key=KEY) as server:
        model = server.models[0]
        wrong_key = connection(client, "p", {**config(kind, server.url, "sk-wrong-key-654321"), "default_model": model})
        wrong_path = connection(client, "p", {**config(kind, server.origin + kind.wrong_path), "default_model": model})
        found = connection(client, "p", {**config(kind, server.url), "default_model": "no-such-model"})
        if kind.knows_models:
            assert step_names(found)[-1] == ("test_chat_completion", "failed")
            sentences.append(found["message"])
        unnamed = connection(client, "p", {**config(kind, server.url), "default_model": None})
        assert "test_chat_completion" not in dict(step_names(unnamed))
    dead = connection(client, "p", {**config(kind, server.url), "default_model": model})
    for failed in (wrong_key, wrong_path, dead):
        assert failed["status"] == "failed"
        assert any(status == "failed" for _, status in step_names(failed))
        assert KEY not in str(failed)
        sentences.append(failed["message"])
    assert len(set(sentences)) == len(sentences), sentences
    assert not any("Connection test failed" in sentence for sentence in sentences), "the client would hide it"


def test_models_are_listed_from_the_provider(client: Client) -> None:
    for kind in KINDS:
        if kind.lists_models:
            with kind.server(key=KEY) as server:
                body = {**config(kind, server.url), "default_model": server.models[0]}
                answer = client.post("/providers/mine/models", body).json()
                assert answer["provider"] == "mine"
                assert all(isinstance(one["name"], str) for one in answer["models"])
                assert [one["id"] for one in answer["models"] if one.get("is_default")] == [server.models[0]]


# Errors


def shown_by_caption_panel(answer: httpx.Response) -> str:
    """`handleApiError` of the perspectives' service."""
    if "application/json" not in answer.headers["content-type"]:
        return answer.text[:500]
    body = answer.json()
    if isinstance(body.get("detail"), str):
        return str(body["detail"])
    return str(body)


def test_a_failure_is_shown_as_one_sentence(client: Client) -> None:
    kind = next(kind for kind in KINDS if kind.kind == "openai")
    with kind.server(key=KEY) as server:
        server.reply(b.Status(429, {"Retry-After": "900"}))
        answer = client.post(
            "/perspectives/caption-from-path", screen_request(config(kind, server.url), server.models[0])
        )
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "900"
    shown = shown_by_caption_panel(answer)
    assert shown == answer.json()["message"]
    assert "{" not in shown
    missing = client.post("/perspectives/caption-from-path", {"perspective": "alt_text"})
    assert missing.status_code == 422
    assert "image_path: is required" in shown_by_caption_panel(missing)

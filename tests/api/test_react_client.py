"""The contract with graphcap's React client: its exact requests, and the checks of its Zod schemas."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from perspectives.catalog import LIBRARY
from tests.api.streams import KEY
from tests.contract.kinds import KIND_BY_NAME, Kind
from tests.guard import GUARD
from tests.servers import RecordingServer
from tests.servers import behaviours as b
from tests.service import Service

PAGE = "http://localhost:32200"
IMAGE = "/workspace/datasets/samples/coffee.jpg"
FROM_PATH = "/perspectives/caption-from-path"


class Client:
    """`fetch` in a page of localhost:32200, with its preflights."""

    def __init__(self, base: str) -> None:
        self._client = httpx.Client(base_url=base, headers={"Origin": PAGE}, timeout=GUARD, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> httpx.Response:
        return self._check(self._client.get(path))

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = self._check(self._client.options(path, headers=headers))
        assert preflight.status_code == 200
        assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
        assert "POST" in preflight.headers["access-control-allow-methods"]
        return self._check(self._client.post(path, json=body))

    @staticmethod
    def _check(response: httpx.Response) -> httpx.Response:
        assert response.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "access-control-allow-credentials" not in response.headers
        return response

    def caption(self, body: dict[str, Any]) -> dict[str, Any]:
        """Caption, and check the response as the client does."""
        response = self.post(FROM_PATH, body)
        assert response.status_code == 200, response.text
        caption: dict[str, Any] = response.json()
        assert strings({"raw_text": "", **caption}, "perspective", "provider", "raw_text")
        assert isinstance(caption["result"], dict)
        assert "content" not in caption
        assert strings(caption["metadata"], "model", "provider", "version", "config_name")
        assert None not in caption.values()
        if body["perspective"] == "graph_caption":
            fields = self.get("/perspectives/graph_caption").json()["schema"]["schema_fields"]
            assert {field["name"] for field in fields} <= caption["result"].keys(), "the card would show `undefined`"
        return caption


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with closing(Client(service.url + "/api/v1")) as client:
        yield client


def config(kind: Kind, url: str, key: str = KEY, **changes: Any) -> dict[str, Any]:
    return {
        "name": "My provider",
        "kind": kind.kind,
        "environment": "local",
        "base_url": url,
        "api_key": key,
        "default_model": "tiny-vision",
        "models": ["tiny-vision"],
        **changes,
    }


BUILTIN = {"name": "B", "kind": "builtin", "environment": "local", "api_key": "", "models": []}


def screen_request(provider_config: dict[str, Any], model: str, **changes: Any) -> dict[str, Any]:
    return {
        "perspective": "graph_caption",
        "image_path": IMAGE,
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


def strings(value: dict[str, Any], *names: str) -> bool:
    return all(isinstance(value[name], str) for name in names)


def check_field(field: dict[str, Any]) -> None:
    assert field["type"] in ("str", "int", "float", "bool", "dict")
    assert strings(field, "name", "description")
    assert all(isinstance(field.get(flag, True), bool) for flag in ("is_list", "is_complex"))
    for nested in field.get("fields") or []:
        check_field(nested)


def check_perspective(perspective: dict[str, Any]) -> None:
    assert strings(perspective, "name", "display_name", "version", "description")
    schema = perspective["schema"]
    assert strings(schema, "name", "display_name", "version", "prompt", "context_template")
    for field in schema["schema_fields"]:
        check_field(field)
    for column in schema["table_columns"]:
        assert strings({"description": "", **column}, "name", "style", "description")


def test_health_and_lists(client: Client) -> None:
    assert client.get("/health").json()["status"] == "healthy"
    listed = client.get("/perspectives/list").json()["perspectives"]
    assert len(listed) >= len([*LIBRARY.glob("*/*.json")])
    for perspective in listed:
        check_perspective(perspective)
    summaries = client.get("/perspectives/summaries").json()["perspectives"]
    assert summaries == [{key: item[key] for key in item if "schema" not in key} for item in listed]
    (graph_caption,) = (item for item in listed if item["name"] == "graph_caption")
    assert any(field.get("fields") for field in graph_caption["schema"]["schema_fields"])
    for module in client.get("/perspectives/modules").json()["modules"]:
        assert strings(module, "name", "display_name", "description")
        assert isinstance(module["enabled"], bool)
        response = client.get(f"/perspectives/modules/{module['name']}")
        assert "application/json" in response.headers["content-type"]
        assert response.json()["module"] == module
        assert len(response.json()["perspectives"]) == module["perspective_count"]


def test_models_and_a_caption_from_every_kind(client: Client, kind: Kind) -> None:
    with kind.server(key=KEY) as server:
        if not kind.constrains:
            server.default = b.Answer(client.caption(screen_request(BUILTIN, "any"))["result"])
        caption = client.caption(screen_request(config(kind, server.url), server.models[0]))
        assert caption["provider"] == "My provider"
        assert server.call.system == "You are a visual captioning perspective."
        listed = client.post("/providers/mine/models", config(kind, server.url, default_model=server.models[0])).json()
    assert listed["provider"] == "mine"
    assert all(strings(model, "name") for model in listed["models"])
    assert [model["id"] for model in listed["models"] if model.get("is_default")] == [server.models[0]]


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
def test_an_empty_key_is_not_sent(client: Client, kind: str) -> None:
    with KIND_BY_NAME[kind].server() as server:
        client.caption(screen_request(config(KIND_BY_NAME[kind], server.url, key=""), server.models[0]))
        assert "authorization" not in {name.lower() for name in server.call.headers}


ACCEPTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"global_context": ""}, []),
    ({"context": None}, []),
    ({"context": "a plain string"}, ["a plain string"]),
    ({"context": '["a list", "in a string"]'}, ["a list", "in a string"]),
    ({"context": ["Alpha.", "Beta."]}, ["Alpha.", "Beta."]),
    ({"resize_resolution": "SD_VGA"}, []),
    ({"something_new": {"the client": "grew"}}, []),
    ({"temperature": None, "max_tokens": None, "top_p": None, "repetition_penalty": None}, []),
]


def test_variants_that_graphcap_accepts(client: Client) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        for changes, contexts in ACCEPTED:
            client.caption(screen_request(config(KIND_BY_NAME["vllm"], server.url), server.models[0], **changes))
            tagged = "".join(f"<context>\n{text}\n</context>\n\n" for text in contexts)
            assert server.call.prompt.startswith(tagged)
            assert server.call.prompt.count("<context>") == len(contexts)
            server.calls.clear()


def test_a_base_url_with_a_trailing_slash(service: Service) -> None:
    with closing(Client(service.url + "//api/v1")) as client:
        assert client.get("/health").status_code == 200
        client.caption(screen_request(BUILTIN, "any"))


def test_options_nested_without_a_provider_config(client: Client) -> None:
    options = {"model": "measurements", "resize": False, "resize_resolution": "SD_VGA", "context": []}
    nested: dict[str, Any] = {"image_path": IMAGE, "perspective": "alt_text", "provider_id": 3, "provider": "builtin"}
    nested["options"] = options
    client.caption(nested)
    unknown = client.post(FROM_PATH, {**nested, "provider": "My OpenAI"})
    assert (unknown.status_code, "My OpenAI" in unknown.json()["detail"]) == (404, True)


def test_paths_outside_the_workspace_are_rejected(client: Client) -> None:
    with RecordingServer() as recording_server:
        for path in ("/etc/passwd", "/../../etc/passwd", "/datasets/../../README.md"):
            body = screen_request(
                config(KIND_BY_NAME["openai"], recording_server.url), "m", image_path=f"/workspace{path}"
            )
            assert client.post(FROM_PATH, body).status_code in (403, 404)
        assert recording_server.not_called


def connection(client: Client, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Test a connection, and check the response as the client does."""
    response = client.post(f"/providers/{name}/test-connection", body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    assert result.get("status") != "error"
    assert "validationErrors" not in result
    steps = result["result"]["diagnostics"]["connection_steps"]
    assert all(step["status"] in ("success", "failed", "skipped", "pending") for step in steps)
    assert all(strings(step, "step", "timestamp") for step in steps)
    assert len({(step["step"], step["timestamp"]) for step in steps}) == len(steps)
    assert all(strings(item, "warning_type", "message") for item in result["result"]["diagnostics"]["warnings"])
    assert isinstance(result["result"]["details"], dict)
    return result


def steps_of(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(step["step"], step["status"]) for step in result["result"]["diagnostics"]["connection_steps"]]


def test_a_connection_test_with_any_provider_name(client: Client) -> None:
    with KIND_BY_NAME["openai"].server(key=KEY) as server:
        model = server.models[0]
        for name in ("My provider", "50% off", "a/b c", "Größe", "100%%20"):
            body = config(KIND_BY_NAME["openai"], server.url, default_model=model, name=name)
            result = connection(client, quote(name, safe="/%"), body)
            names = ("initialize_client", "list_models", "test_chat_completion")
            assert steps_of(result) == [(step, "success") for step in names]
            details = result["result"]["details"]
            assert (details["models_count"], details["test_model"]) == (len(server.models), model)


def test_a_failed_connection_test_names_its_cause(client: Client, kind: Kind) -> None:
    sentences = []
    with kind.server(key=KEY) as server:
        model = server.models[0]
        wrong_key = connection(client, "p", config(kind, server.url, "sk-wrong-key-654321", default_model=model))
        wrong_path = connection(client, "p", config(kind, server.origin + kind.wrong_path, default_model=model))
        unknown = connection(client, "p", config(kind, server.url, default_model="no-such-model"))
        if kind.knows_models:
            assert steps_of(unknown)[-1] == ("test_chat_completion", "failed")
            sentences.append(unknown["message"])
        unnamed = connection(client, "p", config(kind, server.url, default_model=None))
        assert "test_chat_completion" not in dict(steps_of(unnamed))
    unreachable = connection(client, "p", config(kind, server.url, default_model=model))
    for failed in (wrong_key, wrong_path, unreachable):
        assert failed["status"] == "failed"
        assert "failed" in dict(steps_of(failed)).values()
        assert KEY not in str(failed)
        sentences.append(failed["message"])
    assert len(set(sentences)) == len(sentences), sentences
    assert not any("Connection test failed" in sentence for sentence in sentences), "the client would hide it"


def test_errors_are_shown_as_one_sentence(client: Client) -> None:
    """The client shows `detail` if it is a string, otherwise the raw body."""
    with KIND_BY_NAME["openai"].server(key=KEY) as server:
        server.reply(b.Status(429, {"Retry-After": "900"}))
        limited = client.post(FROM_PATH, screen_request(config(KIND_BY_NAME["openai"], server.url), server.models[0]))
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "900")
    assert "application/json" in limited.headers["content-type"]
    assert limited.json()["detail"] == limited.json()["message"]
    assert "{" not in limited.json()["detail"]
    missing = client.post(FROM_PATH, {"perspective": "alt_text"})
    assert (missing.status_code, "image_path: is required" in missing.json()["detail"]) == (422, True)

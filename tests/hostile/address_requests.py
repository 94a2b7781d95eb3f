"""Requests to every endpoint of the bridge that accepts a URL. Each returns status, code and detail."""

import json
from typing import Any

import httpx
from websockets.sync.client import connect

Outcome = tuple[int, str, str]
_SAMPLE = {"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}}


def requests(url: str, kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return endpoint -> path and body of a request with this URL; the path of a WebSocket is empty."""
    caption = {"perspective": "alt_text", "image": {"url": url}}
    config = {"kind": kind, "base_url": url}
    provider = {**_SAMPLE, "model": "m", "provider_config": config}
    content = [{"type": "image_url", "image_url": {"url": url}}]
    # The first target is a configured provider, which rejects the request; then the fallback is called.
    fallback = {**_SAMPLE, "provider": "vllm", "model": "m", "fallbacks": [{"model": "m", "provider_config": config}]}
    return {
        "caption": ("/api/v1/perspectives/caption", caption),
        "analyze": ("/api/v1/perspectives/analyze", {"perspectives": ["alt_text"], "image": {"url": url}}),
        "websocket": ("", caption),
        "chat completions": (
            "/v1/chat/completions",
            {"model": "alt_text", "messages": [{"role": "user", "content": content}]},
        ),
        "provider": ("/api/v1/perspectives/caption", provider),
        "provider websocket": ("", provider),
        "models": (f"/api/v1/providers/{kind}/models", config),
        "test connection": (f"/api/v1/providers/{kind}/test-connection", {**config, "default_model": "m"}),
        "fallback": ("/api/v1/perspectives/caption", fallback),
    }


class BridgeClient:
    """A client of a running bridge, with one connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def send(self, endpoint: str, url: str, kind: str) -> Outcome:
        """Send a request with this URL. If it is empty, list the models of the configured provider."""
        path, body = requests(url, kind)[endpoint]
        if not path:
            return self._over_socket(body)
        response = self.http.post(path, json=body) if url else self.http.get(path)
        content = response.json()
        problem = content.get("error", content) if response.status_code != 200 else content
        code = problem.get("code", "failed" if problem.get("status") == "failed" else "ok")
        return response.status_code, code, problem.get("detail") or problem.get("message") or ""

    def _over_socket(self, body: dict[str, Any]) -> Outcome:
        with connect(self.url.replace("http", "ws") + "/api/v1/perspectives/stream", proxy=None) as socket:
            socket.send(json.dumps({"type": "caption", "id": "1", **body}))
            while True:
                event = json.loads(socket.recv(30))
                if event["type"] == "error":
                    return event["problem"]["status"], event["problem"]["code"], event["problem"]["detail"]
                if event["type"] in ("result", "done"):
                    return 200, "ok", ""

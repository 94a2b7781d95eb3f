"""Every endpoint of a bridge that accepts an address. Each request gives status, code and sentence."""

import json
from typing import Any

import httpx
from websockets.sync.client import connect

Told = tuple[int, str, str]
_SAMPLE = {"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}}


def requests(url: str, kind: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return path and body of each request with this address; those of a WebSocket have no path."""
    picture = {"perspective": "alt_text", "image": {"url": url}}
    config = {"kind": kind, "base_url": url}
    chat = {**_SAMPLE, "model": "m", "provider_config": config}
    content = [{"type": "image_url", "image_url": {"url": url}}]
    # The first target of this one is configured and fails: a caller's key is refused there.
    fallback = {**_SAMPLE, "provider": "vllm", "model": "m", "fallbacks": [{"model": "m", "provider_config": config}]}
    return {
        "caption": ("/api/v1/perspectives/caption", picture),
        "analyze": ("/api/v1/perspectives/analyze", {"perspectives": ["alt_text"], "image": {"url": url}}),
        "socket": ("", picture),
        "openai": ("/v1/chat/completions", {"model": "alt_text", "messages": [{"role": "user", "content": content}]}),
        "chat": ("/api/v1/perspectives/caption", chat),
        "chat socket": ("", chat),
        "models": (f"/api/v1/providers/{kind}/models", config),
        "test": (f"/api/v1/providers/{kind}/test-connection", {**config, "default_model": "m"}),
        "fallback": ("/api/v1/perspectives/caption", fallback),
    }


class Bridge:
    """A client of one running bridge, over one connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def send(self, door: str, url: str, kind: str) -> Told:
        """Send a request with this address. Without one, the models of the configured provider are listed."""
        path, body = requests(url, kind)[door]
        if not path:
            return self._over_socket(body)
        response = self.http.post(path, json=body) if url else self.http.get(path)
        told = response.json()
        problem = told.get("error", told) if response.status_code != 200 else told
        code = problem.get("code", "failed" if problem.get("status") == "failed" else "ok")
        return response.status_code, code, problem.get("detail") or problem.get("message") or ""

    def _over_socket(self, body: dict[str, Any]) -> Told:
        with connect(self.url.replace("http", "ws") + "/api/v1/perspectives/stream", proxy=None) as socket:
            socket.send(json.dumps({"type": "caption", "id": "1", **body}))
            while True:
                event = json.loads(socket.recv(30))
                if event["type"] == "error":
                    return event["problem"]["status"], event["problem"]["code"], event["problem"]["detail"]
                if event["type"] in ("result", "done"):
                    return 200, "ok", ""

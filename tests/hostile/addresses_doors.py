"""Every door of a bridge that an address can be brought to: each tells (status, code, sentence)."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from websockets.sync.client import connect

Told = tuple[int, str, str]
_API = "/api/v1"
_IMAGE = {"path": "datasets/samples/coffee.jpg"}


class Bridge:
    """A client of one running bridge, over one connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def post(self, path: str, body: dict[str, Any]) -> Told:
        answer = self.http.post(path, json=body)
        told = answer.json()
        problem = told.get("error", told) if answer.status_code != 200 else told
        failed = problem.get("status") == "failed"
        code = problem.get("code", "failed" if failed else "ok")
        return answer.status_code, code, problem.get("detail") or problem.get("message") or ""

    def over_socket(self, body: dict[str, Any]) -> Told:
        with connect(self.url.replace("http", "ws") + f"{_API}/perspectives/stream", proxy=None) as socket:
            socket.send(json.dumps({"type": "caption", "id": "1", **body}))
            while True:
                event = json.loads(socket.recv(30))
                if event["type"] == "error":
                    return event["problem"]["status"], event["problem"]["code"], event["problem"]["detail"]
                if event["type"] in ("result", "done"):
                    return 200, "ok", ""


def picture(url: str) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": {"url": url}}


def config(url: str, kind: str) -> dict[str, Any]:
    return {"kind": kind, "base_url": url}


def chat(url: str, kind: str) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": _IMAGE, "model": "m", "provider_config": config(url, kind)}


def _openai(bridge: Bridge, url: str, kind: str) -> Told:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    return bridge.post(
        "/v1/chat/completions", {"model": "alt_text", "messages": [{"role": "user", "content": content}]}
    )


def _models(bridge: Bridge, url: str, kind: str) -> Told:
    if url:
        return bridge.post(f"{_API}/providers/{kind}/models", config(url, kind))
    answer = bridge.http.get(f"{_API}/providers/{kind}/models")
    return answer.status_code, answer.json().get("code", "ok"), answer.json().get("detail", "")


def _fallback(bridge: Bridge, url: str, kind: str) -> Told:
    """The first target is a configured one that fails: a stranger's key is refused there."""
    last = {"model": "m", "provider_config": config(url, kind)}
    return bridge.post(
        f"{_API}/perspectives/caption",
        {"perspective": "alt_text", "image": _IMAGE, "provider": "vllm", "model": "m", "fallbacks": [last]},
    )


DOORS: dict[str, Callable[[Bridge, str, str], Told]] = {
    "caption": lambda bridge, url, kind: bridge.post(f"{_API}/perspectives/caption", picture(url)),
    "analyze": lambda bridge, url, kind: bridge.post(
        f"{_API}/perspectives/analyze", {"perspectives": ["alt_text"], "image": {"url": url}}
    ),
    "socket": lambda bridge, url, kind: bridge.over_socket(picture(url)),
    "openai": _openai,
    "chat": lambda bridge, url, kind: bridge.post(f"{_API}/perspectives/caption", chat(url, kind)),
    "chat socket": lambda bridge, url, kind: bridge.over_socket(chat(url, kind)),
    "models": _models,
    "test": lambda bridge, url, kind: bridge.post(
        f"{_API}/providers/{kind}/test-connection", {**config(url, kind), "default_model": "m"}
    ),
    "fallback": _fallback,
}

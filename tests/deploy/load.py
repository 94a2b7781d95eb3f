"""A constant load: clients that send one request after another, each with its own prompt, and the outcomes."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.api import streams
from tests.servers import WireServer

PATIENCE = 60.0
"""The timeout of a request, on a busy machine."""


@dataclass
class Outcome:
    """The outcome of one request: its prompt, "ok" or a code, and the problem."""

    prompt: str
    kind: str
    end: str
    problem: dict[str, Any] | None = None


class Load:
    """Threads that send JSON and SSE requests with each server in turn, until `stop`."""

    def __init__(self, url: str, servers: Sequence[WireServer], callers: int = 6) -> None:
        self.url = url
        self.servers = servers
        self.outcomes: list[Outcome] = []
        self._enough = threading.Event()
        self._some = threading.Condition()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def start(self) -> None:
        for item in self._threads:
            item.start()

    def stop(self) -> list[Outcome]:
        self._enough.set()
        for item in self._threads:
            item.join(PATIENCE)
            assert not item.is_alive(), "a caller hangs"
        return self.outcomes

    def wait_for(self, more: int) -> None:
        """Wait until `more` further requests have ended."""
        with self._some:
            count = len(self.outcomes) + more
            assert self._some.wait_for(lambda: len(self.outcomes) >= count, PATIENCE), "the load stands still"

    def prompts(self) -> Counter[str]:
        """Count how often each prompt reached a provider."""
        return Counter(call.prompt.split("\n")[0] for server in self.servers for call in server.calls)

    def _call(self, caller: int) -> None:
        number = 0
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            while not self._enough.is_set():
                server = self.servers[(caller + number) % len(self.servers)]
                ask = (post, stream)[number % 2]
                outcome = ask(client, self.url, f"Caller {caller}, picture {number}.", server)
                number += 1
                with self._some:
                    self.outcomes.append(outcome)
                    self._some.notify_all()


def body(prompt: str, server: WireServer) -> dict[str, Any]:
    config = {"kind": "vllm", "base_url": server.url, "api_key": server.key}
    fields = {"image": {"path": streams.SAMPLE}, "model": server.models[0], "provider_config": config}
    return {"perspective": streams.inline(prompt=prompt), **fields}


def post(client: httpx.Client, url: str, prompt: str, server: WireServer) -> Outcome:
    try:
        return told(prompt, "post", client.post(url + streams.API + "/caption", json=body(prompt, server)))
    except httpx.HTTPError as error:
        return Outcome(prompt, "post", repr(error))


def told(prompt: str, kind: str, response: httpx.Response) -> Outcome:
    """Return the outcome of a JSON response."""
    if response.status_code == 200:
        return Outcome(prompt, kind, "ok")
    return Outcome(prompt, kind, response.json()["code"], response.json())


def stream(client: httpx.Client, url: str, prompt: str, server: WireServer) -> Outcome:
    headers = {"Accept": "text/event-stream"}
    request = client.stream("POST", url + streams.API + "/caption", json=body(prompt, server), headers=headers)
    try:
        with request as response:
            if response.status_code != 200:
                response.read()
                return told(prompt, "stream", response)
            seen = list(streams.events(response))
    except httpx.HTTPError as error:
        return Outcome(prompt, "stream", f"cut: {type(error).__name__}")
    if not seen or seen[-1]["type"] != "done":
        return Outcome(prompt, "stream", "cut")
    (end,) = [item for item in seen if streams.is_end(item)]
    problem = end.get("problem")
    return Outcome(prompt, "stream", problem["code"] if problem else "ok", problem)


@contextmanager
def load(url: str, servers: Sequence[WireServer], callers: int = 6) -> Iterator[Load]:
    """Run a load, and stop it at the end."""
    created = Load(url, servers, callers)
    created.start()
    try:
        created.wait_for(callers)
        yield created
    finally:
        created.stop()

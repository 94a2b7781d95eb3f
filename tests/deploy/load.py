"""A constant load: clients that send requests with distinct prompts one after another, and their outcomes."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from tests.api import streams
from tests.guard import GUARD
from tests.servers import WireServer


@dataclass
class Outcome:
    """The outcome of one request: its prompt, "ok" or a code, and the problem."""

    prompt: str
    kind: str
    end: str
    problem: dict[str, Any] | None = None


class Load:
    """Threads that send JSON and SSE requests with each server in turn, until `stop` or the end of its `with`."""

    def __init__(self, url: str, servers: Sequence[WireServer], callers: int = 6) -> None:
        self.url = url
        self.servers = servers
        self.outcomes: list[Outcome] = []
        self._enough = threading.Event()
        self._some = threading.Condition()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Self:
        for item in self._threads:
            item.start()
        self.wait_for(len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> list[Outcome]:
        self._enough.set()
        for item in self._threads:
            item.join(GUARD)
            assert not item.is_alive(), "a caller hangs"
        return self.outcomes

    def wait_for(self, more: int) -> None:
        """Wait until `more` further requests have ended."""
        with self._some:
            count = len(self.outcomes) + more
            assert self._some.wait_for(lambda: len(self.outcomes) >= count, GUARD), "the load stands still"

    def prompts(self) -> Counter[str]:
        """Count how often each prompt reached a provider."""
        return Counter(call.prompt.split("\n")[0] for server in self.servers for call in server.calls)

    def _call(self, caller: int) -> None:
        number = 0
        with httpx.Client(timeout=GUARD, trust_env=False) as client:
            while not self._enough.is_set():
                server = self.servers[(caller + number) % len(self.servers)]
                prompt = f"Caller {caller}, picture {number}."
                outcome = send(client, self.url, prompt, server, ("post", "stream")[number % 2])
                number += 1
                with self._some:
                    self.outcomes.append(outcome)
                    self._some.notify_all()


def send(client: httpx.Client, url: str, prompt: str, server: WireServer, kind: str) -> Outcome:
    """Request a caption as JSON ("post") or as events ("stream"), and return the outcome."""
    body = streams.caption(server, perspective=streams.inline(prompt=prompt))
    accept = "text/event-stream" if kind == "stream" else "application/json"
    try:
        response = client.post(url + streams.API + "/caption", json=body, headers={"Accept": accept})
    except httpx.HTTPError as error:
        return Outcome(prompt, kind, f"cut: {type(error).__name__}")
    if response.status_code != 200:
        return Outcome(prompt, kind, response.json()["code"], response.json())
    if kind == "post":
        return Outcome(prompt, kind, "ok")
    seen = list(streams.events(response))
    if not seen or seen[-1]["type"] != "done":
        return Outcome(prompt, kind, "cut")
    (end,) = [item for item in seen if streams.is_end(item)]
    problem = end.get("problem")
    return Outcome(prompt, kind, problem["code"] if problem else "ok", problem)

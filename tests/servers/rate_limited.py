"""A model server that announces and enforces a rate limit."""

import time
from collections import Counter
from dataclasses import replace

from tests.servers import behaviours as b
from tests.servers.call import Call, RefusedError
from tests.servers.openai import OpenAIServer
from tests.servers.reply import Reply


class RateLimitedServer(OpenAIServer):
    """Serve `limit` requests in each window of `window` seconds; `served` counts them by window."""

    def __init__(self, limit: int, window: float, *, announces: bool = True, key: str = "sk-limited") -> None:
        super().__init__(key=key, models=("tiny-vision",))
        self.limit, self.window, self.announces = limit, window, announces
        self.served: Counter[int] = Counter()

    def read(self, call: Call) -> Reply | None:
        reply = super().read(call)
        if reply is not None or call.method != "POST":
            return reply
        now = int(time.monotonic() / self.window)
        if self.served[now] >= self.limit:
            headers = {**self.limit_headers(), "retry-after-ms": f"{self.reset() * 1000:.0f}"}
            raise RefusedError(429, "Rate limit reached.", headers=headers)
        self.served[now] += 1
        return None

    def render(self, call: Call, behaviour: b.Behaviour) -> Reply:
        reply = super().render(call, behaviour)
        return replace(reply, headers={**reply.headers, **self.limit_headers()})

    def reset(self) -> float:
        return self.window - time.monotonic() % self.window

    def limit_headers(self) -> dict[str, str]:
        if not self.announces:
            return {}
        remaining = self.limit - self.served[int(time.monotonic() / self.window)]
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-reset-requests": f"{self.reset() * 1000:.0f}ms",
        }

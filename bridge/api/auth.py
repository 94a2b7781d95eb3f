"""Who may call: callers with one of our keys, where keys are set; pages of admitted origins, where none are."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.api import answers
from bridge.api.origins import LOCAL
from bridge.api.rates import Rates, address
from bridge.captioning import problems
from bridge.errors import ApiKeyRequired, OriginNotAllowed, RateLimitExceeded
from bridge.settings import Settings
from bridge.telemetry import current

_OPEN = re.compile(r"(/api/v1)?/health|/livez|/readyz")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Keys:
    """The service's own keys. Without any, everybody is admitted."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [one.get_secret_value().encode() for one in settings.api_keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def shown(self, headers: Mapping[str, str]) -> int | None:
        """Which key the headers show; None when it is none of ours."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.which(token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip())

    def which(self, key: str) -> int | None:
        """The key's number, from 1; None when it is none of ours. Every key is compared, in constant time."""
        shown = key.encode()
        fitting = [number for number, one in enumerate(self._keys, 1) if compare_digest(shown, one)]
        return fitting[0] if fitting else None


class Guard:
    """An ASGI layer that refuses strangers before a body is read.

    With keys: every path but health and preflights wants one (a socket may show it in its first frame). Without:
    a POST or socket from a web page of another origin is refused, and on a loopback address a foreign Host is
    too (a name that was rebound to this machine). `scope["state"]["caller"]` is who was admitted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, rates: Rates) -> None:
        self._app = app
        self._keys = Keys(settings)
        self._rates = rates
        self._loopback = settings.loopback
        self._listed = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)
        self._hosts = frozenset(urlsplit(origin).hostname or "" for origin in self._listed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = address(scope)
        refusal = await self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            if account := current():
                account.code = problems.code_of(refusal)
            await send({"type": "websocket.close", "code": 1008, "reason": str(refusal)[:100]})
        else:
            await answers.refuse(refusal, scope, receive, send)

    async def _refusal(self, scope: Scope, headers: Headers) -> Exception | None:
        if self._keys:
            number = self._keys.shown(headers)
            if number is not None:
                scope["state"]["caller"] = f"key {number}"
            waits = scope["type"] == "websocket" or scope["method"] == "OPTIONS" or _is_open(scope)
            return None if waits or number is not None else await self._unauthorized(scope)
        if self._loopback and not self._own_host(headers.get("host", "")):
            return OriginNotAllowed("Who calls it by another name than this machine's")
        reads = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        return None if reads or self._admitted(headers) else OriginNotAllowed()

    async def _unauthorized(self, scope: Scope) -> Exception:
        """Who guesses keys is counted by address, whatever he asks for."""
        try:
            await self._rates.spend(scope["state"]["caller"])
        except RateLimitExceeded as error:
            return error
        return ApiKeyRequired()

    def _admitted(self, headers: Headers) -> bool:
        """Requests without an Origin come from no page."""
        origin = headers.get("origin")
        if origin is None or "*" in self._listed or origin.lower() in self._listed:
            return True
        if re.sub(r"^https?://", "", origin.lower()) == headers.get("host", "").lower():
            return True
        return not self._listed and re.fullmatch(LOCAL, origin) is not None

    def _own_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return not host or name in self._hosts or _is_loopback(name)


@lru_cache(maxsize=64)
def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return _OPEN.fullmatch(path.removeprefix(scope["root_path"])) is not None

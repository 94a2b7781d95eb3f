"""Authentication: API keys where they are set; otherwise only web pages of allowed origins may send requests."""

import re
from collections.abc import Mapping
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge.api import responses
from bridge.api.middleware.cors import LOCAL_ORIGIN
from bridge.api.middleware.hosts import AllowedHosts
from bridge.api.middleware.rate_limit import RateLimiter, client_address
from bridge.errors import ApiKeyRequired, HostNotAllowed, OriginNotAllowed, RateLimitExceeded
from bridge.settings import Settings

_PROBES = re.compile(r"(/api/v1)?/health|/livez|/readyz")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class ApiKeys:
    """The API keys of the service. False when there are none: then every caller is accepted."""

    def __init__(self, settings: Settings) -> None:
        self._keys = {name: key.get_secret_value().encode() for name, key in settings.keys.items()}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find_in(self, headers: Mapping[str, str]) -> str | None:
        """Return the name of the key in the headers; None without a valid key."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.find(token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip())

    def find(self, key: str) -> str | None:
        """Return the name of the key; None when it is not valid. Takes constant time."""
        sent = key.encode()
        names = [name for name, valid in self._keys.items() if compare_digest(sent, valid)]
        return names[0] if names else None


class AuthMiddleware:
    """Reject unauthenticated requests before their body is read.

    With API keys, every path but health probes and preflights needs one; a WebSocket may send it in its first message.
    Without, POST requests and WebSockets of foreign web pages are rejected. In both cases the Host header has to be an
    allowed one. `scope["state"]["caller"]` names the caller for rate limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings, limiter: RateLimiter) -> None:
        self._app = app
        self._keys = ApiKeys(settings)
        self._limiter = limiter
        self._hosts = AllowedHosts(settings)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reject it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = client_address(scope)
        try:
            await self._check(scope, Headers(scope=scope))
        except (ApiKeyRequired, HostNotAllowed, OriginNotAllowed, RateLimitExceeded) as error:
            await responses.reject(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _check(self, scope: Scope, headers: Headers) -> None:
        probe = _PROBES.fullmatch(scope["path"].removeprefix(scope["root_path"])) is not None
        host = headers.get("host", "")
        if not self._hosts.allow(host) and not (probe and self._hosts.configured):
            raise HostNotAllowed(host)
        websocket = scope["type"] == "websocket"
        if self._keys:
            name = self._keys.find_in(headers)
            if name is not None:
                scope["state"]["caller"] = f"key {name}"
                scope["state"]["record"].key = name
            elif not (websocket or probe or scope["method"] == "OPTIONS"):
                await self._limiter.count(scope["state"]["caller"])  # guesses count against the address
                raise ApiKeyRequired
        elif (websocket or scope["method"] not in _SAFE_METHODS) and not self._allow_origin(headers):
            raise OriginNotAllowed

    def _allow_origin(self, headers: Headers) -> bool:
        """Return whether the web page may send requests; a request without Origin comes from no web page."""
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        if re.sub(r"^https?://", "", origin.lower()) == headers.get("host", "").lower():
            return True
        return not self._origins and re.fullmatch(LOCAL_ORIGIN, origin) is not None

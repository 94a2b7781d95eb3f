"""Access control: API keys, host names, and the origins of web pages."""

import re
from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from bridge.api.middleware.rate_limit import RateLimiter
from bridge.errors import ApiKeyRequired, HostNotAllowed, OriginNotAllowed
from bridge.settings import Settings
from bridge.telemetry.record import RequestRecord

EXPOSED_HEADERS = (
    *("X-Request-ID", "Server-Timing", "Retry-After", "X-Should-Retry", "X-Request-Begun"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"),
)
_LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"
_PROBES = re.compile(r"(/api/v1)?/health|/livez|/readyz")
_PAGES = re.compile(r"/|/docs|/(docs|page)/[\w.-]+|/openapi\.json")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Add CORS headers (without credentials) for the listed origins, by default for origins of this machine."""
    return CORSMiddleware(
        app,
        allow_origins=settings.cors_origins,
        allow_origin_regex=None if settings.cors_origins else _LOCAL_ORIGIN,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=EXPOSED_HEADERS,
        max_age=600,
    )


class ApiKeys:
    """The API keys of the service. Without keys, the object is false and every caller is accepted."""

    def __init__(self, settings: Settings) -> None:
        self._keys = {name: key.get_secret_value().encode() for name, key in settings.keys.items()}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find_in(self, headers: Mapping[str, str]) -> str | None:
        """Return the name of the key in the headers, None without a valid key."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.find(token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip())

    def find(self, key: str) -> str | None:
        """Return the name of the key, None if it is not valid. Compares in constant time."""
        sent = key.encode()
        names = [name for name, valid in self._keys.items() if compare_digest(sent, valid)]
        return names[0] if names else None


def _host_name(host: str) -> str:
    """Return the name without port and brackets, in lower case; "" when it is malformed."""
    try:
        parsed = urlsplit(f"//{host if host.count(':') < 2 or host.startswith('[') else f'[{host}]'}")
        parsed.port  # noqa: B018 (raises ValueError when it is malformed)
    except ValueError:
        return ""
    return (parsed.hostname or "").rstrip(".")


@lru_cache
def _is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False


class AccessControl:
    """Decides whether a request may be served.

    With API keys, every request needs one, except probes, CORS preflights and files of the pages. A WebSocket may
    send it in its first message. Without keys, POST requests and WebSockets from foreign web pages are rejected.

    The Host header must have a name of GRAPHCAP_ALLOWED_HOSTS. Without this setting, a service on loopback without keys
    accepts only loopback names such as `localhost`, and those of listed CORS origins: another name means DNS rebinding.
    """

    def __init__(self, settings: Settings, limiter: RateLimiter) -> None:
        self._keys = ApiKeys(settings)
        self._limiter = limiter
        self._origins = settings.cors_origins
        self._hosts = frozenset(map(_host_name, settings.allowed_hosts))
        self._loopback_only = settings.loopback and not settings.keys

    async def check(self, scope: Scope) -> None:
        """Raise an error unless the request may be served. The name of a valid API key is recorded."""
        record: RequestRecord = scope["state"]["record"]
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope["root_path"])
        probe = _PROBES.fullmatch(path) is not None
        host = headers.get("host", "")
        if not self.allow_host(host) and not (probe and self._hosts):
            raise HostNotAllowed(host)
        websocket = scope["type"] == "websocket"
        if self._keys:
            name = self._keys.find_in(headers)
            if name is not None:
                record.key = name
            elif not (websocket or probe or _PAGES.fullmatch(path) or scope["method"] == "OPTIONS"):
                await self._limiter.count(record.caller)  # rejected keys count against the client's address
                raise ApiKeyRequired
        elif (websocket or scope["method"] not in _SAFE_METHODS) and not self._allow_origin(headers):
            raise OriginNotAllowed

    def allow_host(self, host: str) -> bool:
        name = _host_name(host)
        if self._hosts:
            suffixes = tuple(allowed[1:] for allowed in self._hosts if allowed.startswith("*."))
            return "*" in self._hosts or name in self._hosts or name.endswith(suffixes)
        origins = (urlsplit(origin).hostname for origin in self._origins)
        return not self._loopback_only or not host or _is_loopback(name) or name in origins

    def _allow_origin(self, headers: Headers) -> bool:
        """Return whether the web page may send requests. A request without Origin does not come from a web page."""
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return True
        if re.sub(r"^https?://", "", origin.lower()) == headers.get("host", "").lower():
            return True
        return not self._origins and re.fullmatch(_LOCAL_ORIGIN, origin) is not None

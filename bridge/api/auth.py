"""Who may call: callers with one of our keys, where keys are set; pages of admitted origins, where none are."""

import re
from collections.abc import Mapping
from functools import partial
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge import problems
from bridge.api import answers
from bridge.api.origins import LOCAL
from bridge.captioning.errors import OriginRefused, Unauthorized
from bridge.settings import Settings

_OPEN = re.compile(r"(/api/v1)?/health|/livez|/readyz")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Keys:
    """The service's own keys. Without any, everybody is admitted."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [one.get_secret_value().encode() for one in settings.api_keys]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def admit(self, headers: Mapping[str, str]) -> bool:
        """Whether the headers show a key, if one is wanted."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        shown = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()
        return not self._keys or self.fits(shown)

    def fits(self, key: str) -> bool:
        """Whether it is one of ours; every key is compared, in constant time."""
        shown = key.encode()
        return any(list(map(partial(compare_digest, shown), self._keys)))


class Guard:
    """An ASGI layer that refuses strangers before a body is read.

    With keys: every path but health and preflights wants one (a socket may show it in its first frame). Without:
    a POST or socket from a web page of another origin is refused, and on a loopback address a foreign Host is
    too (a name that was rebound to this machine).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = Keys(settings)
        self._loopback = settings.loopback
        self._listed = frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins)
        self._hosts = frozenset(urlsplit(origin).hostname or "" for origin in self._listed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": str(refusal)[:100]})
        else:
            problem = problems.problem(refusal, scope["state"]["request_id"])
            await answers.failure(Request(scope), problem)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Exception | None:
        headers = Headers(scope=scope)
        if self._keys:
            waits = scope["type"] == "websocket" or scope["method"] == "OPTIONS" or _is_open(scope)
            return None if waits or self._keys.admit(headers) else Unauthorized()
        if self._loopback and not self._own_host(headers.get("host", "")):
            return OriginRefused()
        reads = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        return None if reads or self._admitted(headers) else OriginRefused()

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
            if not host or name == "localhost" or name.endswith(".localhost") or name in self._hosts:
                return True
            return ip_address(name).is_loopback
        except ValueError:
            return False


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return _OPEN.fullmatch(path.removeprefix(scope["root_path"])) is not None

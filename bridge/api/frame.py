"""Around every request: its id, its account, its clean path, and the last resort for a bug of ours."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import errors, telemetry
from bridge.api import responses
from bridge.api.ending import end, fields
from bridge.captioning import problems
from bridge.errors import Cancelled
from bridge.telemetry import Account, current, metrics, trace

log = logging.getLogger("graphcap")
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"
"""The policy of whatever is not meant to be opened as a page: a browser runs nothing of it and frames it nowhere."""
_GONE = 499  # nobody was there to be answered; the number is nginx's
_TO_NOBODY = errors.TABLE[Cancelled].status, errors.TABLE[Cancelled].code
_ANSWERS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Frame:
    """An ASGI layer, the outermost: every answer gets an id, those to sockets and preflights too.

    Behind it a path is the root path and one slash, whether or not the proxy took the root path away and however
    many slashes the client wrote.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = clean_root(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        account = _opened(scope)
        scope.setdefault("state", {})["account"] = account  # for who receives: it may answer in our place
        state = {**scope["state"], "request_id": account.id}
        scope = {**scope, "path": self._clean(scope["path"]), "root_path": self._root, "state": state}
        serve = _serve_socket if scope["type"] == "websocket" else _serve
        await serve(self._app, scope, receive, send)

    def _clean(self, path: str) -> str:
        path = "/" + path.lstrip("/")
        below = path.removeprefix(self._root)
        inside = not below or below.startswith("/")
        return self._root + "/" + (below if inside else path).lstrip("/")


class LastResort:
    """An ASGI layer around all that may fail: a bug of ours is logged, and told without its words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, whole = False, False

        async def send_noted(message: Message) -> None:
            nonlocal begun, whole
            begun = True
            whole = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:  # the outermost handler
            log.exception("bug in %s %s", scope["method"], scope["path"])
            if account := current():
                account.code = errors.BUG.code
            if not begun:
                await responses.fail(error, scope, receive, send_noted)
            elif not whole:
                raise


def clean_root(path: str) -> str:
    """A root path as ASGI wants it: a slash before it and none after it, "" for none."""
    return f"/{path.strip('/')}".rstrip("/")


def _opened(scope: Scope) -> Account:
    """The account of a request, and the trace that it belongs to."""
    headers = Headers(scope=scope)
    account = Account(telemetry.new_request_id(headers.get("x-request-id")))
    passed_on = trace.read(headers.getlist("traceparent"), headers.getlist("tracestate"))
    trace.headers.set(passed_on)
    account.trace_id = trace.trace_id(passed_on)
    account.open()
    return account


def _told(message: Message, account: Account) -> None:
    """Write who it was and how long it took into the head of an answer."""
    headers = MutableHeaders(scope=message)
    headers["X-Request-ID"] = account.id
    headers["Server-Timing"] = account.server_timing()
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Content-Security-Policy", _NO_PAGE)


async def _serve(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """HEAD is served as GET: the body stays with uvicorn."""
    account: Account = scope["state"]["account"]
    method = scope["method"]
    scope = {**scope, "method": "GET"} if method == "HEAD" else scope

    async def send_framed(message: Message) -> None:
        if message["type"] == "http.response.start":
            account.status = message["status"]
            _told(message, account)
        await send(message)

    try:
        await app(scope, receive, send_framed)
    finally:
        if not account.status or (account.status, account.code) == _TO_NOBODY:
            account.status, account.code = _GONE, account.code or "cancelled"
        end(account, scope, method)


async def _serve_socket(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """A socket that is not taken is told so by an answer with a head: a bare close has none (uvicorn 0.54)."""
    account: Account = scope["state"]["account"]
    accepted = False

    async def send_framed(message: Message) -> None:
        nonlocal accepted
        if message["type"] == "websocket.close" and not accepted and not account.status:
            account.status, account.code = errors.NO_ROUTE.status, errors.NO_ROUTE.code
            if "websocket.http.response" in scope.get("extensions", {}):
                told = problems.from_row(errors.NO_ROUTE, "No WebSocket is opened here.", account.id)
                kind = [(b"content-type", b"application/json")]
                start: Message = {"type": "websocket.http.response.start", "status": told.status, "headers": kind}
                _told(start, account)
                await send(start)
                message = {"type": "websocket.http.response.body", "body": told.model_dump_json().encode()}
        elif message["type"] in _ANSWERS:
            accepted = message["type"] == "websocket.accept"
            message.setdefault("headers", [])
            account.status = message.get("status", 101)
            _told(message, account)
            if accepted:
                metrics.SOCKETS_OPENED.inc()
                metrics.SOCKETS.inc()
        await send(message)

    try:
        await app(scope, receive, send_framed)
    finally:
        if accepted:
            metrics.SOCKETS.dec()
            log.info("socket", extra={"fields": fields(account, scope, "WS")})
        else:
            end(account, scope, "WS")

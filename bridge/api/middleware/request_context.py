"""The outermost middleware: request id, record, path, response headers, and the response to an unhandled exception."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import errors
from bridge.api.drain import Drain
from bridge.captioning import problems
from bridge.captioning.models import Problem
from bridge.captioning.services import Services
from bridge.errors import Cancelled
from bridge.telemetry import metrics, tracing
from bridge.telemetry.logging import new_request_id, request_id
from bridge.telemetry.record import RequestRecord, log_fields

log = logging.getLogger("graphcap")
API = "/api/v1"
_NO_PAGE = "default-src 'none'; frame-ancestors 'none'"  # Content-Security-Policy of responses that are not pages
DISCONNECTED = 499  # logged if the client closed the connection, as in nginx
_CANCELLED = errors.TABLE[Cancelled].status, errors.TABLE[Cancelled].code
_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


def services(connection: HTTPConnection) -> Services:
    """Return the services that were opened when the application started."""
    opened: Services = connection.app.state.services
    return opened


def record_of(connection: HTTPConnection) -> RequestRecord:
    record: RequestRecord = connection.scope["state"]["record"]
    return record


def provider_key(request: Request) -> str:
    """Return the provider's key that the request carries in a header."""
    return request.headers.get("x-provider-key", "").strip()


class RequestContextMiddleware:
    """Give every response an id and its duration, log and count every request, and handle unexpected exceptions.

    Two slashes at the start of a path, which a base URL with a slash at its end causes, become one.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        trace_headers = tracing.read_headers(headers.getlist("traceparent"), headers.getlist("tracestate"))
        identity = new_request_id(headers.get("x-request-id"))
        record = RequestRecord(identity, trace_headers)
        request_id.set(record.id)
        state = {**scope.get("state", {}), "record": record}
        path = "/" + scope["path"].lstrip("/")
        path = f"{path}/" if path == self._root else path
        scope = {**scope, "path": path, "root_path": self._root, "state": state}
        await _Exchange(scope, receive, send, record).serve(self._app)


class _Exchange:
    """A request and its response. HEAD is served like GET, because uvicorn drops the body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        self._method = scope.get("method", "WS")
        self._scope = {**scope, "method": "GET"} if self._method == "HEAD" else scope
        self._receive, self._send_on, self._record = receive, send, record
        self._accepted = self._complete = False

    async def serve(self, app: ASGIApp) -> None:
        """Serve the request. Log an exception that FastAPI re-raises, and send a response if none has begun."""
        record = self._record
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as error:
            log.exception("bug in %s %s", self._method, self._scope["path"])
            record.code = errors.BUG.code
            if not record.status:
                await self._reply(problems.from_error(error, record.id))
            elif not self._complete:
                raise
        finally:
            if not record.status or (record.status, record.code) == _CANCELLED:
                record.status, record.code = DISCONNECTED, record.code or "cancelled"
            if self._accepted:
                metrics.SOCKETS.dec()
                _log("socket", record, self._scope, self._method)
            else:
                finish(record, self._scope, self._method)

    async def _send(self, message: Message) -> None:
        if message["type"] == "websocket.close" and not self._record.status:
            # uvicorn 0.54 would turn a close without a response into a 403 without these headers.
            self._record.code = errors.NO_ROUTE.code
            await self._reply(problems.from_row(errors.NO_ROUTE, "This path is not a WebSocket.", self._record.id))
            return
        if message["type"] in _STARTS:
            self._record.status = message.get("status", 101)
            self._add_headers(message)
        if message["type"] == "websocket.accept":
            self._accepted = True
            metrics.SOCKETS_OPENED.inc()
            metrics.SOCKETS.inc()
        self._complete = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send_on(message)

    def _add_headers(self, message: Message) -> None:
        message.setdefault("headers", [])
        headers = MutableHeaders(scope=message)
        headers.update(self._record.headers)
        headers["X-Request-ID"] = self._record.id
        headers["Server-Timing"] = self._record.server_timing()
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Content-Security-Policy", _NO_PAGE)
        drain: Drain | None = self._scope["state"].get("drain")
        if drain is not None and drain.begun.is_set() and message["type"] == "http.response.start":
            headers["Connection"] = "close"

    async def _reply(self, problem: Problem) -> None:
        response = Response(problem.model_dump_json(), problem.status, media_type="application/json")
        await response(self._scope, self._receive, self._send)


def finish(record: RequestRecord, scope: Scope, method: str) -> None:
    """Count and log a request that has ended. Paths without a route are counted together."""
    record.end()
    path: str = getattr(scope.get("route"), "path", "")
    metrics.count_request(record, path.removeprefix(API) or "other", method)
    _log("request", record, scope, method)


def _log(message: str, record: RequestRecord, scope: Scope, method: str) -> None:
    client = (scope.get("client") or ("",))[0]
    log.info(message, extra={"fields": log_fields(record, method, scope["path"], client)})

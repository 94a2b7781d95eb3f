"""The response to an unexpected exception."""

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge import errors
from bridge.api import responses

log = logging.getLogger("graphcap")


class ErrorMiddleware:
    """Log an unexpected exception, and respond without its text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = complete = False

        async def send_noted(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except Exception as error:  # the outermost handler
            log.exception("bug in %s %s", scope["method"], scope["path"])
            scope["state"]["record"].code = errors.BUG.code
            if not started:
                await responses.fail(error, scope, receive, send_noted)
            elif not complete:
                raise

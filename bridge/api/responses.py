"""Send responses and problems in the format that the Accept header prefers: JSON, one line of text, or events."""

import re
from math import ceil

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bridge.api import sse
from bridge.api.middleware.request_context import record_of
from bridge.api.openai import problem as openai
from bridge.captioning import problems
from bridge.captioning.models import Problem

JSON, TEXT, EVENTS = "application/json", "text/plain", sse.MEDIA_TYPE
PROBLEM_JSON = "application/problem+json"
CAPTION_TYPES = (JSON, TEXT, EVENTS)
ANALYSIS_TYPES = (JSON, EVENTS)  # not plain text, because several captions are not one line
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def negotiate(request: Request, offered: tuple[str, ...]) -> str:
    """Return the offered media type with the highest quality in Accept, and among equals the first in Accept.

    For a wildcard, or if none matches, the first offered type is returned.
    """
    best, best_quality = offered[0], 0.0
    for item in ",".join(request.headers.getlist("accept")).split(","):
        name = item.partition(";")[0].strip().lower()
        media_type = offered[0] if name in ("*/*", "application/*") else name
        match = _QUALITY.search(item)
        quality = float(match[1]) if match else 1.0
        if media_type in offered and quality > best_quality:
            best, best_quality = media_type, quality
    return best


def json_response(value: BaseModel, *, omit_none: bool = False) -> Response:
    return Response(value.model_dump_json(exclude_none=omit_none), media_type=JSON)


def problem_response(request: Request, problem: Problem) -> Response:
    """Build the response for a problem. For paths below `/v1/`, it has OpenAI's error format.

    The React client parses only `application/json`, so `application/problem+json` is sent only if `Accept` prefers it.
    """
    record_of(request).code = problem.code
    headers: dict[str, str] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(ceil(problem.retry_after))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if openai.is_openai_path(request):
        if not problem.retryable:
            headers["X-Should-Retry"] = "false"  # OpenAI's clients would retry every 5xx twice
        return JSONResponse(openai.error_body(problem), problem.status, headers)
    media_type = negotiate(request, (JSON, PROBLEM_JSON))
    return Response(problem.model_dump_json(), problem.status, headers, media_type)


async def reject(error: Exception, scope: Scope, receive: Receive, send: Send, *, begun: bool = False) -> None:
    """Send the problem for an error in a middleware, where exception handlers do not run.

    Unless work has `begun`, the header `X-Request-Begun: no` tells a proxy that it may try another instance.
    """
    request = Request({"method": "GET", **scope, "type": "http"})  # a rejected WebSocket gets an HTTP response
    response = problem_response(request, problems.from_error(error, scope["state"]["record"].id))
    if not begun:
        response.headers["X-Request-Begun"] = "no"
    await response(scope, receive, send)

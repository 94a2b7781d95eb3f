"""How an answer leaves: JSON, a problem, or one line of text, as `Accept` asks."""

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from bridge.api import sse, state
from bridge.api.openai import failure as openai
from bridge.captioning import problems
from bridge.captioning.problems import Problem

JSON, LINE, EVENTS = "application/json", "text/plain", sse.MEDIA_TYPE
PROBLEM_JSON = "application/problem+json"
CAPTION = (JSON, LINE, EVENTS)
"""How a caption may leave."""
ANALYSIS = (JSON, EVENTS)
"""How an analysis may leave: several captions are no line."""
_QUALITY = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def preferred(request: Request, offered: tuple[str, ...]) -> str:
    """What `Accept` likes best of what is offered: by quality, then by order.

    A wildcard stands for the first of the offered, which is also what is sent when none of them is named.
    """
    best, most = offered[0], 0.0
    for one in ",".join(request.headers.getlist("accept")).split(","):
        name = one.partition(";")[0].strip().lower()
        media_type = offered[0] if name in ("*/*", "application/*") else name
        found = _QUALITY.search(one)
        quality = float(found[1]) if found else 1.0
        if media_type in offered and quality > most:
            best, most = media_type, quality
    return best


def json(value: BaseModel, *, omit_none: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON."""
    body = value.model_dump_json(exclude_none=omit_none)
    return Response(body, media_type=JSON, headers=headers)


def line(text: str) -> Response:
    """One line of plain text: newlines inside are folded, since several lines mean several captions to trainers."""
    return PlainTextResponse(" ".join(text.split()) + "\n")


def failure(request: Request, problem: Problem) -> Response:
    """A problem; as `application/json` unless `Accept` asks for problem+json: the React client parses nothing else.

    OpenAI's clients are told in their own shape.
    """
    state.note_problem(request, problem)
    if openai.speaks(request):
        return openai.answer(problem)
    headers: dict[str, Any] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(ceil(problem.retry_after))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    media_type = preferred(request, (JSON, PROBLEM_JSON))
    body = problem.model_dump_json()
    return Response(body, problem.status, headers=headers, media_type=media_type)


async def fail(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell an error in a layer around the application, where no handler does."""
    await _told(error, scope)(scope, receive, send)


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell it of a request that nothing was begun for: `X-Request-Begun: no` lets a proxy ask another instance."""
    response = _told(error, scope)
    response.headers["X-Request-Begun"] = "no"
    await response(scope, receive, send)


def _told(error: Exception, scope: Scope) -> Response:
    request = Request({"method": "GET", **scope, "type": "http"})  # a socket that is refused is answered as one
    return failure(request, problems.from_error(error, scope["state"]["request_id"]))

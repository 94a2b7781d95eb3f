"""How an answer leaves: JSON, a problem, or one line of text, as `Accept` asks."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from bridge.api.openai import failure as openai
from bridge.problems import Problem

PROBLEM_JSON = "application/problem+json"


def wants(request: Request, media_type: str) -> bool:
    """Whether `Accept` names this media type (not by a wildcard)."""
    named = (one.split(";")[0].strip().lower() for one in request.headers.get("accept", "").split(","))
    return media_type in named


def json(value: BaseModel, *, omit_none: bool = False, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON."""
    body = value.model_dump_json(exclude_none=omit_none)
    return Response(body, media_type="application/json", headers=headers)


def line(text: str) -> Response:
    """One line of plain text: newlines inside are folded, since several lines mean several captions to trainers."""
    return PlainTextResponse(" ".join(text.split()) + "\n")


def failure(request: Request, problem: Problem) -> Response:
    """A problem; as `application/json` unless `Accept` asks for problem+json: the React client parses nothing else.

    OpenAI's clients are told in their own shape.
    """
    if openai.speaks(request):
        return openai.answer(problem)
    headers: dict[str, Any] = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(ceil(problem.retry_after))
    media_type = PROBLEM_JSON if wants(request, PROBLEM_JSON) else "application/json"
    body = problem.model_dump_json()
    return Response(body, problem.status, headers=headers, media_type=media_type)

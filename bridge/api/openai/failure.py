"""Problems in OpenAI's shape."""

from math import ceil
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bridge.captioning.problems import Problem

PREFIX = "/v1/"
_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {"unknown_perspective": "model_not_found"}
_PARAMS = {
    "unknown_perspective": "model",
    "unknown_provider": "model",
    "unknown_model": "model",
    "missing_variables": "variables",
    "invalid_perspective": "response_format",
    "context_too_long": "messages",
    **dict.fromkeys(("image_unreachable", "image_too_large", "unsupported_image", "invalid_image"), "messages"),
    "address_refused": "messages",
}
_OURS = {"image": "messages", "context": "messages", "global_context": "messages", "provider": "model"}
_GRAMMAR = "A model is written [perspective][@[provider][/model]]; GET /v1/models lists what there is."


def speaks(request: Request) -> bool:
    """Whether the request came to this door, whatever it asked for."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).startswith(PREFIX)


def answer(problem: Problem) -> Response:
    """A problem as OpenAI tells it.

    The official clients repeat a 5xx twice by themselves; `X-Should-Retry` tells them where that is useless.
    """
    headers = {} if problem.retryable else {"X-Should-Retry": "false"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(ceil(problem.retry_after))
    return JSONResponse(body(problem), problem.status, headers=headers)


def body(problem: Problem) -> dict[str, Any]:
    """The error object that stands in a body, or in a stream."""
    unknown = problem.code == "unknown_perspective"
    return {
        "error": {
            "message": f"{problem.detail} {_GRAMMAR}" if unknown else problem.detail,
            "type": _type(problem.status),
            "param": _param(problem),
            "code": _CODES.get(problem.code, problem.code),
        }
    }


def _type(status: int) -> str:
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _param(problem: Problem) -> str | None:
    """The field that is to blame; pointers of other codes lead into a perspective or an answer."""
    if problem.code != "invalid_request" or not problem.errors:
        return _PARAMS.get(problem.code)
    first, *rest = problem.errors[0].pointer.removeprefix("/").split("/")
    if first in _OURS:
        return _OURS[first]
    return first + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in rest) or None

"""Problems in OpenAI's error format."""

from typing import Any

from starlette.requests import Request

from bridge.captioning.models import Problem

_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
_IMAGE_CODES = ("image_unreachable", "image_too_large", "unsupported_image", "invalid_image", "address_refused")
_PARAMS = {
    **dict.fromkeys(("unknown_perspective", "unknown_provider", "unknown_model"), "model"),
    "missing_variables": "variables",
    "invalid_perspective": "response_format",
    **dict.fromkeys((*_IMAGE_CODES, "context_too_long"), "messages"),
}
"""The invalid OpenAI parameter for each code."""
_RENAMED = {"image": "messages", "context": "messages", "global_context": "messages", "provider": "model"}
_MODEL_SYNTAX = "A model is written [perspective][@[provider][/model]]; GET /v1/models lists the models."


def is_openai_path(request: Request) -> bool:
    path: str = request.scope["path"]
    return path.removeprefix(request.scope.get("root_path", "")).startswith("/v1/")


def error_body(problem: Problem) -> dict[str, Any]:
    unknown = problem.code == "unknown_perspective"
    return {
        "error": {
            "message": f"{problem.detail} {_MODEL_SYNTAX}" if unknown else problem.detail,
            "type": _TYPES.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error"),
            "param": _param(problem),
            "code": "model_not_found" if unknown else problem.code,
        }
    }


def _param(problem: Problem) -> str | None:
    """Return the invalid parameter: from the JSON Pointer for `invalid_request`, otherwise from the code.

    The JSON Pointers of other problems do not refer to the request.
    """
    if problem.code != "invalid_request" or not problem.errors:
        return _PARAMS.get(problem.code)
    first, *rest = problem.errors[0].pointer.removeprefix("/").split("/")
    if first in _RENAMED:
        return _RENAMED[first]
    return first + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in rest) or None

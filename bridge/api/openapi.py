"""Build the OpenAPI document. FastAPI's document lacks the request bodies and errors of the routes."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import errors
from bridge.api import responses as formats
from bridge.api.middleware.request_context import API
from bridge.api.schemas import AllFailed, CaptionFromPath, ProviderBody, ProviderByName
from bridge.api.sse import StreamEvent
from bridge.captioning import problems
from bridge.captioning.models import AnalyzeRequest, CaptionRequest, Problem

_REF = "#/components/schemas/{model}"
_SAMPLE = {"image": {"path": "datasets/samples/coffee.jpg"}}
_BUILTIN = {"name": "mine", "kind": "builtin"}
_PARAMETERS = {"/perspectives/modules": "core", "/perspectives": "alt_text", "/providers": "builtin"}  # examples
DESCRIPTION = """\
The WebSocket `/api/v1/perspectives/stream` receives frames of the types `auth`, `caption`, `analyze` and `cancel`, and
sends events (`StreamEvent`). The OpenAI-compatible API is `POST /v1/chat/completions`, `GET /v1/models` and
`GET /v1/models/{id}`; its `model` has the form `[perspective][@[provider][/model]]`. Both are described in
`docs/api.md`."""
_SECURITY: dict[str, dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the service, where it has any."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_TEXT: dict[str, Any] = {"schema": {"type": "string", "description": "The rendered caption, in one line."}}
_EVENTS: dict[str, Any] = {"itemSchema": {"$ref": _REF.format(model="StreamEvent")}}
_CAPTION = {formats.TEXT: _TEXT, formats.EVENTS: _EVENTS}
_ANALYZE = "/perspectives/analyze"
_WITHOUT_KEY = "/health"


@dataclass(frozen=True)
class Operation:
    """A POST operation's details that FastAPI cannot derive: models of bodies, an example, media types, uploads."""

    models: tuple[type[BaseModel], ...]
    example: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    upload: bool = False


_OPERATIONS = {
    "/perspectives/caption": Operation(
        (CaptionRequest,), {"perspective": "alt_text", **_SAMPLE}, _CAPTION, upload=True
    ),
    "/perspectives/{name}/caption": Operation(
        (CaptionRequest,), {**_SAMPLE, "context": ["Taken at the harbour fair."]}, _CAPTION, upload=True
    ),
    _ANALYZE: Operation(
        (AnalyzeRequest,),
        {"perspectives": ["graph_caption", "alt_text"], "synthesize": "synthesized_caption", **_SAMPLE},
        {formats.EVENTS: _EVENTS},
        upload=True,
    ),
    "/perspectives/caption-from-path": Operation(
        (CaptionFromPath,),
        {
            "perspective": "graph_caption",
            "image_path": "/workspace/datasets/samples/coffee.jpg",
            "provider": "builtin",
            "model": "measurements",
            "provider_config": {"kind": "builtin", "api_key": ""},
            "temperature": 0.7,
            "max_tokens": 4096,
            "context": [],
            "resize_resolution": "NONE",
        },
        _CAPTION,
    ),
    "/providers/{name}/models": Operation((ProviderBody, ProviderByName), _BUILTIN),
    "/providers/{name}/test-connection": Operation(
        (ProviderBody, ProviderByName), {**_BUILTIN, "default_model": "measurements"}
    ),
}


def operation_id(route: APIRoute) -> str:
    """Return the route's function name in camel case. Client generators name methods after it."""
    first, *rest = route.name.split("_")
    return first + "".join(map(str.capitalize, rest))


def build(app: FastAPI) -> dict[str, Any]:
    document = FastAPI.openapi(app)
    document["security"] = [*({name: []} for name in _SECURITY), {}]
    bodies = dict.fromkeys(model for operation in _OPERATIONS.values() for model in operation.models)
    models: list[type[BaseModel]] = [*bodies, Problem, AllFailed, StreamEvent]
    _, defined = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(defined["$defs"])
    document["components"]["securitySchemes"] = _SECURITY
    document["components"]["responses"] = error_responses = _error_responses()
    for full, operations in document["paths"].items():
        path = full.removeprefix(API)
        statuses = [status for status in error_responses if status != "401" or path != _WITHOUT_KEY]
        references = {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}
        for operation in operations.values():
            operation["responses"] = {"200": operation["responses"]["200"], **references}
            if path == _WITHOUT_KEY:
                operation["security"] = []
            for parameter in operation.get("parameters", ()):
                parameter["example"] = next(text for start, text in _PARAMETERS.items() if path.startswith(start))
        if "post" in operations and path in _OPERATIONS:
            operations["post"]["responses"]["200"]["content"] |= _OPERATIONS[path].content
            operations["post"]["requestBody"] = _request_body(path, _OPERATIONS[path])
        if path == _ANALYZE:
            operations["post"]["responses"] |= _analysis_errors(error_responses)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _request_body(path: str, operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _any_of(*operation.models), "example": operation.example}}
    if operation.upload:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "required": ["image"],
                "description": "The image as a file; every other field of the JSON body as a part with its name.",
                "properties": {
                    "image": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "perspective": {"type": "string"},
                    "request": {"type": "string", "description": "The remaining fields as one JSON object."},
                },
            }
        }
    return {"required": not path.startswith("/providers"), "content": content}


def _any_of(*models: type[BaseModel]) -> dict[str, Any]:
    references = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _analysis_errors(error_responses: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the error responses of an analysis, which has its own error body if all perspectives failed."""
    failed = _any_of(Problem, AllFailed)
    return {
        status: {**error, "content": {name: {**media, "schema": failed} for name, media in error["content"].items()}}
        for status, error in error_responses.items()
    }


def _error_responses() -> dict[str, dict[str, Any]]:
    """Return one error response per status. Errors with the same status differ in the `code` of the body."""
    rows = (*errors.TABLE.values(), *errors.OTHERS)
    responses = {}
    for status in sorted({row.status for row in rows}):
        same = [row for row in rows if row.status == status]
        example = problems.from_row(same[0], "The cause in one sentence, then the remedy.", "4f6c…").model_dump()
        responses[str(status)] = {
            "description": " · ".join(dict.fromkeys(row.code for row in same)),
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}, "example": example}},
        }
    return responses

"""The OpenAPI document: FastAPI's own, with the request bodies and the errors of every route added."""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import errors
from bridge.api import responses as formats
from bridge.api.analysis import AllFailed
from bridge.api.schemas import CaptionFromPath, ProviderBody, ProviderByName
from bridge.api.sse import StreamEvent
from bridge.captioning import problems
from bridge.captioning.models import AnalyzeRequest, CaptionRequest, Problem

_REF = "#/components/schemas/{model}"
_SAMPLE = {"image": {"path": "datasets/samples/coffee.jpg"}}
_MINE = {"name": "mine", "kind": "ollama", "base_url": "http://127.0.0.1:11434"}
_TEXT: dict[str, Any] = {"schema": {"type": "string", "description": "The rendered caption, in one line."}}
_EVENTS: dict[str, Any] = {"itemSchema": {"$ref": _REF.format(model="StreamEvent")}}
_CAPTION = {formats.TEXT: _TEXT, formats.EVENTS: _EVENTS}
_ANALYZE = "/perspectives/analyze"
_WITHOUT_KEY = ("/health",)


@dataclass(frozen=True)
class Operation:
    """What FastAPI does not know of a POST: its JSON bodies, an example, other media types, and uploads."""

    models: tuple[type[BaseModel], ...]
    example: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    upload: bool = False


_OPERATIONS = {
    "/perspectives/caption": Operation(
        (CaptionRequest,), {"perspective": "alt_text", **_SAMPLE}, _CAPTION, upload=True
    ),
    "/perspectives/{name}/caption": Operation(
        (CaptionRequest,),
        {**_SAMPLE, "provider": "ollama", "model": "qwen2.5vl:7b", "temperature": 0.2},
        _CAPTION,
        upload=True,
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
    "/providers/{name}/models": Operation((ProviderBody, ProviderByName), _MINE),
    "/providers/{name}/test-connection": Operation(
        (ProviderBody, ProviderByName), {**_MINE, "default_model": "qwen2.5vl:7b"}
    ),
}


def install(app: FastAPI) -> None:
    """Make the application serve this document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def build(app: FastAPI) -> dict[str, Any]:
    """Return the document."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    bodies = dict.fromkeys(model for operation in _OPERATIONS.values() for model in operation.models)
    models: list[type[BaseModel]] = [*bodies, Problem, AllFailed, StreamEvent]
    _, defined = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(defined["$defs"])
    document["components"]["responses"] = _error_responses()
    errors = {status: {"$ref": f"#/components/responses/{status}"} for status in document["components"]["responses"]}
    for full, operations in document["paths"].items():
        path = full.removeprefix("/api/v1")
        possible = {
            status: reference for status, reference in errors.items() if status != "401" or path not in _WITHOUT_KEY
        }
        for operation in operations.values():
            operation["responses"] = {"200": operation["responses"]["200"], **possible}
        if "post" in operations and path in _OPERATIONS:
            operations["post"]["responses"]["200"]["content"] |= _OPERATIONS[path].content
            operations["post"]["requestBody"] = _request_body(path, _OPERATIONS[path])
        if path == _ANALYZE:
            operations["post"]["responses"] |= _analysis_errors(document["components"]["responses"])
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


def _analysis_errors(errors: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the error responses of an analysis, which has its own body when all perspectives failed."""
    failed = _any_of(Problem, AllFailed)
    return {
        status: {**error, "content": {name: {**media, "schema": failed} for name, media in error["content"].items()}}
        for status, error in errors.items()
    }


def _error_responses() -> dict[str, dict[str, Any]]:
    """Return the error responses by status; they share one body, and its code tells them apart."""
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

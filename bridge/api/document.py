"""The OpenAPI document: what FastAPI finds, plus the bodies that are read by hand and the errors of every route."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge import errors
from bridge.api import answers
from bridge.api.analysis import AllFailed
from bridge.api.events import StreamEvent
from bridge.api.wire import CaptionFromPath, ProviderBody, ProviderByName
from bridge.captioning import problems
from bridge.captioning.models import AnalyzeRequest, CaptionRequest
from bridge.captioning.problems import Problem

_REF = "#/components/schemas/{model}"
_BODIES: dict[str, tuple[type[BaseModel], ...]] = {
    "/perspectives/caption": (CaptionRequest,),
    "/perspectives/{name}/caption": (CaptionRequest,),
    "/perspectives/caption-from-path": (CaptionFromPath,),
    "/perspectives/analyze": (AnalyzeRequest,),
    "/providers/{name}/models": (ProviderBody, ProviderByName),
    "/providers/{name}/test-connection": (ProviderBody, ProviderByName),
}
_MULTIPART = ("/perspectives/caption", "/perspectives/{name}/caption", "/perspectives/analyze")
_OFFERED: dict[str, tuple[str, ...]] = {
    "/perspectives/caption": answers.CAPTION,
    "/perspectives/{name}/caption": answers.CAPTION,
    "/perspectives/caption-from-path": answers.CAPTION,
    "/perspectives/analyze": answers.ANALYSIS,
}
_ANALYZE = "/perspectives/analyze"
_OPEN = ("/health",)
_STREAMED: dict[str, dict[str, Any]] = {
    answers.LINE: {"schema": {"type": "string", "description": "The rendered caption, in one line."}},
    answers.EVENTS: {"itemSchema": {"$ref": _REF.format(model="StreamEvent")}},
}
_EXAMPLES: dict[str, dict[str, Any]] = {
    "/perspectives/caption": {"perspective": "alt_text", "image": {"path": "datasets/samples/coffee.jpg"}},
    "/perspectives/{name}/caption": {
        "image": {"path": "datasets/samples/coffee.jpg"},
        "provider": "ollama",
        "model": "qwen2.5vl:7b",
        "temperature": 0.2,
    },
    "/perspectives/analyze": {
        "perspectives": ["graph_caption", "alt_text"],
        "synthesize": "synthesized_caption",
        "image": {"path": "datasets/samples/coffee.jpg"},
    },
    "/perspectives/caption-from-path": {
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
    "/providers/{name}/models": {"name": "mine", "kind": "ollama", "base_url": "http://127.0.0.1:11434"},
    "/providers/{name}/test-connection": {
        "name": "mine",
        "kind": "ollama",
        "environment": "local",
        "base_url": "http://127.0.0.1:11434",
        "api_key": "",
        "default_model": "qwen2.5vl:7b",
        "models": ["qwen2.5vl:7b"],
    },
}


def install(app: FastAPI) -> None:
    """Let the application answer with our document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def build(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    bodies = dict.fromkeys(model for models in _BODIES.values() for model in models)
    models: list[type[BaseModel]] = [*bodies, Problem, AllFailed, StreamEvent]
    _, defined = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(defined["$defs"])
    document["components"]["responses"] = _responses()
    errors = {status: {"$ref": f"#/components/responses/{status}"} for status in document["components"]["responses"]}
    for full, operations in document["paths"].items():
        path = full.removeprefix("/api/v1")
        here = {status: told for status, told in errors.items() if status != "401" or path not in _OPEN}
        for operation in operations.values():
            operation["responses"] = {"200": operation["responses"]["200"], **here}
            content = operation["responses"]["200"]["content"]
            content |= {name: _STREAMED[name] for name in _OFFERED.get(path, ()) if name in _STREAMED}
        if path in _BODIES and "post" in operations:
            operations["post"]["requestBody"] = _body(path)
        if path == _ANALYZE:
            operations["post"]["responses"] |= _of_analysis(document["components"]["responses"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _body(path: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "application/json": {
            "schema": _any_of(*_BODIES[path]),
            "example": _EXAMPLES[path],
        }
    }
    if path in _MULTIPART:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "required": ["image"],
                "description": "The image as a file; every other field of the JSON body as a part of its name.",
                "properties": {
                    "image": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "perspective": {"type": "string"},
                    "request": {"type": "string", "description": "The remaining fields as one JSON object."},
                },
            }
        }
    return {"required": not path.startswith("/providers"), "content": content}


def _any_of(*models: type[BaseModel]) -> dict[str, Any]:
    told = [{"$ref": _REF.format(model=model.__name__)} for model in models]
    return told[0] if len(told) == 1 else {"anyOf": told}


def _of_analysis(responses: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The errors, and what an analysis tells when all of its perspectives failed: it has the first one's status."""
    failed = _any_of(Problem, AllFailed)
    return {
        status: {**told, "content": {name: {**media, "schema": failed} for name, media in told["content"].items()}}
        for status, told in responses.items()
    }


def _responses() -> dict[str, dict[str, Any]]:
    """By status: every error has one body, its code tells which it was."""
    rows = (*errors.TABLE.values(), *errors.OTHERS)
    found = {}
    for status in sorted({row.status for row in rows}):
        here = [row for row in rows if row.status == status]
        example = problems.from_row(
            here[0], "One sentence that says what happened and what to do.", "4f6c…"
        ).model_dump()
        found[str(status)] = {
            "description": " · ".join(dict.fromkeys(row.code for row in here)),
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Problem")}, "example": example}},
        }
    return found

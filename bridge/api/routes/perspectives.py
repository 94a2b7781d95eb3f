"""`/perspectives/…`: the perspectives, and captions with them."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from bridge.api import responses
from bridge.api.analysis import AnalyzeOut, findings_out
from bridge.api.leaving import while_wanted
from bridge.api.request_body import RequestBody, read_body
from bridge.api.responses import EVENTS, TEXT, json_response, negotiate
from bridge.api.schemas import (
    CaptionFromPath,
    CaptionWithMetadata,
    Metadata,
    ModuleList,
    ModulePerspectives,
    PerspectiveList,
    PerspectiveOut,
)
from bridge.api.sse import EventStream
from bridge.api.state import account, provider_key, request_id, services
from bridge.captioning.analyze import analyze, plan_analysis
from bridge.captioning.caption import caption_planned
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest
from bridge.captioning.parse import validate
from bridge.captioning.plan import deadline, plan, require_one_image
from bridge.errors import InvalidRequest
from bridge.version import __version__
from perspectives.catalog import ModuleInfo
from perspectives.errors import UnknownPerspective

_ACTIONS = ("caption", "caption-from-path", "analyze")
router = APIRouter(prefix="/perspectives", tags=["perspectives"])


@router.get("/list", response_model=PerspectiveList)
async def list_perspectives(request: Request) -> Response:
    """List every enabled perspective, by priority and name."""
    return JSONResponse({"perspectives": [item.to_wire() for item in services(request).catalog.all()]})


@router.get("/modules", response_model=ModuleList)
async def list_modules(request: Request) -> Response:
    """List the modules, disabled ones included."""
    return JSONResponse({"modules": [_module(module) for module in services(request).catalog.modules()]})


@router.get("/modules/{module}", response_model=ModulePerspectives)
async def show_module(request: Request, module: str) -> Response:
    """Show one module and its perspectives."""
    catalog = services(request).catalog
    info = catalog.module(module)
    members = [item.to_wire() for item in catalog.all() if item.module == info.name]
    return JSONResponse({"module": _module(info), "perspectives": members})


def _module(info: ModuleInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "display_name": info.display_name,
        "description": info.description,
        "enabled": info.enabled,
        "perspective_count": info.perspective_count,
    }


@router.post("/caption", response_model=Caption)
async def caption_any(request: Request) -> Response:
    """Caption an image; `perspective` in the body is a name or a complete perspective."""
    return await _caption(request, await _read_body(request))


@router.post("/analyze", response_model=AnalyzeOut)
async def analyze_image(request: Request) -> Response:
    """Caption one image with several perspectives in parallel, and synthesize the results with another one."""
    body = await _read_body(request)
    analyze_request = validate(AnalyzeRequest, body.fields)
    resources = services(request)
    analysis = await plan_analysis(analyze_request, resources, provider_key(request))
    require_one_image(analyze_request, body.upload)
    if negotiate(request, responses.ANALYSIS_TYPES) == EVENTS:
        until = deadline(analyze_request, resources)
        return EventStream(request, resources, until, lambda stream: stream.analyze(analysis, body.upload))
    findings = await while_wanted(request, analyze(analysis, body.upload, resources, request_id(request)))
    result = findings_out(findings, request_id(request))
    if isinstance(result, AnalyzeOut):
        return json_response(result)
    return responses.problem_response(request, result)


@router.post("/caption-from-path", response_model=CaptionWithMetadata)
async def caption_from_path(request: Request) -> Response:
    """Caption an image of the workspace, in the format of the React client."""
    from_path = validate(CaptionFromPath, (await _read_body(request)).fields)
    fields = from_path.model_dump(exclude={"image_path", "image"}, exclude_unset=True)
    return await _caption(request, RequestBody({**fields, "image": from_path.image_ref()}), _with_metadata)


def _with_metadata(caption: Caption) -> Response:
    metadata = Metadata(
        model=caption.model, provider=caption.provider, version=__version__, config_name=caption.perspective
    )
    return json_response(CaptionWithMetadata(**{**caption.__dict__, "metadata": metadata}), omit_none=True)


@router.post("/{name}/caption", response_model=Caption)
async def caption_by_name(request: Request, name: str) -> Response:
    """Caption an image with the perspective that the path names."""
    body = await _read_body(request)
    if body.fields.get("perspective", name) != name:
        raise InvalidRequest(
            f"The path names '{name}' and the body another perspective. Name one.", (("/perspective", "differs"),)
        )
    return await _caption(request, RequestBody({**body.fields, "perspective": name}, body.upload))


@router.get("/{name}", response_model=PerspectiveOut)
async def show_perspective(request: Request, name: str) -> Response:
    """Show one perspective; a request may send it back as `perspective`."""
    try:
        return JSONResponse(services(request).catalog.get(name).to_wire())
    except UnknownPerspective:
        if name not in _ACTIONS:
            raise
    raise HTTPException(405, headers={"Allow": "POST"})


async def _read_body(request: Request) -> RequestBody:
    account(request).wants_caption = True
    return await read_body(request, services(request).settings)


async def _caption(
    request: Request, body: RequestBody, to_json: Callable[[Caption], Response] = json_response
) -> Response:
    caption_request = validate(CaptionRequest, body.fields)
    resources = services(request)
    planned = await plan(caption_request.perspective, caption_request, resources, provider_key(request))
    require_one_image(caption_request, body.upload)
    media_type = negotiate(request, responses.CAPTION_TYPES)
    if media_type == EVENTS:
        until = deadline(caption_request, resources)
        return EventStream(request, resources, until, lambda stream: stream.caption(planned, body.upload))
    caption = await while_wanted(request, caption_planned(planned, body.upload, resources, request_id(request)))
    return responses.text_response(caption.rendered) if media_type == TEXT else to_json(caption)

"""`/perspectives/…`: the perspectives, and captions with them."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from bridge.api import responses
from bridge.api.analysis import AnalyzeOut, analysis_out
from bridge.api.connection import until_disconnect
from bridge.api.middleware.request_context import provider_key, record_of, services, start_run
from bridge.api.request_body import RequestBody, read_body
from bridge.api.responses import EVENTS, TEXT, json_response, negotiate
from bridge.api.schemas import (
    CaptionFromPath,
    CaptionWithMetadata,
    Metadata,
    ModuleList,
    ModuleOut,
    ModulePerspectives,
    PerspectiveList,
    PerspectiveOut,
    PerspectiveSummaryList,
)
from bridge.api.sse import EventStreamResponse
from bridge.captioning.analyze import analyze
from bridge.captioning.caption import caption_plan
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import make_analysis_plan, make_plan
from bridge.captioning.stream import EventStream
from bridge.errors import InvalidRequest
from bridge.version import __version__
from perspectives import typescript
from perspectives.catalog import ModuleInfo
from perspectives.errors import UnknownPerspective

_ACTIONS = ("caption", "caption-from-path", "analyze")
router = APIRouter(prefix="/perspectives", tags=["perspectives"])


@router.get("/list", response_model=PerspectiveList)
async def list_perspectives(request: Request) -> Response:
    """List the enabled perspectives, by priority and name."""
    return JSONResponse({"perspectives": [item.to_wire() for item in services(request).catalog.all()]})


@router.get("/summaries", response_model=PerspectiveSummaryList)
async def list_summaries(request: Request) -> Response:
    """List the enabled perspectives without their prompts and schemas, by priority and name."""
    return JSONResponse({"perspectives": [item.to_summary() for item in services(request).catalog.all()]})


@router.get("/types.ts", response_class=PlainTextResponse)
async def show_types(request: Request) -> Response:
    """Return TypeScript types for the captions of all enabled perspectives."""
    return PlainTextResponse(typescript.module(services(request).catalog.all()))


@router.get("/{name}/types.ts", response_class=PlainTextResponse)
async def show_type(request: Request, name: str) -> Response:
    """Return a TypeScript type for the captions of one perspective."""
    return PlainTextResponse(typescript.module([services(request).catalog.get(name)]))


@router.get("/modules", response_model=ModuleList)
async def list_modules(request: Request) -> Response:
    """List the modules, including disabled ones."""
    return JSONResponse({"modules": [_module(module) for module in services(request).catalog.modules()]})


@router.get("/modules/{module}", response_model=ModulePerspectives)
async def show_module(request: Request, module: str) -> Response:
    """Return one module and its perspectives."""
    catalog = services(request).catalog
    info = catalog.module(module)
    members = [item.to_wire() for item in catalog.all() if item.module == info.name]
    return JSONResponse({"module": _module(info), "perspectives": members})


def _module(info: ModuleInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in ModuleOut.model_fields}


@router.post("/caption", response_model=Caption)
async def caption_image(request: Request) -> Response:
    """Caption an image. `perspective` is the name of a perspective or a complete perspective."""
    return await _caption(request, await _read_body(request))


@router.post("/analyze", response_model=AnalyzeOut)
async def analyze_image(request: Request) -> Response:
    """Caption one image with several perspectives at the same time, and combine the captions with a synthesizer."""
    body = await _read_body(request)
    analyze_request = parse_request(AnalyzeRequest, body.fields)
    run = start_run(request, analyze_request)
    plan = await make_analysis_plan(
        analyze_request, services(request), run, upload=body.upload, provider_key=provider_key(request)
    )
    if negotiate(request, responses.ANALYSIS_TYPES) == EVENTS:
        return EventStreamResponse(EventStream(plan, services(request), run), record_of(request), run)
    outcomes = await until_disconnect(request, analyze(plan, services(request), run))
    result = analysis_out(plan, outcomes, run)
    if isinstance(result, AnalyzeOut):
        return json_response(result)
    return responses.problem_response(request, result)


@router.post("/caption-from-path", response_model=CaptionWithMetadata)
async def caption_from_path(request: Request) -> Response:
    """Caption an image of the workspace. Request and response have the format of the React client."""
    from_path = parse_request(CaptionFromPath, (await _read_body(request)).fields)
    fields = from_path.model_dump(exclude={"image_path", "image"}, exclude_unset=True)
    return await _caption(request, RequestBody({**fields, "image": {"path": from_path.image_path}}), _with_metadata)


def _with_metadata(caption: Caption) -> Response:
    metadata = Metadata(
        model=caption.model, provider=caption.provider, version=__version__, config_name=caption.perspective
    )
    return json_response(CaptionWithMetadata(**{**caption.__dict__, "metadata": metadata}), omit_none=True)


@router.post("/{name}/caption", response_model=Caption)
async def caption_by_name(request: Request, name: str) -> Response:
    """Caption an image with the perspective in the path."""
    body = await _read_body(request)
    if body.fields.get("perspective", name) != name:
        raise InvalidRequest(
            f"The path names '{name}' and the body another perspective. Name one.", (("/perspective", "differs"),)
        )
    return await _caption(request, RequestBody({**body.fields, "perspective": name}, body.upload))


@router.get("/{name}", response_model=PerspectiveOut)
async def show_perspective(request: Request, name: str) -> Response:
    """Return one perspective. A request may contain it as `perspective`."""
    try:
        return JSONResponse(services(request).catalog.get(name).to_wire())
    except UnknownPerspective:
        if name not in _ACTIONS:
            raise
    raise HTTPException(405, headers={"Allow": "POST"})


async def _read_body(request: Request) -> RequestBody:
    record_of(request).wants_caption = True
    return await read_body(request, services(request).settings)


async def _caption(
    request: Request, body: RequestBody, to_json: Callable[[Caption], Response] = json_response
) -> Response:
    caption_request = parse_request(CaptionRequest, body.fields)
    run = start_run(request, caption_request)
    plan = await make_plan(
        caption_request, services(request), run, upload=body.upload, provider_key=provider_key(request)
    )
    media_type = negotiate(request, responses.CAPTION_TYPES)
    if media_type == EVENTS:
        return EventStreamResponse(EventStream(plan, services(request), run), record_of(request), run)
    caption = await until_disconnect(request, caption_plan(plan, services(request), run))
    return responses.text_response(caption.rendered) if media_type == TEXT else to_json(caption)

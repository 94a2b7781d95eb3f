"""`/perspectives/…`: what there is, and captions by it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from bridge.api import answers, body
from bridge.api.analysis import AnalyzeOut, findings_out
from bridge.api.leaving import while_wanted
from bridge.api.sse import EventStream
from bridge.api.state import account, provider_key, request_id, services
from bridge.api.wire import (
    CaptionFromPath,
    CaptionWithMetadata,
    Metadata,
    ModuleList,
    ModulePerspectives,
    PerspectiveList,
    PerspectiveOut,
)
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
    return JSONResponse({"perspectives": [one.to_wire() for one in services(request).catalog.all()]})


@router.get("/modules", response_model=ModuleList)
async def list_modules(request: Request) -> Response:
    """List the modules; disabled ones too."""
    return JSONResponse({"modules": [_module(one) for one in services(request).catalog.modules()]})


@router.get("/modules/{module}", response_model=ModulePerspectives)
async def show_module(request: Request, module: str) -> Response:
    """Show one module and its perspectives."""
    catalog = services(request).catalog
    info = catalog.module(module)
    inside = [one.to_wire() for one in catalog.all() if one.module == info.name]
    return JSONResponse({"module": _module(info), "perspectives": inside})


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
    """Caption an image; `perspective` in the body is a name or the perspective itself."""
    return await _caption(request, await _body(request))


@router.post("/analyze", response_model=AnalyzeOut)
async def analyze_image(request: Request) -> Response:
    """Caption one image by several perspectives at once, and let one more bring them together."""
    sent = await _body(request)
    asked = validate(AnalyzeRequest, sent.fields)
    found = services(request)
    analysis = await plan_analysis(asked, found, provider_key(request))
    require_one_image(asked, sent.upload)
    if answers.preferred(request, answers.ANALYSIS) == answers.EVENTS:
        until = deadline(asked, found)
        return EventStream(request, found, until, lambda stream: stream.analyze(analysis, sent.upload))
    findings = await while_wanted(request, analyze(analysis, sent.upload, found, request_id(request)))
    told = findings_out(findings, request_id(request))
    return answers.json(told) if isinstance(told, AnalyzeOut) else answers.failure(request, told)


@router.post("/caption-from-path", response_model=CaptionWithMetadata)
async def caption_from_path(request: Request) -> Response:
    """Caption an image of the workspace, as the React client asks for it."""
    sent = validate(CaptionFromPath, (await _body(request)).fields)
    fields = sent.model_dump(exclude={"image_path", "image"}, exclude_unset=True)
    return await _caption(request, body.Body({**fields, "image": sent.image_ref()}), _with_metadata)


def _with_metadata(made: Caption) -> Response:
    metadata = Metadata(model=made.model, provider=made.provider, version=__version__, config_name=made.perspective)
    return answers.json(CaptionWithMetadata(**{**made.__dict__, "metadata": metadata}), omit_none=True)


@router.post("/{name}/caption", response_model=Caption)
async def caption_by_name(request: Request, name: str) -> Response:
    """Caption an image by the perspective named in the path."""
    sent = await _body(request)
    named = sent.fields.get("perspective", name)
    if named != name:
        raise InvalidRequest(
            f"The path asks for '{name}' and the body for another perspective; name one.",
            (("/perspective", "differs"),),
        )
    return await _caption(request, body.Body({**sent.fields, "perspective": name}, sent.upload))


@router.get("/{name}", response_model=PerspectiveOut)
async def show_perspective(request: Request, name: str) -> Response:
    """Show one perspective; what comes back may be sent whole as `perspective`."""
    try:
        return JSONResponse(services(request).catalog.get(name).to_wire())
    except UnknownPerspective:
        if name not in _ACTIONS:
            raise
    raise HTTPException(405, headers={"Allow": "POST"})


async def _body(request: Request) -> body.Body:
    account(request).wants_caption = True
    return await body.read(request, services(request).settings)


async def _caption(
    request: Request, sent: body.Body, as_json: Callable[[Caption], Response] = answers.json
) -> Response:
    asked = validate(CaptionRequest, sent.fields)
    found = services(request)
    settled = await plan(asked.perspective, asked, found, provider_key(request))
    require_one_image(asked, sent.upload)
    media_type = answers.preferred(request, answers.CAPTION)
    if media_type == answers.EVENTS:
        until = deadline(asked, found)
        return EventStream(request, found, until, lambda stream: stream.caption(settled, sent.upload))
    made = await while_wanted(request, caption_planned(settled, sent.upload, found, request_id(request)))
    return answers.line(made.rendered) if media_type == answers.LINE else as_json(made)

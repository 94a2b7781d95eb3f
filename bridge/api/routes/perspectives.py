"""`/perspectives/…`: the perspectives, and captions with them."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from bridge import errors
from bridge.api import responses, schemas
from bridge.api.connection import disconnected, until
from bridge.api.middleware.request_context import provider_key, record_of, services
from bridge.api.request_body import RequestBody, read_body
from bridge.api.responses import EVENTS, TEXT, json_response, negotiate
from bridge.api.sse import EventStreamResponse
from bridge.captioning import problems
from bridge.captioning.analyze import Outcomes, analyze
from bridge.captioning.caption import caption_plan, usage_out
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest, Problem
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import AnalysisPlan, deadline_of, make_analysis_plan, make_plan
from bridge.captioning.stream import EventStream
from bridge.errors import InvalidRequest, NothingToSynthesize
from bridge.run import Run
from bridge.version import __version__
from perspectives import typescript
from perspectives.catalog import ModuleInfo
from perspectives.errors import UnknownPerspective

_NO_INPUT = errors.TABLE[NothingToSynthesize].title  # the status of this problem is ignored
_ACTIONS = ("caption", "caption-from-path", "analyze")
router = APIRouter(prefix="/perspectives", tags=["perspectives"])


@router.get("/list", response_model=schemas.PerspectiveList)
async def list_perspectives(request: Request) -> Response:
    """List the enabled perspectives, by priority and name."""
    return JSONResponse({"perspectives": [item.to_wire() for item in services(request).catalog.all()]})


@router.get("/summaries", response_model=schemas.PerspectiveSummaryList)
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


@router.get("/modules", response_model=schemas.ModuleList)
async def list_modules(request: Request) -> Response:
    """List the modules, including disabled ones."""
    return JSONResponse({"modules": [_module(module) for module in services(request).catalog.modules()]})


@router.get("/modules/{module}", response_model=schemas.ModulePerspectives)
async def show_module(request: Request, module: str) -> Response:
    """Return one module and its perspectives."""
    catalog = services(request).catalog
    info = catalog.module(module)
    members = [item.to_wire() for item in catalog.all() if item.module == info.name]
    return JSONResponse({"module": _module(info), "perspectives": members})


def _module(info: ModuleInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in schemas.ModuleOut.model_fields}


@router.post("/caption", response_model=Caption)
async def caption_image(request: Request) -> Response:
    """Caption an image. `perspective` is the name of a perspective or a complete perspective."""
    return await _caption(request, await _read_body(request))


@router.post("/analyze", response_model=schemas.AnalyzeOut)
async def analyze_image(request: Request) -> Response:
    """Caption one image with several perspectives at the same time, and combine the captions with a synthesizer."""
    body, resources, key = await _read_body(request), services(request), provider_key(request)
    analyze_request = parse_request(AnalyzeRequest, body.fields)
    run = record_of(request).start_run(deadline_of(analyze_request, resources))
    plan = await make_analysis_plan(analyze_request, resources, run, upload=body.upload, provider_key=key)
    if negotiate(request, responses.ANALYSIS_TYPES) == EVENTS:
        return EventStreamResponse(EventStream(plan, resources, run), run)
    outcomes = await until(disconnected(request.receive), analyze(plan, resources, run))
    return _analysis_response(request, plan, outcomes, run)


def _analysis_response(request: Request, plan: AnalysisPlan, outcomes: Outcomes, run: Run) -> Response:
    """Build the response, which is a problem if every perspective failed."""
    runs = dict(zip(plan.names, run.children, strict=True))
    results = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Caption)}
    failures = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Exception)}
    failed = {name: problems.report(error, runs[name]) for name, error in failures.items()}
    if not results:
        return responses.problem_response(request, _all_failed(failed, run.request_id))
    image = next(iter(results.values())).image
    synthesis = results.pop(plan.synthesizer.perspective.name, None) if plan.synthesizer else None
    analysis = schemas.AnalyzeOut(
        results=results,
        errors=failed,
        synthesis=synthesis,
        image=image,
        usage=usage_out(run.usage),
        timing=run.timings.milliseconds(),
        request_id=run.request_id,
    )
    return json_response(analysis)


def _all_failed(failed: dict[str, Problem], request_id: str) -> Problem:
    """Return the first problem if all problems have the same status. Otherwise, build a problem with status 502."""
    first = next(iter(failed.values()))
    if len({problem.status for problem in failed.values() if problem.title != _NO_INPUT}) > 1:
        retryable = any(problem.retryable for problem in failed.values())
        row = errors.Row(502, "provider_error", "Every perspective failed", retryable)
        sentences = " ".join(f"{name}: {problem.detail}" for name, problem in failed.items())
        first = problems.from_row(row, f"Every perspective failed. {sentences}", request_id)
    return schemas.AllFailed(**{**first.__dict__, "errors": failed})


@router.post("/caption-from-path", response_model=schemas.CaptionWithMetadata)
async def caption_from_path(request: Request) -> Response:
    """Caption an image of the workspace. Request and response have the format of the React client."""
    from_path = parse_request(schemas.CaptionFromPath, (await _read_body(request)).fields)
    fields = from_path.model_dump(exclude={"image_path", "image"}, exclude_unset=True)
    return await _caption(request, RequestBody({**fields, "image": {"path": from_path.image_path}}), _with_metadata)


def _with_metadata(caption: Caption) -> Response:
    names = {"model": caption.model, "provider": caption.provider, "config_name": caption.perspective}
    metadata = schemas.Metadata(**names, version=__version__)
    return json_response(schemas.CaptionWithMetadata(**{**caption.__dict__, "metadata": metadata}), omit_none=True)


@router.post("/{name}/caption", response_model=Caption)
async def caption_by_name(request: Request, name: str) -> Response:
    """Caption an image with the perspective in the path."""
    body = await _read_body(request)
    if body.fields.get("perspective", name) != name:
        text = f"The path names '{name}' and the body another perspective. Name one."
        raise InvalidRequest(text, (("/perspective", "differs"),))
    return await _caption(request, RequestBody({**body.fields, "perspective": name}, body.upload))


@router.get("/{name}", response_model=schemas.PerspectiveOut)
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
    resources, key = services(request), provider_key(request)
    caption_request = parse_request(CaptionRequest, body.fields)
    run = record_of(request).start_run(deadline_of(caption_request, resources))
    plan = await make_plan(caption_request, resources, run, upload=body.upload, provider_key=key)
    media_type = negotiate(request, responses.CAPTION_TYPES)
    if media_type == EVENTS:
        return EventStreamResponse(EventStream(plan, resources, run), run)
    caption = await until(disconnected(request.receive), caption_plan(plan, resources, run))
    if media_type == TEXT:  # one line, because training tools read one caption per line
        return PlainTextResponse(" ".join(caption.rendered.split()) + "\n")
    return to_json(caption)

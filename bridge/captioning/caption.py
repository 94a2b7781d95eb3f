"""Caption one image with one perspective. The caption validates against the perspective's schema."""

from dataclasses import fields

from bridge.captioning import prices, problems
from bridge.captioning.answers import Reading
from bridge.captioning.models import Caption, CaptionRequest, ErrorEvent, ImageOut, Result, UsageOut
from bridge.captioning.plan import Plan, make_plan, name_target
from bridge.captioning.request_image import RequestImage, loaded_image
from bridge.captioning.services import Services
from bridge.captioning.structured import StructuredOutput
from bridge.deadline import DeadlineExceeded
from bridge.dispatch.targets import Target
from bridge.images.prepare import Prepared
from bridge.run import Run
from perspectives import prompt
from perspectives.perspective import Perspective
from providers.base import Options, Usage, VisionRequest
from providers.errors import Blocked, Refused

DEFAULT_RETRIES = 2


async def caption(request: CaptionRequest, services: Services, run: Run, *, upload: bytes | None = None) -> Caption:
    """Caption one image. `upload`: the bytes of an uploaded image. Raises the errors in `bridge.errors.TABLE`."""
    return await caption_plan(await make_plan(request, services, run, upload=upload), services, run)


async def caption_plan(plan: Plan, services: Services, run: Run, image: RequestImage | None = None) -> Caption:
    """Caption one image as planned.

    `image`: an image that the caller has loaded and will release; None to load the image of the plan. The outcome is
    recorded in `run` and reported as an event. Raises the same errors as `caption`.
    """
    try:
        if image is not None:
            result = await _caption(plan, image, services, run)
        else:
            async with loaded_image(plan, services, run) as image:
                result = await _caption(plan, image, services, run)
    except Exception as error:
        record_failure(error, run)
        raise
    run.timings.stop()
    run.outcome = "ok"
    if run.emit is not None:
        run.emit(Result(id=run.id, perspective=run.perspective, caption=result))
    return result


def record_failure(error: Exception, run: Run) -> None:
    """Record the failure in `run`, and report the error as an event."""
    run.timings.stop()
    run.outcome = problems.code_of(error)
    if run.emit is not None:
        run.emit(ErrorEvent(id=run.id, perspective=run.perspective, problem=problems.report(error, run)))


async def _caption(plan: Plan, image: RequestImage, services: Services, run: Run) -> Caption:
    """Call the plan's targets in order until an answer is valid. Raise the last error if none is."""
    failure: Exception | None = None
    targets = list(plan.targets)
    while targets:
        target, *later = targets
        run.is_fallback = failure is not None
        try:
            answer, prepared = await _ask(plan, target, later, image, services, run)
            await prices.load(run.attempts.calls)
            return _to_caption(plan, target, answer, prepared, run)
        except problems.PROVIDER_ERRORS as error:
            failure = error  # raised below, so that the errors of later targets do not have it as their context
        except DeadlineExceeded:
            if failure is None:
                raise
            break  # report the earlier error, which is more useful
        while later and later[0].on == "refusal" and not isinstance(failure, Refused | Blocked):
            later.pop(0)
        targets = later if run.attempts.left > 0 else []
        if targets:
            run.reset("fallback", str(failure), target=targets[0].label)
    assert failure is not None
    raise failure


async def _ask(
    plan: Plan, target: Target, later: list[Target], image: RequestImage, services: Services, run: Run
) -> tuple[Reading, Prepared]:
    """Call `target`. Return its valid answer, and the image as it was prepared for this target."""
    name_target(run, target)
    run.has_fallback = any(target.on == "any" for target in later)
    # Keep one call for each target with `on="any"`, or one for all targets with "refusal".
    run.attempts.reserve = sum(target.on == "any" for target in later) or min(len(later), 1)
    async with run.deadline.within("preparing the image"):
        profile = await services.dispatcher.profile(target, run)
        with run.timings.measure("prepare"):
            prepared = await image.prepared(profile.image, statistics=target.config.kind == "builtin")
    request = _vision_request(plan, target, prepared, run)
    output = StructuredOutput(request, target, plan.perspective, services.dispatcher, run)
    retries = plan.options.max_output_retries
    with run.timings.measure("model"):
        answer = await output.generate(DEFAULT_RETRIES if retries is None else retries)
    run.stage("validate")
    return answer, prepared


def _vision_request(plan: Plan, target: Target, image: Prepared, run: Run) -> VisionRequest:
    """Build the provider request. The model sees the system message, the image, then the prompt with its contexts."""
    options, perspective = plan.options, plan.perspective
    return VisionRequest(
        model=target.model,
        prompt=plan.prompt,
        timeout=run.deadline.left(),
        image=image.image,
        system=(options.global_context or "").strip(),
        schema=perspective.json_schema,
        schema_name=perspective.name,
        options=Options(**{field.name: getattr(options, field.name) for field in fields(Options)}),
        image_is_shared=plan.image_is_shared,
    )


def _to_caption(plan: Plan, target: Target, answer: Reading, image: Prepared, run: Run) -> Caption:
    """Build the caption from a valid answer, with its rendered text, usage, timing and attempts."""
    assert answer.result is not None
    with run.timings.measure("render"):
        rendered = prompt.render_caption(plan.perspective, answer.result)
    last = run.attempts.calls[-1]
    run.model = last.response_model or target.model
    speed = {"tokens_per_second": round(last.tokens_per_second, 1)} if last.tokens_per_second else {}
    return Caption(
        perspective=plan.perspective.name,
        provider=target.label,
        model=run.model,
        result=answer.result,
        raw_text=answer.text,
        rendered=rendered,
        usage=usage_out(run.usage),
        cost=prices.cost(run.attempts.calls),
        timing={**run.timings.milliseconds(), **speed},
        image=ImageOut(
            width=image.image.width,
            height=image.image.height,
            media_type=image.image.media_type,
            bytes=len(image.image.data),
            actions=list(image.actions),
        ),
        attempts=problems.attempts(run),
        output_mode=last.output_mode,
        warnings=[*_deprecation(plan.perspective), *answer.warnings, *run.attempts.warnings],
        request_id=run.request_id,
    )


def usage_out(usage: Usage | None) -> UsageOut | None:
    """Return the token counts for a response, or None if no provider reported any."""
    if usage is None or usage == Usage():
        return None
    return UsageOut.model_validate(usage)


def _deprecation(perspective: Perspective) -> list[str]:
    """Return a list with a warning if the perspective is deprecated; otherwise, the list is empty."""
    if not perspective.deprecated:
        return []
    replacement = f" Use '{perspective.replacement}' instead." if perspective.replacement else ""
    return [f"The perspective '{perspective.name}' is deprecated.{replacement}"]

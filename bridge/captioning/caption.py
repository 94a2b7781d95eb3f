"""The story of a request: one image, one perspective, one model, one caption that fits."""

import re
from dataclasses import dataclass, replace

from bridge.captioning import ledger, report
from bridge.captioning.ladder import Ladder
from bridge.captioning.models import Caption, CaptionRequest
from bridge.captioning.pictures import Pictures, acquire
from bridge.captioning.plan import Plan, deadline, plan, require_one_image
from bridge.captioning.services import Services
from bridge.captioning.structured import Answer, ask_until_it_fits
from bridge.captioning.watch import Watch, watched
from bridge.deadline import Deadline, DeadlineExceeded
from bridge.dispatch.attempts import Calls, Line
from bridge.dispatch.endpoint import Endpoint
from bridge.dispatch.targets import Target
from bridge.errors import OutputInvalid, ProviderUnavailable
from bridge.images.prepare import Prepared
from bridge.telemetry import Stages, current
from perspectives import render
from providers.base import Complete, Options, VisionRequest
from providers.errors import Blocked, ProviderError, Refused

DEFAULT_RETRIES = 2
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


async def caption(
    request: CaptionRequest,
    services: Services,
    *,
    upload: bytes | None = None,
    provider_key: str = "",
    request_id: str = "",
) -> Caption:
    """Caption one image.

    `upload` is the image when its bytes came outside the request; `provider_key` the provider's key likewise.
    Raises the errors that `bridge.captioning.problems` lists.
    """
    settled = await plan(request.perspective, request, services, provider_key)
    require_one_image(request, upload)
    return await caption_planned(settled, upload, services, request_id)


async def caption_planned(
    settled: Plan,
    upload: bytes | None,
    services: Services,
    request_id: str = "",
    watch: Watch | None = None,
    calls: Calls | None = None,
) -> Caption:
    """Make the caption that was planned, telling `watch` of it; `calls` keeps what it costs, failed or not."""
    account = ledger.begin(settled, services.targets.configured)
    if request := current():
        request.stages = account.stages
    try:
        return await _made(settled, upload, services, request_id, watch or Watch(), calls or Calls())
    except Exception as error:
        if request:  # whose line tells of it and lets it go: its traceback holds the picture
            account.end(error)
        raise


async def _made(
    settled: Plan, upload: bytes | None, services: Services, request_id: str, watch: Watch, calls: Calls
) -> Caption:
    stages, until = settled.account.stages, deadline(settled.options, services)
    await watch.stage("image")
    with stages.measure("image"):
        async with until.within("fetching the image"):
            source = await acquire(settled.options, upload, services)
        settled.drop_image()
    pictures = Pictures(source, settled.options, services)
    work = Work(settled, pictures, calls, until, watch)
    return await carry_out(work, services, request_id)


@dataclass(frozen=True)
class Work:
    """A plan at work: its pictures, the calls it may make, its time, and who watches."""

    plan: Plan
    pictures: Pictures
    calls: Calls
    deadline: Deadline
    watch: Watch

    @property
    def stages(self) -> Stages:
        """Where its time goes, which its plan's account keeps."""
        return self.plan.account.stages


async def carry_out(work: Work, services: Services, request_id: str) -> Caption:
    """Ask until a target's answer fits, and write the caption."""
    target, answer, picture = await first_that_answers(work, services)
    with work.stages.measure("render"):
        rendered = render.caption(work.plan.perspective, answer.result)
    work.plan.account.answered = target.label, answer.model or target.model
    work.plan.account.end()
    return Caption(
        perspective=work.plan.perspective.name,
        provider=target.label,
        model=answer.model or target.model,
        result=answer.result,
        raw_text=answer.text,
        rendered=rendered,
        usage=report.usage(work.calls.usage),
        timing=work.stages.milliseconds(),
        image=report.image(picture),
        attempts=report.attempts(work.calls.made),
        output_mode=answer.output_mode,
        warnings=[*report.deprecation(work.plan.perspective), *work.calls.warnings],
        request_id=request_id,
    )


async def first_that_answers(work: Work, services: Services) -> tuple[Target, Answer, Prepared]:
    """Ask the targets in order until one gives an answer that fits; the last failure when none does."""
    failure: Exception | None = None
    targets = work.plan.targets
    try:
        for position, target in enumerate(targets, 1):
            if failure is not None and target.on == "refusal" and not isinstance(failure, Refused | Blocked):
                continue
            if work.calls.left < 1:
                break
            if failure is not None:
                await work.watch.instead(target.label, str(failure))
            try:
                return target, *await ask(target, targets[position:], work, services)
            except (ProviderError, OutputInvalid, ProviderUnavailable) as error:
                error.provider, error.attempts = target.label, work.calls.made
                failure = error
            except DeadlineExceeded as error:
                error.attempts = work.calls.made
                if failure is None:
                    raise
                break  # there was no time for a stand-in: what went wrong before says more
        assert failure is not None
        raise failure
    finally:
        failure = None  # its traceback holds this frame, and that the picture: nobody but gc would free them


def reserved(later: tuple[Target, ...]) -> int:
    """Calls to leave for later targets: one for each that stands in for anything, else one for refusals."""
    anything = sum(one.on == "any" for one in later)
    return anything or min(len(later), 1)


async def ask(target: Target, later: tuple[Target, ...], work: Work, services: Services) -> tuple[Answer, Prepared]:
    """Ask one target until its answer fits; leaves calls for the later ones."""
    with work.stages.measure("prepare"):
        async with work.deadline.within("preparing the image"):
            client = await services.clients.get(target)
            profile = client.profile(target.model).image
            picture = await work.pictures.prepared(profile, statistics=target.config.kind == "builtin")
    stands_in = target is not work.plan.targets[0]
    configured = services.targets.configured
    meter = ledger.Meter(work.plan.account, target, configured, services.settings.model, stands_in=stands_in)
    await work.watch.stage("model", target.model)
    retries = work.plan.options.max_output_retries
    line = line_to(target, later, work, services, meter)
    ladder = Ladder(client, work.calls)
    with work.stages.measure("model"), meter:
        answer = await ask_until_it_fits(
            line.ask,
            vision_request(target, work, picture),
            work.plan.perspective.compiled,
            DEFAULT_RETRIES if retries is None else retries,
            lambda: work.calls.left - reserved(later),
            ladder.lower,
            work.watch.again,
        )
    await work.watch.stage("validate")
    ladder.teach(services.clients, line.route.allowed, target.model)
    return replace(answer, output_mode=work.calls.made[-1].output_mode), picture


def line_to(target: Target, later: tuple[Target, ...], work: Work, services: Services, meter: ledger.Meter) -> Line:
    """The line to a target, each call on it metered and watched."""

    async def queued() -> None:
        meter.waits()
        await work.watch.stage("queued")

    async def at(endpoint: Endpoint) -> Complete:
        return meter.metered(watched(await services.clients.at(endpoint, target), work.watch), endpoint)

    return Line(
        provider=target.label,
        route=services.endpoints.route(target),
        at=at,
        calls=work.calls,
        deadline=work.deadline,
        timeout=services.settings.provider_timeout,
        reserve=reserved(later),
        spare=any(one.on == "any" for one in later),
        again=work.watch.again,
        queued=queued,
        mode=lambda endpoint: services.clients.mode(endpoint, target.model),
    )


def vision_request(target: Target, work: Work, picture: Prepared) -> VisionRequest:
    """The one order for every provider: system, then the image, then contexts and prompt."""
    options, perspective = work.plan.options, work.plan.perspective
    return VisionRequest(
        model=target.model,
        prompt=work.plan.prompt,
        timeout=work.deadline.left(),
        image=picture.image,
        system=(options.global_context or "").strip(),
        schema=perspective.json_schema,
        schema_name=_NOT_IN_A_NAME.sub("_", perspective.name)[:64],
        options=Options(
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            repetition_penalty=options.repetition_penalty,
            seed=options.seed,
        ),
        credentials=target.credentials,
    )

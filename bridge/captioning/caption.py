"""The story of a request: one image, one perspective, one model, one caption that fits."""

import asyncio
import re
from dataclasses import dataclass, replace

from bridge.captioning.errors import InvalidRequest
from bridge.captioning.resources import Resources
from bridge.captioning.structured import Answer, AnswerInvalid, ask_until_it_fits
from bridge.captioning.types import (
    Attempt,
    Caption,
    CaptionRequest,
    Fallback,
    ImageOut,
    ImageRef,
    UsageOut,
)
from bridge.deadline import Deadline
from bridge.dispatch.attempts import Calls, Line
from bridge.dispatch.targets import Target
from bridge.images import sources
from bridge.images.prepare import Prepared, prepare
from bridge.images.sources import Source
from bridge.telemetry import Stages
from perspectives import perspective as perspectives
from perspectives import render
from perspectives.perspective import Perspective
from providers.base import ImageProfile, Options, OutputMode, VisionRequest
from providers.errors import Blocked, ProviderError, Refused
from providers.usage import Usage

DEFAULT_RETRIES = 2
_QUICK = 1024 * 1024  # characters of base64 that are decoded in less time than a thread costs
_WORD_END = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


async def caption(
    request: CaptionRequest,
    resources: Resources,
    *,
    upload: bytes | None = None,
    provider_key: str = "",
    request_id: str = "",
) -> Caption:
    """Caption one image.

    `upload` is the image when its bytes came outside the request; `provider_key` the provider's key likewise.
    Raises the errors that `bridge.problems` lists.
    """
    stages = Stages()
    deadline = Deadline(min(request.timeout or resources.settings.timeout, resources.settings.timeout))
    perspective = find(request.perspective, resources)
    prompt = write_prompt(perspective, request)
    targets = settle(request, resources, provider_key)
    with stages.measure("image"):
        source = await acquire(request.image, upload, resources)
    work = Work(request, perspective, prompt, Pictures(source, request, resources), Calls(), deadline, stages)
    target, answer, picture = await first_that_answers(targets, work, resources)
    with stages.measure("render"):
        rendered = render.caption(perspective, answer.result)
    return Caption(
        perspective=perspective.name,
        provider=target.label,
        model=answer.model or target.model,
        result=answer.result,
        raw_text=answer.text,
        rendered=rendered,
        usage=usage_out(work.calls.usage),
        timing=stages.milliseconds(),
        image=image_out(picture),
        attempts=attempts_out(work.calls),
        output_mode=answer.output_mode,
        warnings=[*deprecation(perspective), *work.calls.warnings],
        request_id=request_id,
    )


@dataclass(frozen=True)
class Work:
    """What every target of one caption is given."""

    request: CaptionRequest
    perspective: Perspective
    prompt: str
    pictures: "Pictures"
    calls: Calls
    deadline: Deadline
    stages: Stages


class Pictures:
    """One source, prepared once for each distinct image profile that is asked for."""

    def __init__(self, source: Source, request: CaptionRequest, resources: Resources) -> None:
        self._source = source
        self._resize = request.resize_resolution
        self._limits = resources.limits
        self._prepared: dict[tuple[ImageProfile, bool], Prepared] = {}

    async def prepared(self, profile: ImageProfile, *, measure: bool) -> Prepared:
        """The picture as this profile wants it; measured as well where the provider reads measurements."""
        key = (profile, measure)
        if key not in self._prepared:
            self._prepared[key] = await prepare(
                self._source, profile, resize=self._resize, limits=self._limits, measure=measure
            )
        return self._prepared[key]


def find(wanted: str | dict[str, object], resources: Resources) -> Perspective:
    """The perspective of that name, or the one that came whole. Raises PerspectiveError."""
    return resources.catalog.get(wanted) if isinstance(wanted, str) else perspectives.parse(wanted)


def write_prompt(perspective: Perspective, request: CaptionRequest) -> str:
    """Each context in a tag of its own, then the perspective's prompt. Raises MissingVariables."""
    prompt = render.prompt(perspective, request.variables or {})
    contexts = [f"<context>\n{text.strip()}\n</context>" for text in request.context or [] if text.strip()]
    return "\n\n".join([*contexts, prompt])


def settle(request: CaptionRequest, resources: Resources, key: str) -> list[Target]:
    """The target that is asked and the ones that stand in for it. Raises DispatchError."""
    first = resources.targets.settle(request, key)
    return [first, *(_stand_in(one, resources) for one in request.fallbacks)]


def _stand_in(fallback: Fallback, resources: Resources) -> Target:
    return replace(resources.targets.settle(fallback), on=fallback.on)


async def acquire(ref: ImageRef | None, upload: bytes | None, resources: Resources) -> Source:
    """The picture's bytes, their header checked. Raises ImageError, or InvalidRequest unless there is one image."""
    given = [] if ref is None else [name for name in ("path", "url", "base64") if getattr(ref, name) is not None]
    if len(given) + (upload is not None) != 1:
        found = f"this request holds {' and '.join(given)}" if given else "this request holds none"
        raise InvalidRequest(
            f"Give one image: 'image' with exactly one of path, url and base64, or an uploaded part; {found}.",
            (("/image", "exactly one of path, url and base64"),),
        )
    limits = resources.limits
    if upload is not None:
        return sources.from_upload(upload, limits)
    assert ref is not None
    if ref.path is not None:
        return await sources.from_path(ref.path, resources.settings.workspace, limits)
    if ref.url is not None:
        return await sources.from_url(ref.url, resources.fetcher, limits)
    encoded = ref.base64 or ""
    if len(encoded) < _QUICK:
        return sources.from_base64(encoded, limits)
    return await asyncio.to_thread(sources.from_base64, encoded, limits)


async def first_that_answers(
    targets: list[Target], work: Work, resources: Resources
) -> tuple[Target, Answer, Prepared]:
    """Ask the targets in order until one gives an answer that fits; the last failure when none does."""
    failure: Exception | None = None
    for position, target in enumerate(targets):
        if failure is not None and target.on == "refusal" and not isinstance(failure, Refused | Blocked):
            continue
        if work.calls.left < 1:
            break
        try:
            return target, *await ask(target, len(targets) - position - 1, work, resources)
        except (ProviderError, AnswerInvalid) as error:
            error.provider = target.label
            failure = error
    assert failure is not None
    raise failure


async def ask(target: Target, reserve: int, work: Work, resources: Resources) -> tuple[Answer, Prepared]:
    """Ask one target until its answer fits; leaves `reserve` calls for the others."""
    client = await resources.clients.get(target)
    profile = client.profile(target.model).image
    with work.stages.measure("prepare"):
        picture = await work.pictures.prepared(profile, measure=target.config.kind == "builtin")
    line = Line(target.label, client.complete, work.calls, work.deadline, resources.settings.provider_timeout, reserve)
    first_mode = resources.clients.mode(target)
    with work.stages.measure("model"):
        answer = await ask_until_it_fits(
            line.ask,
            vision_request(target, work, picture, first_mode),
            work.perspective.compiled,
            DEFAULT_RETRIES if work.request.max_output_retries is None else work.request.max_output_retries,
            lambda: work.calls.left,
        )
    resources.clients.remember(target, answer.output_mode)
    return answer, picture


def vision_request(target: Target, work: Work, picture: Prepared, mode: OutputMode) -> VisionRequest:
    """The one order for every provider: system, then the image, then contexts and prompt."""
    request = work.request
    return VisionRequest(
        model=target.model,
        prompt=work.prompt,
        timeout=work.deadline.left(),
        image=picture.image,
        system=(request.global_context or "").strip(),
        schema=work.perspective.json_schema,
        schema_name=_NOT_IN_A_NAME.sub("_", work.perspective.name)[:64],
        output_mode=mode,
        options=Options(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            repetition_penalty=request.repetition_penalty,
            seed=request.seed,
        ),
        credentials=target.credentials,
    )


def usage_out(usage: Usage | None) -> UsageOut | None:
    """Usage as it is told; None stays None."""
    if usage is None or usage == Usage():
        return None
    return UsageOut(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cached_tokens=usage.cached_tokens
    )


def image_out(picture: Prepared) -> ImageOut:
    """The picture as it was sent."""
    image = picture.image
    return ImageOut(
        width=image.width,
        height=image.height,
        media_type=image.media_type,
        bytes=len(image.data),
        actions=list(picture.actions),
    )


def attempts_out(calls: Calls) -> list[Attempt]:
    """Every call that was made, in order."""
    return [
        Attempt(
            provider=call.provider,
            model=call.model,
            outcome="ok" if call.error is None else _WORD_END.sub("_", type(call.error).__name__).lower(),
            output_mode=call.output_mode,
            ms=round(call.ms, 1),
        )
        for call in calls.made
    ]


def deprecation(perspective: Perspective) -> list[str]:
    """What a user of an old perspective is told."""
    if not perspective.deprecated:
        return []
    instead = f" Use '{perspective.replacement}' instead." if perspective.replacement else ""
    return [f"The perspective '{perspective.name}' is deprecated.{instead}"]

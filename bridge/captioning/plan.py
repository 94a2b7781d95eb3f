"""Plan a request before any I/O: resolve its perspective, prompt and targets, and reject invalid requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bridge.captioning.models import AnalyzeRequest, CaptionOptions, CaptionRequest
from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.dispatch.targets import Target
from bridge.errors import InvalidRequest
from bridge.run import Run
from perspectives import perspective as perspectives
from perspectives import prompt
from perspectives.errors import UnknownVariables
from perspectives.perspective import Perspective
from providers.base import JsonObject


@dataclass(frozen=True)
class Plan:
    """The plan of one caption. `targets`: in the order of the calls. `image_is_shared`: other plans use the image."""

    options: CaptionOptions
    perspective: Perspective
    prompt: str
    targets: tuple[Target, ...]
    upload: bytes | None = None
    image_is_shared: bool = False

    @property
    def names(self) -> list[str]:
        """Return the name of the perspective in a list (see `AnalysisPlan.names`)."""
        return [self.perspective.name]


@dataclass(frozen=True)
class AnalysisPlan:
    """The plans of several captions of one image, in the request's order, and of the synthesizer, if any."""

    options: CaptionOptions
    plans: tuple[Plan, ...]
    synthesizer: Plan | None = None
    upload: bytes | None = None

    @property
    def names(self) -> list[str]:
        """Return the names of the perspectives, the synthesizer last. Each ends in a result or an error."""
        return [plan.perspective.name for plan in self.all_plans]

    @property
    def all_plans(self) -> tuple[Plan, ...]:
        return (*self.plans, *([self.synthesizer] if self.synthesizer else []))


def deadline_of(options: CaptionOptions, services: Services) -> Deadline:
    """Start the deadline of a request: its `timeout` or the service's, whichever is shorter."""
    limit = services.settings.timeout
    return Deadline(min(options.timeout or limit, limit))


async def make_plan(
    request: CaptionRequest, services: Services, run: Run, *, upload: bytes | None = None, provider_key: str = ""
) -> Plan:
    """Plan one caption, and record its perspective and target in `run`.

    `upload`: the bytes of an uploaded image. `provider_key`: a provider key that the request carries in a header.
    Raises InvalidRequest, PerspectiveError, DispatchError or UnknownKind.
    """
    (perspective,) = await find_perspectives([request.perspective], services, run)
    return plan_caption(perspective, request, services, run, upload=upload, provider_key=provider_key)


def plan_caption(
    perspective: Perspective,
    options: CaptionOptions,
    services: Services,
    run: Run,
    *,
    upload: bytes | None = None,
    provider_key: str = "",
) -> Plan:
    """Plan one caption with a known perspective. See `make_plan`."""
    run.perspective, run.perspective_label = perspective.name, label_of(perspective)
    prompt = render_prompt(perspective, options)
    targets = _targets(options, services, run, provider_key)
    _require_one_image(options, upload)
    name_target(run, targets[0])
    return Plan(options, perspective, prompt, targets, upload)


async def make_analysis_plan(
    request: AnalyzeRequest, services: Services, run: Run, *, upload: bytes | None = None, provider_key: str = ""
) -> AnalysisPlan:
    """Plan an analysis. Raises the errors of `make_plan`, and InvalidRequest if a perspective is repeated."""
    _require_one_image(request, upload)
    last = [] if request.synthesize is None else [request.synthesize]
    listed = await find_perspectives([*request.perspectives, *last], services, run)
    names = [perspective.name for perspective in listed]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        message = f"Each perspective may be named once. Repeated: {', '.join(repeated)}."
        raise InvalidRequest(message, (("/perspectives", "repeated"),))
    known = {variable.name for perspective in listed for variable in perspective.variables}
    if unknown := tuple(name for name in request.variables or () if name not in known):
        raise UnknownVariables(unknown, tuple(sorted(known)))
    targets = _targets(request, services, run, provider_key)
    plans = []
    for perspective in listed:  # mistakes of the synthesizer are reported now; its contexts are added later
        prompt = render_prompt(perspective, own_options(request, perspective))
        plans.append(Plan(request, perspective, prompt, targets, image_is_shared=len(listed) > 1))
    name_target(run, targets[0])
    synthesizer = plans.pop() if last else None
    return AnalysisPlan(request, tuple(plans), synthesizer, upload)


async def find_perspectives(references: Sequence[str | JsonObject], services: Services, run: Run) -> list[Perspective]:
    """Look up perspectives by name, and parse inline ones. Raises PerspectiveError and DeadlineExceeded."""
    async with run.deadline.within("reading the perspective"):
        return [
            services.catalog.get(each)
            if isinstance(each, str)
            else await asyncio.to_thread(perspectives.parse, each)  # a large schema takes 100 ms to compile
            for each in references
        ]


def label_of(perspective: Perspective) -> str:
    """Return the label of a perspective in metrics: its name, or `inline` if it came with the request."""
    return "inline" if perspective.source == "inline" else perspective.name


def own_options(options: CaptionOptions, perspective: Perspective) -> CaptionOptions:
    """Return the options with only those variables that the perspective has."""
    names = {variable.name for variable in perspective.variables}
    own = {name: value for name, value in (options.variables or {}).items() if name in names}
    return options.model_copy(update={"variables": own})


def render_prompt(perspective: Perspective, options: CaptionOptions) -> str:
    """Render the request's contexts, then the perspective's prompt. Raises MissingVariables or UnknownVariables."""
    return in_tags(options.context or []) + prompt.render(perspective, options.variables or {})


def in_tags(contexts: list[str]) -> str:
    """Enclose each text in a `<context>` tag. The result is put before a prompt."""
    return "".join(f"<context>\n{text.strip()}\n</context>\n\n" for text in contexts if text.strip())


def _targets(options: CaptionOptions, services: Services, run: Run, provider_key: str) -> tuple[Target, ...]:
    """Return the target and its fallbacks: those of the request, or the configured ones. Raises DispatchError."""
    run.provider_messages = services.settings.provider_messages
    target = services.targets.resolve(options, provider_key)
    if "fallbacks" not in options.model_fields_set:
        return (target, *services.targets.fallbacks(target))
    resolved = (replace(services.targets.resolve(fallback), on=fallback.on) for fallback in options.fallbacks)
    return (target, *resolved)


def name_target(run: Run, target: Target) -> None:
    """Record in `run` which target is called next."""
    run.provider, run.model = target.label, target.model
    run.provider_label = target.provider or target.config.kind


def _require_one_image(options: CaptionOptions, upload: bytes | None) -> None:
    """Raise InvalidRequest unless the request has exactly one image."""
    sources = [name for name, value in options.image or () if value is not None]
    if upload is not None:
        sources.append("an uploaded part")
    if len(sources) != 1:
        raise InvalidRequest(
            "A request has exactly one image: 'image' with one of path, url and base64, or an uploaded part. "
            f"This request has {' and '.join(sources) or 'none'}.",
            (("/image", "exactly one of path, url and base64"),),
        )

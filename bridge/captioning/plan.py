"""Plan a request before any I/O: resolve its perspective, prompt and targets, and reject invalid requests."""

import asyncio
from dataclasses import dataclass, replace

from bridge.captioning.models import AnalyzeRequest, CaptionOptions, CaptionRequest, Fallback, JsonObject
from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.dispatch.targets import Target
from bridge.errors import InvalidRequest
from bridge.run import Run
from perspectives import perspective as perspectives
from perspectives import prompt
from perspectives.errors import UnknownVariables
from perspectives.perspective import Perspective


@dataclass(frozen=True)
class Plan:
    """One caption to make: its perspective, its prompt, and its targets in the order in which they are called.

    `upload`: the bytes of an uploaded image. `image_is_shared`: other plans ask about the same image.
    """

    options: CaptionOptions
    perspective: Perspective
    prompt: str
    targets: tuple[Target, ...]
    upload: bytes | None = None
    image_is_shared: bool = False

    @property
    def names(self) -> list[str]:
        """Return the perspectives that end in a result or an error."""
        return [self.perspective.name]


@dataclass(frozen=True)
class AnalysisPlan:
    """Several captions of one image, in the order of the request, and the synthesizer, if any."""

    options: CaptionOptions
    plans: tuple[Plan, ...]
    synthesizer: Plan | None = None
    upload: bytes | None = None

    @property
    def names(self) -> list[str]:
        """Return the perspectives that end in a result or an error, the synthesizer last."""
        return [plan.perspective.name for plan in self.all_plans]

    @property
    def all_plans(self) -> tuple[Plan, ...]:
        """Return every plan, the synthesizer's last."""
        return (*self.plans, *([self.synthesizer] if self.synthesizer else []))


def deadline_of(options: CaptionOptions, services: Services) -> Deadline:
    """Return the deadline of a request, which begins now. Its own `timeout` can only shorten the service's."""
    limit = services.settings.timeout
    return Deadline(min(options.timeout or limit, limit))


async def make_plan(
    request: CaptionRequest, services: Services, run: Run, *, upload: bytes | None = None, provider_key: str = ""
) -> Plan:
    """Return the plan of one caption, and name it in `run`.

    `upload`: the bytes of an uploaded image. `provider_key`: a provider key that the request carries in a header.
    Raises InvalidRequest, PerspectiveError, DispatchError or UnknownKind.
    """
    perspective = await find_perspective(request.perspective, services)
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
    """Return the plan of one caption by this perspective, and name it in `run`. Raises as `make_plan` does."""
    run.perspective, run.perspective_label = perspective.name, label_of(perspective)
    prompt = render_prompt(perspective, options)
    targets = resolve_targets(options, services, provider_key)
    require_one_image(options, upload)
    name_target(run, targets[0])
    return Plan(options, perspective, prompt, targets, upload)


async def make_analysis_plan(
    request: AnalyzeRequest, services: Services, run: Run, *, upload: bytes | None = None, provider_key: str = ""
) -> AnalysisPlan:
    """Return the plans of an analysis. Raises as `make_plan` does, and InvalidRequest for a repeated name."""
    last = [] if request.synthesize is None else [request.synthesize]
    listed = [await find_perspective(each, services) for each in (*request.perspectives, *last)]
    _require_distinct([perspective.name for perspective in listed])
    _require_known_variables(request.variables or {}, listed)
    targets = resolve_targets(request, services, provider_key)
    # The synthesizer's contexts are known when the others are done; its own mistakes are reported now.
    shared = len(listed) > 1
    plans = tuple(
        Plan(request, each, render_prompt(each, _own_variables(each, request)), targets, image_is_shared=shared)
        for each in listed
    )
    require_one_image(request, upload)
    name_target(run, targets[0])
    return AnalysisPlan(request, plans[:-1] if last else plans, plans[-1] if last else None, upload)


def _require_distinct(names: list[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidRequest(
            f"Each perspective may be named once. Repeated: {', '.join(repeated)}.",
            (("/perspectives", "repeated"),),
        )


def _require_known_variables(variables: dict[str, str], listed: list[Perspective]) -> None:
    known = sorted({variable.name for perspective in listed for variable in perspective.variables})
    unknown = tuple(name for name in variables if name not in known)
    if unknown:
        raise UnknownVariables(unknown, tuple(known))


def _own_variables(perspective: Perspective, request: AnalyzeRequest) -> AnalyzeRequest:
    """Return the request with only the variables that this perspective declares."""
    names = {variable.name for variable in perspective.variables}
    own = {name: value for name, value in (request.variables or {}).items() if name in names}
    return request.model_copy(update={"variables": own})


async def find_perspective(perspective: str | JsonObject, services: Services) -> Perspective:
    """Return the perspective of this name, or the inline perspective. Raises PerspectiveError."""
    if isinstance(perspective, str):
        return services.catalog.get(perspective)
    return await asyncio.to_thread(perspectives.parse, perspective)  # a large schema takes 100 ms to compile


def label_of(perspective: Perspective) -> str:
    """Return the perspective's label in metrics: `inline` for every inline perspective."""
    return "inline" if perspective.source == "inline" else perspective.name


def render_prompt(perspective: Perspective, options: CaptionOptions) -> str:
    """Return the contexts, then the perspective's prompt. Raises MissingVariables or UnknownVariables."""
    return in_tags(options.context or []) + prompt.render(perspective, options.variables or {})


def in_tags(contexts: list[str]) -> str:
    """Return each text in a `<context>` tag, to be put before a prompt."""
    return "".join(f"<context>\n{text.strip()}\n</context>\n\n" for text in contexts if text.strip())


def resolve_targets(options: CaptionOptions, services: Services, provider_key: str = "") -> tuple[Target, ...]:
    """Return the target and its fallbacks. Raises DispatchError.

    The `fallbacks` of a request, even an empty list, replace the configured ones.
    """
    target = services.targets.resolve(options, provider_key)
    if "fallbacks" in options.model_fields_set:
        return (target, *(_fallback_target(fallback, services) for fallback in options.fallbacks))
    return (target, *services.targets.fallbacks(target))


def _fallback_target(fallback: Fallback, services: Services) -> Target:
    return replace(services.targets.resolve(fallback), on=fallback.on)


def name_target(run: Run, target: Target) -> None:
    """Record the target that is about to be called."""
    run.provider, run.model = target.label, target.model
    run.provider_label = target.provider or target.config.kind


def require_one_image(options: CaptionOptions, upload: bytes | None) -> None:
    """Raise InvalidRequest unless the request has exactly one image."""
    ref = options.image
    sources = [] if ref is None else [name for name in ("path", "url", "base64") if getattr(ref, name) is not None]
    if upload is not None:
        sources.append("an uploaded part")
    if len(sources) != 1:
        raise InvalidRequest(
            "A request has exactly one image: 'image' with one of path, url and base64, or an uploaded part. "
            f"This request has {' and '.join(sources) or 'none'}.",
            (("/image", "exactly one of path, url and base64"),),
        )

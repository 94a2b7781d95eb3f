"""Everything about a caption that can be settled, or refused, before any work is done."""

import asyncio
from dataclasses import dataclass, field, replace

from bridge.captioning.models import CaptionOptions, Fallback
from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.dispatch.targets import Target
from bridge.errors import InvalidRequest
from bridge.telemetry import Captioning, current
from perspectives import perspective as perspectives
from perspectives import prompt
from perspectives.perspective import Perspective

Wanted = str | dict[str, object]


@dataclass
class Plan:
    """One caption to be made, once: its perspective, what is asked, the targets to ask in order, and its account."""

    options: CaptionOptions
    perspective: Perspective
    prompt: str
    targets: tuple[Target, ...]
    account: Captioning = field(default_factory=Captioning)

    def drop_image(self) -> None:
        """Forget the image's base64 once its bytes are there: while a model is waited for it only takes memory."""
        self.options = self.options.model_copy(update={"image": None})


async def plan(wanted: Wanted, options: CaptionOptions, services: Services, provider_key: str = "") -> Plan:
    """Settle one caption. Raises PerspectiveError, DispatchError and UnknownKind; asks nobody."""
    perspective = await find(wanted, services)
    return Plan(options, perspective, write_prompt(perspective, options), settle(options, services, provider_key))


async def find(wanted: Wanted, services: Services) -> Perspective:
    """The perspective of that name, or the one that came whole. Raises PerspectiveError."""
    if isinstance(wanted, str):
        return services.catalog.get(wanted)
    return await asyncio.to_thread(perspectives.parse, wanted)  # a large schema takes some 100 ms to compile


def write_prompt(perspective: Perspective, options: CaptionOptions) -> str:
    """Each context in a tag of its own, then the perspective's prompt. Raises MissingVariables, UnknownVariables."""
    if account := current():
        account.perspective = counted(perspective)
    return in_tags(options.context or []) + prompt.render(perspective, options.variables or {})


def counted(perspective: Perspective) -> str:
    """The name under which it is counted: what callers bring along are many."""
    return "inline" if perspective.source == "inline" else perspective.name


def in_tags(contexts: list[str]) -> str:
    """Each text in a tag of its own, ready to stand before a prompt."""
    return "".join(f"<context>\n{text.strip()}\n</context>\n\n" for text in contexts if text.strip())


def settle(options: CaptionOptions, services: Services, key: str = "") -> tuple[Target, ...]:
    """The target that is asked and those that stand in for it. Raises DispatchError.

    The `fallbacks` of a request, even none, take the place of the configured ones.
    """
    target = services.targets.settle(options, key)
    if "fallbacks" in options.model_fields_set:
        return (target, *(_stand_in(one, services) for one in options.fallbacks))
    return (target, *services.targets.stand_ins(target))


def _stand_in(fallback: Fallback, services: Services) -> Target:
    return replace(services.targets.settle(fallback), on=fallback.on)


def deadline(options: CaptionOptions, services: Services) -> Deadline:
    """The request's own time, which can only shorten the service's."""
    longest = services.settings.timeout
    return Deadline(min(options.timeout or longest, longest))


def require_one_image(options: CaptionOptions, upload: bytes | None) -> None:
    """Raise InvalidRequest unless the request holds exactly one image."""
    ref = options.image
    given = [] if ref is None else [name for name in ("path", "url", "base64") if getattr(ref, name) is not None]
    if len(given) + (upload is not None) != 1:
        found = f"this request holds {' and '.join(given)}" if given else "this request holds none"
        raise InvalidRequest(
            f"Give one image: 'image' with exactly one of path, url and base64, or an uploaded part; {found}.",
            (("/image", "exactly one of path, url and base64"),),
        )

"""What is told of a finished caption beside its result."""

from collections.abc import Iterable

from bridge.captioning.models import Attempt, ImageOut, UsageOut
from bridge.dispatch.legacy.attempts import Call
from bridge.images.prepare import Prepared
from perspectives.perspective import Perspective
from providers.usage import Usage


def usage(spent: Usage | None) -> UsageOut | None:
    """Tokens; None when no provider told any."""
    if spent is None or spent == Usage():
        return None
    return UsageOut(
        input_tokens=spent.input_tokens, output_tokens=spent.output_tokens, cached_tokens=spent.cached_tokens
    )


def image(picture: Prepared) -> ImageOut:
    """The picture as it was sent."""
    sent = picture.image
    return ImageOut(
        width=sent.width,
        height=sent.height,
        media_type=sent.media_type,
        bytes=len(sent.data),
        actions=list(picture.actions),
    )


def attempts(made: Iterable[Call]) -> list[Attempt]:
    """Every call that was made, in order."""
    return [
        Attempt(
            provider=call.provider,
            endpoint=call.endpoint,
            model=call.model,
            outcome=call.outcome,
            output_mode=call.output_mode,
            ms=round(call.ms, 1),
        )
        for call in made
    ]


def deprecation(perspective: Perspective) -> list[str]:
    """What a user of an old perspective is told."""
    if not perspective.deprecated:
        return []
    instead = f" Use '{perspective.replacement}' instead." if perspective.replacement else ""
    return [f"The perspective '{perspective.name}' is deprecated.{instead}"]

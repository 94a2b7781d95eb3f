"""Token counts of provider calls."""

from dataclasses import dataclass

_PLAUSIBLE = 10**9  # tokens of one call; larger counts are ignored


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one or more calls. A count is None if the provider did not report it for every call.

    In a sum of `cached_tokens`, None counts as 0, because providers report cached tokens only if there are any.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        cached = [count for count in (self.cached_tokens, other.cached_tokens) if count is not None]
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            sum(cached) if cached else None,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def usage_of(*counts: int | None) -> Usage | None:
    """Return the usage for the input, output and cached tokens. Return None for zeros, which some servers report."""
    plausible = [None if count is None or not 0 <= count <= _PLAUSIBLE else count for count in counts]
    return Usage(*plausible) if any(plausible[:2]) else None

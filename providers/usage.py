"""What a call cost, in tokens."""

from dataclasses import dataclass


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _sum_told(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else a + b


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more calls; None where the provider did not tell.

    A sum with an unknown part is unknown; cached tokens are told only where there were any.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            _sum_told(self.cached_tokens, other.cached_tokens),
        )


_MOST = 10**9  # tokens of one call; a provider that tells more is not believed


def counted(input_tokens: int | None, output_tokens: int | None, cached_tokens: int | None = None) -> Usage | None:
    """A server's counts as Usage, None if it does not know: some send zeros then (measured), or less."""
    told = [
        None if count is None or not 0 <= count <= _MOST else count
        for count in (input_tokens, output_tokens, cached_tokens)
    ]
    return Usage(*told) if told[0] or told[1] else None

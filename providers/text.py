"""The text of an answer: valid characters, bounded length, no runaway white space."""

from providers.errors import BadReply, Truncated, WhitespaceRunaway
from providers.hints import RateHints
from providers.usage import Usage

MAX_CHARACTERS = 1024 * 1024
WHITESPACE_RUN = 256
"""Characters of white space in a row after which a stream is cancelled. Indented JSON of depth 32 has 128 at most.

vLLM with xgrammar at temperature 0 writes white space until the token limit (measured with vLLM 0.32).
"""
WHITESPACE_TAIL = 32
"""Characters of white space at the end of a truncated answer that make it a runaway: the token limit came first."""


class AnswerText:
    """The text of one answer, received complete or in pieces, and the usage reported so far."""

    def __init__(self, title: str, *, streamed: bool) -> None:
        """`title`: the provider's name in error messages."""
        self._title = title
        self._streamed = streamed
        self._pieces: list[str] = []
        self._length = 0
        self._half = ""
        self._blank = 0
        self.usage: Usage | None = None

    def add(self, piece: str) -> str:
        """Append a piece and return it without a trailing half of a surrogate pair.

        JSON can escape half a surrogate pair: halves in consecutive pieces are joined, a lone half is replaced.
        Raises BadReply for a text that is too long, WhitespaceRunaway for a stream of white space.
        """
        piece = self._half + piece
        self._half = piece[-1] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        piece = whole_characters(piece.removesuffix(self._half))
        self._length += len(piece)
        if self._length > MAX_CHARACTERS:
            raise BadReply(f"The answer of {self._title} is too long: more than {MAX_CHARACTERS} characters.")
        self._pieces.append(piece)
        blank = len(piece) - len(piece.rstrip())
        self._blank = self._blank + blank if blank == len(piece) else blank
        if self._streamed and self._blank > WHITESPACE_RUN:
            raise _runaway("the call was cancelled", self.usage)
        return piece

    def __str__(self) -> str:
        return "".join(self._pieces)


def truncation(
    text: str, usage: Usage | None, remedy: str = "Raise max_tokens.", *, rate: RateHints | None = None
) -> Truncated:
    """Return the error for an answer that ended at the token limit."""
    if len(text) - len(text.rstrip()) >= WHITESPACE_TAIL:
        return _runaway("it reached the token limit", usage, rate)
    return Truncated(f"The answer reached the token limit before it was complete. {remedy}", usage=usage, rate=rate)


def _runaway(end: str, usage: Usage | None, rate: RateHints | None = None) -> WhitespaceRunaway:
    return WhitespaceRunaway(
        f"The model wrote white space until {end}. Set a temperature of 0.2 or more, or use another model.",
        usage=usage,
        rate=rate,
    )


def whole_characters(text: str) -> str:
    """Return the text with every lone surrogate replaced: UTF-8 cannot encode one."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

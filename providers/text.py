"""Collect the text of an answer, limit its length, and detect endless white space."""

from providers.errors import BadReply, Truncated, WhitespaceRunaway
from providers.hints import RateHints
from providers.usage import Usage

MAX_CHARACTERS = 1024 * 1024
WHITESPACE_RUN = 256
"""Consecutive white-space characters after which a stream is cancelled. Indented JSON of depth 32 has at most 128.

vLLM with xgrammar at temperature 0 writes white space until the token limit (measured with vLLM 0.32).
"""
WHITESPACE_TAIL = 32
"""White-space characters at the end of a truncated answer from which it counts as a WhitespaceRunaway."""


class AnswerText:
    """The text of one answer, received in one or more pieces, and the usage reported so far."""

    def __init__(self, title: str, *, streamed: bool) -> None:
        """`title`: the provider's name in error messages. `streamed`: raise on endless white space."""
        self._title = title
        self._streamed = streamed
        self._pieces: list[str] = []
        self._length = 0
        self._half = ""
        self._blank = 0
        self.usage: Usage | None = None

    def add(self, piece: str) -> str:
        """Append a piece of text, and return the text to pass on.

        JSON escapes may split a surrogate pair between two pieces. A trailing half is kept for the next piece, and a
        half without its counterpart is replaced. Raises BadReply if the text is too long, and WhitespaceRunaway if a
        stream contains too much consecutive white space.
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
    """Return the error for an answer that ended at the token limit. `remedy`: a sentence of advice for the message."""
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
    """Replace every lone surrogate in the text, because UTF-8 cannot encode them."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

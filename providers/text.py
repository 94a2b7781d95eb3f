"""Collect an answer, limit the length of its text, and detect endless white space."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from providers.base import Completion, Model, Spec, Usage, VisionRequest
from providers.errors import BadReply, ProviderError, Truncated, WhitespaceRunaway
from providers.hints import RateHints

MAX_CHARACTERS = 1024 * 1024
# vLLM with xgrammar at temperature 0 writes white space until the token limit (measured with vLLM 0.32).
WHITESPACE_RUN = 256  # white-space characters that end a stream. Indented JSON of depth 32 has at most 128
WHITESPACE_TAIL = 32  # a truncated answer that ends in this many white-space characters counts as a WhitespaceRunaway
_RUNAWAY = "The model wrote white space until {}. Use another model, or a temperature of 0.2 or more if it accepts one."


class AnswerText:
    """The text of one answer, received in one or more pieces, and the usage reported so far."""

    def __init__(self, title: str, *, streamed: bool) -> None:
        """`title`: the provider's name in messages. `streamed`: whether endless white space raises an error."""
        self._title = title
        self._streamed = streamed
        self._pieces: list[str] = []
        self._length = 0
        self._half = ""
        self._blank = 0
        self.usage: Usage | None = None

    def add(self, piece: str) -> str:
        """Append a piece of text, and return the text for the caller. Raises BadReply and WhitespaceRunaway.

        Half of a surrogate pair at the end is kept for the next piece. An unpaired half is replaced.
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
            raise WhitespaceRunaway(_RUNAWAY.format("the call was cancelled"), usage=self.usage)
        return piece

    def __str__(self) -> str:
        return "".join(self._pieces)


def whole_characters(text: str) -> str:
    """Replace every lone surrogate in the text, because UTF-8 cannot encode them."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object of a response unchanged, and an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def model_of(name: str, title: str = "") -> Model:
    """Return the model with this name. `title`: the model's display name, "" if unknown."""
    return Model(whole_characters(name), whole_characters(title or name))


class Answer(ABC):
    """Base class of an answer, which is collected from one response or from the events of a stream.

    `streamed`: whether the response is a stream. `finish`: the finish reason, "" until the server sends it. `rate`: the
    rate limits in the response's headers. `tokens_per_second`: the speed that the server reports.
    """

    def __init__(self, spec: Spec, request: VisionRequest, *, streamed: bool) -> None:
        self.streamed = streamed
        self.finish = ""
        self.rate: RateHints | None = None
        self.tokens_per_second: float | None = None
        self._spec = spec
        self._request = request
        self._text = AnswerText(spec.title, streamed=streamed)
        self._model = ""
        self._tool_called = False

    def __str__(self) -> str:
        return str(self._text)

    @abstractmethod
    def read(self, response: Any) -> str:
        """Read the response, or one event of a stream, and return its text."""

    @abstractmethod
    def _failure(self) -> ProviderError | None:
        """Return the error for the finish reason, or None if the answer is complete."""

    def _warnings(self) -> tuple[str, ...]:
        return self._spec.unsupported(self._request.options)

    def completion(self) -> Completion:
        """Return the Completion, or raise the error for the finish reason."""
        text = str(self)
        failure = self._failure()
        if failure is None and not text.strip():
            cause = "called a tool that was not offered" if self._tool_called else "sent an empty answer"
            failure = self._error(BadReply, f"{self._spec.title} {cause}.")
        if failure is not None:
            raise failure
        model, usage = self._model or self._request.model, self._text.usage
        return Completion(text, model, usage, self._warnings(), self.rate, self.tokens_per_second)

    def _unfinished(self) -> ProviderError:
        return self._error(BadReply, f"{self._spec.title} ended its answer before it was complete.")

    def _truncated(self, remedy: str) -> ProviderError:
        text = str(self)
        if len(text) - len(text.rstrip()) >= WHITESPACE_TAIL:
            return self._error(WhitespaceRunaway, _RUNAWAY.format("it reached the token limit"))
        return self._error(Truncated, f"The answer reached the token limit before it was complete. {remedy}")

    def _error(self, error: type[ProviderError], message: str) -> ProviderError:
        return error(message, usage=self._text.usage, rate=self.rate)

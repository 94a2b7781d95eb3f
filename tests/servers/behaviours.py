"""What a scripted server does with its next call: one small value each, the same for every protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


class Behaviour:
    """Base class of the behaviours."""


@dataclass(frozen=True)
class Answer(Behaviour):
    """A whole answer. Without `content`: a minimal instance of the schema that came, else a plain sentence.

    `content`: text, or an object that is sent as JSON. `pieces`: how many deltas when streamed. `thinking`:
    what a reasoning model says beside its answer. `model`: who claims to answer (default: as asked). `usage`:
    whether the tokens are told.
    """

    content: Any = None
    pieces: int = 5
    thinking: str = ""
    model: str = ""
    usage: Literal["told", "absent"] = "told"


@dataclass(frozen=True)
class InvalidJson(Answer):
    """An answer that is no JSON, although a schema was asked for."""

    content: Any = '{"caption": "a cat on a '


@dataclass(frozen=True)
class WrongSchema(Answer):
    """Well-formed JSON that fits no sensible schema."""

    content: Any = field(default_factory=lambda: {"unexpected": True})


@dataclass(frozen=True)
class Refusal(Behaviour):
    """The model declines: in `refusal` where the protocol has it, else in plain words."""

    text: str = "I'm sorry, I can't help with that picture."


@dataclass(frozen=True)
class SafetyBlock(Behaviour):
    """A safety system stops the prompt, or the answer after some of it was written."""

    where: Literal["prompt", "answer"] = "prompt"


@dataclass(frozen=True)
class Length(Behaviour):
    """The answer ends at the token limit."""

    text: str = '{"caption": "a very long'


@dataclass(frozen=True)
class EmptyChoices(Behaviour):
    """A 200 without any answer in it."""


@dataclass(frozen=True)
class ToolCall(Behaviour):
    """A call of a tool nobody offered, in place of text."""


@dataclass(frozen=True)
class ErrorInStream(Behaviour):
    """An error object inside a 200: after `text` when streamed, as the body when not. `code`: where one is told."""

    message: str = "The model runner has stopped."
    text: str = "A pic"
    code: int = 500


@dataclass(frozen=True)
class Unfinished(Behaviour):
    """A stream that ends cleanly after `text`, without a stop reason and without the end mark."""

    text: str = "A pic"


@dataclass(frozen=True)
class Events(Behaviour):
    """The reply `of`, its events told oddly when streamed: proxies repeat, reorder and pad them."""

    how: Literal["without end mark", "end mark twice", "with blanks", "the last again"]
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Status(Behaviour):
    """An HTTP error in the protocol's own shape, unless `body` says otherwise.

    `retry_after`: seconds to wait, told in the protocol's own way (header, or RetryInfo in the body).
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    retry_after: float | None = None
    message: str = "The server could not do that."


@dataclass(frozen=True)
class Echo(Behaviour):
    """An HTTP error whose message repeats a part of the request; the body holds the image."""

    part: Literal["headers", "prompt", "body"]
    code: int = 500


@dataclass(frozen=True)
class RejectSchema(Behaviour):
    """A 400 that blames the schema."""


@dataclass(frozen=True)
class TooLong(Behaviour):
    """The refusal of a prompt that does not fit the context."""


@dataclass(frozen=True)
class NoCredit(Behaviour):
    """The account behind the key is out of credit, told as the provider tells it."""


@dataclass(frozen=True)
class Hang(Behaviour):
    """No further byte of the reply `of` until the server stops: after the request, the head, or the first piece."""

    after: Literal["connect", "headers", "first"] = "headers"
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Hold(Behaviour):
    """Answer only once `server.release()` was called."""

    then: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Drip(Behaviour):
    """The reply `of` in pieces of `size` bytes, `interval` seconds apart."""

    interval: float = 0.02
    size: int = 1
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Cut(Behaviour):
    """The reply's body breaks off after so many bytes (default: half of it) and the connection is closed."""

    after_bytes: int | None = None
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Reset(Behaviour):
    """The connection is reset (RST) instead of answered."""


@dataclass(frozen=True)
class InvalidUtf8(Behaviour):
    """An answer with bytes in it that are not UTF-8, or that escape what UTF-8 cannot hold."""

    raw: bytes = b"\xe9\xff"


@dataclass(frozen=True)
class Huge(Behaviour):
    """An answer of so many bytes in one event, made while it is sent."""

    bytes: int = 100 * 1024 * 1024


@dataclass(frozen=True)
class Compressed(Behaviour):
    """A compressed answer although none was asked for: a few kilobytes that unpack to `bytes`."""

    bytes: int = 20 * 1024 * 1024


@dataclass(frozen=True)
class Redirect(Behaviour):
    """A 307 to another address."""

    url: str


@dataclass(frozen=True)
class Raw(Behaviour):
    """A 200 with exactly this body."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class NotJson(Behaviour):
    """A page for people instead of an answer, as a proxy or a captive portal sends it."""

    html: str = "<html><body><h1>Welcome to nginx!</h1></body></html>"

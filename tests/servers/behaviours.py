"""The behaviours of a scripted server: how it answers its next call, independent of the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


class Behaviour:
    """Base class of the behaviours."""


@dataclass(frozen=True)
class Answer(Behaviour):
    """Return a complete answer. Default: a minimal instance of the requested schema, or a plain sentence.

    `content`: text, or an object that is sent as JSON. `pieces`: number of deltas in a stream. `thinking`:
    reasoning text that accompanies the answer. `model`: model name in the response (default: the requested one).
    `usage`: whether the response contains token counts.
    """

    content: Any = None
    pieces: int = 5
    thinking: str = ""
    model: str = ""
    usage: Literal["present", "absent"] = "present"


@dataclass(frozen=True)
class InvalidJson(Answer):
    """Return an answer that is not valid JSON, although a schema was requested."""

    content: Any = '{"caption": "a cat on a '


@dataclass(frozen=True)
class WrongSchema(Answer):
    """Return valid JSON that fails schema validation."""

    content: Any = field(default_factory=lambda: {"unexpected": True})


@dataclass(frozen=True)
class Refusal(Behaviour):
    """Refuse: in the field `refusal` if the protocol has one, otherwise as plain text."""

    text: str = "I'm sorry, I can't help with that picture."


@dataclass(frozen=True)
class SafetyBlock(Behaviour):
    """Block the prompt with a safety system, or block the answer after part of it was sent."""

    where: Literal["prompt", "answer"] = "prompt"


@dataclass(frozen=True)
class Length(Behaviour):
    """Stop the answer at the token limit."""

    text: str = '{"caption": "a very long'


@dataclass(frozen=True)
class EmptyChoices(Behaviour):
    """Return a 200 without an answer."""


@dataclass(frozen=True)
class ToolCall(Behaviour):
    """Return a call of a tool that the request does not declare, instead of text."""


@dataclass(frozen=True)
class ErrorInStream(Behaviour):
    """Return an error object in a 200: after `text` in a stream, otherwise as the body. `code`: its error code."""

    message: str = "The model runner has stopped."
    text: str = "A pic"
    code: int = 500


@dataclass(frozen=True)
class Unfinished(Behaviour):
    """End a stream cleanly after `text`, without a stop reason and without the end marker."""

    text: str = "A pic"


@dataclass(frozen=True)
class Events(Behaviour):
    """Return the response `of`; in a stream, repeat, omit or pad events, as proxies do."""

    how: Literal["without end mark", "end mark twice", "with blanks", "the last again"]
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Status(Behaviour):
    """Return an HTTP error in the format of the protocol, or with `body`.

    `retry_after`: seconds to wait, sent as the protocol defines it (header, or RetryInfo in the body).
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    retry_after: float | None = None
    message: str = "The server could not do that."


@dataclass(frozen=True)
class Echo(Behaviour):
    """Return an HTTP error whose message repeats a part of the request; the body contains the image."""

    part: Literal["headers", "prompt", "body"]
    code: int = 500


@dataclass(frozen=True)
class RejectSchema(Behaviour):
    """Reject the schema with a 400."""


@dataclass(frozen=True)
class TooLong(Behaviour):
    """Reject a prompt that exceeds the context length."""


@dataclass(frozen=True)
class NoCredit(Behaviour):
    """Return the provider's error for an account without credit."""


@dataclass(frozen=True)
class Hang(Behaviour):
    """No further byte of the reply `of` until the server stops: after the request, the head, or the first piece."""

    after: Literal["connect", "headers", "first"] = "headers"
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Hold(Behaviour):
    """Answer after `server.release()` is called."""

    then: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Drip(Behaviour):
    """Send the response `of` in pieces of `size` bytes, `interval` seconds apart."""

    interval: float = 0.02
    size: int = 1
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Cut(Behaviour):
    """Close the connection after `after_bytes` of the body (default: half of it)."""

    after_bytes: int | None = None
    of: Any = field(default_factory=Answer)


@dataclass(frozen=True)
class Reset(Behaviour):
    """Reset the connection (RST) instead of answering."""


@dataclass(frozen=True)
class InvalidUtf8(Behaviour):
    """Return an answer with bytes that are not valid UTF-8, or with an escaped surrogate."""

    raw: bytes = b"\xe9\xff"


@dataclass(frozen=True)
class Huge(Behaviour):
    """Return an answer of `bytes` bytes in one event, generated while it is sent."""

    bytes: int = 100 * 1024 * 1024


@dataclass(frozen=True)
class Compressed(Behaviour):
    """Return a compressed answer that the client did not request: a few kilobytes that decompress to `bytes` bytes."""

    bytes: int = 20 * 1024 * 1024


@dataclass(frozen=True)
class Redirect(Behaviour):
    """Redirect to `url` with a 307."""

    url: str


@dataclass(frozen=True)
class Raw(Behaviour):
    """Return a 200 with exactly this body."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class NotJson(Behaviour):
    """Return an HTML page instead of an answer, as a proxy or captive portal does."""

    html: str = "<html><body><h1>Welcome to nginx!</h1></body></html>"

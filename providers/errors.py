"""Exceptions of a provider call, as seen by the caller of a `BaseClient`. All are ProviderErrors but UnknownKind.

Messages are sentences for a person and never hold an upstream body, a key or a prompt. The provider's own words are
in `provider_message`, sanitised.
"""

from collections.abc import Sequence

from providers.hints import RateHints
from providers.usage import Usage


class ProviderError(Exception):
    """A provider call failed. `status` is the HTTP status of the response, if there was one.

    `provider`, `attempts`: the target's label and the calls of the request, set by the dispatcher.
    `begun`: part of the answer was received before the failure. `rate`: the rate limits in the response's headers.
    `provider_message`: the provider's own words, one line of at most 300 characters, keys and prompt removed.
    """

    provider: str | None = None
    attempts: Sequence[object] = ()
    begun: bool = False
    provider_message: str = ""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: Usage | None = None,
        rate: RateHints | None = None,
    ) -> None:
        """`retry_after`: seconds to wait before a retry. `usage`: tokens of the failed call, if reported."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        self.rate = rate


class AuthFailed(ProviderError):
    """401, 403, or a text that says so: the key is missing, invalid or not allowed."""


class QuotaExceeded(ProviderError):
    """402, or a 429 that says so: the account has no credit left."""


class RateLimited(ProviderError):
    """429: too many requests or tokens per minute."""


class UnknownModel(ProviderError):
    """The server does not serve this model."""


class ModelWithoutVision(ProviderError):
    """The model takes no images."""


class ImageRejected(ProviderError):
    """The server cannot process this image: its format, size or aspect ratio."""


class WrongPath(ProviderError):
    """404 that is not about the model, 405, or a redirect: the base URL is not this protocol's."""


class ContextTooLong(ProviderError):
    """Prompt and image exceed the model's context."""


class SchemaRejected(ProviderError):
    """The server rejected the schema or the output mode.

    `explained` is False for a 400 or 422 without a known cause to a request with a schema: it may be about the
    schema. One step down the output modes is worth one call, a second step is not.
    """

    explained: bool = True


class RequestRejected(ProviderError):
    """Any other 4xx: a retry would fail too."""


class InvalidOption(RequestRejected):
    """An option has a value that the model or the server does not accept."""


class SchemaNotFillable(RequestRejected):
    """The built-in provider knows no valid value for the field at `pointer`."""

    def __init__(self, pointer: str) -> None:
        super().__init__(
            f"The built-in provider cannot produce a value for the field '{pointer or '/'}'. "
            "Simplify its schema, or choose a vision model."
        )
        self.pointer = pointer


class Unreachable(ProviderError):
    """No connection to the server: refused, DNS, TLS, or lost before a response."""


class CallTimeout(ProviderError):
    """Connected, but no complete response in time."""


class Unavailable(ProviderError):
    """408, 503, 529: the server cannot respond now."""


class ServerFailed(ProviderError):
    """Any other 5xx.

    `may_be_schema`: a 500 without a known cause to a request with a schema. One step down the output modes may
    avoid it.
    """

    may_be_schema: bool = False


class BadReply(ProviderError):
    """The response is not an answer in this protocol: not JSON, too large, or an error inside a 200."""


class ResponseInterrupted(BadReply):
    """The connection was lost in the middle of the response body."""


class UnparsableOutput(ProviderError):
    """The server could not parse what the model wrote. `raw_text` is that text, "" if the server does not report it."""

    raw_text: str = ""


class Refused(ProviderError):
    """The model declined to describe the image."""


class Blocked(ProviderError):
    """A safety filter of the provider stopped the request or the answer."""


class Truncated(ProviderError):
    """The answer ended at the token limit."""


class WhitespaceRunaway(Truncated):
    """The model wrote white space without end, a known failure of constrained decoding at temperature 0."""


class UnknownKind(LookupError):
    """No client exists for this kind of provider. `known`: the kinds that exist."""

    def __init__(self, kind: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{kind!r} is not a kind of provider. Known kinds: {', '.join(known)}.")
        self.kind = kind
        self.known = known

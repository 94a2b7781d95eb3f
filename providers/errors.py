"""Exceptions that provider calls raise. Their messages never contain a response body, a key or a prompt."""

from providers.base import Usage
from providers.hints import RateHints


class ProviderError(Exception):
    """A provider call failed. `status` is the HTTP status of the response, None if there was no response.

    `retry_after`: seconds to wait before a retry. `usage`: tokens of the failed call, None if unknown. `rate`: the rate
    limits in the response's headers. `begun`: a part of the answer was received. `may_be_schema`: a less strict output
    mode may succeed.
    """

    begun = False
    provider_message = ""
    may_be_schema = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: Usage | None = None,
        rate: RateHints | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.usage = usage
        self.rate = rate

    def describe(self, *, show_provider_message: bool) -> str:
        """Return the message, followed by the provider's message if there is one and it may be shown."""
        shown = show_provider_message and self.provider_message
        return f'{self.message} The provider\'s message: "{self.provider_message}".' if shown else self.message


class AuthFailed(ProviderError):
    """The key is missing, invalid or not allowed: status 401 or 403, or a text that says so."""


class QuotaExceeded(ProviderError):
    """The account has no credit left: status 402, or status 429 with a text that says so."""


class RateLimited(ProviderError):
    """Too many requests or tokens per minute: status 429."""


class UnknownModel(ProviderError):
    """The server does not serve this model."""


class ModelWithoutVision(ProviderError):
    """The model does not accept images."""


class ImageRejected(ProviderError):
    """The server cannot process this image, because of its format, size or aspect ratio."""


class WrongPath(ProviderError):
    """The path of the base URL is wrong: a redirect, status 405, or status 404 that does not concern the model."""


class ContextTooLong(ProviderError):
    """The prompt and the image exceed the model's context."""


class SchemaRejected(ProviderError):
    """The server rejected the schema or the output mode. `explained` is False if the response does not say so."""

    explained = True
    may_be_schema = True


class RequestRejected(ProviderError):
    """The server responded with any other status 4xx. A retry would fail too."""


class InvalidOption(RequestRejected):
    """An option has a value that the model or the server does not accept."""


class SchemaNotFillable(RequestRejected):
    """The built-in provider finds no valid value for a field."""


class Unreachable(ProviderError):
    """The connection could not be opened (refused, DNS, TLS), or was lost before the response."""


class CallTimeout(ProviderError):
    """The connection was opened, but no complete response arrived in time."""


class Unavailable(ProviderError):
    """The server is temporarily unable to respond: status 408, 503 or 529."""


class EngineFailed(Unavailable):
    """The embedded engine cannot start or has died. The message states the cause and the remedy."""


class ServerFailed(ProviderError):
    """Any other status 5xx. The schema may be the cause of an unexplained 500."""


class BadReply(ProviderError):
    """The response is not a valid answer: not JSON, too large, or an error in a response with status 200."""


class ResponseInterrupted(BadReply):
    """The connection was lost in the middle of the response body."""


class UnparsableOutput(ProviderError):
    """The server could not parse the model's output. `raw_text`: that output, "" if the server does not report it."""

    raw_text = ""


class Refused(ProviderError):
    """The model declined to describe the image."""


class Blocked(ProviderError):
    """A safety filter of the provider stopped the request or the answer."""


class Truncated(ProviderError):
    """The answer ended at the token limit."""


class WhitespaceRunaway(Truncated):
    """The model wrote endless white space, as some models do at temperature 0 if the server enforces a schema."""


class UnknownKind(LookupError):
    """The kind of provider is unknown."""

    def __init__(self, kind: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{kind!r} is not a kind of provider. Known kinds: {', '.join(known)}.")

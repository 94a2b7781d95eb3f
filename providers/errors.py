"""Everything a provider can do wrong, as seen by the caller of a `BaseClient`.

    ProviderError                what every client raises, and nothing else
    ├── AuthFailed               401, 403: the key is missing, wrong or not allowed
    ├── QuotaExceeded            402, or a 429 that says the account is out of credit
    ├── RateLimited              429: wait `retry_after` seconds
    ├── UnknownModel             the server does not serve this model
    ├── WrongPath                404 that is not about the model: the base URL is not this protocol's
    ├── ContextTooLong           prompt and image do not fit the model's context
    ├── SchemaRejected           400/422 that a simpler output mode may cure
    ├── RequestRejected          any other 4xx: the same call would fail again
    │   └── SchemaNotFillable    the built-in provider knows no value for a field of the schema
    ├── Unreachable              no connection: refused, DNS, TLS, cut before an answer
    ├── CallTimeout              connected, but no whole answer within the call's time
    ├── Unavailable              408, 503, 529: the server is there and cannot answer now
    ├── ServerFailed             any other 5xx: the server broke on this call
    ├── BadReply                 the reply is not this protocol's: not JSON, cut, too large, an error inside a 200
    ├── Refused                  the model declined in words
    ├── Blocked                  a safety system of the provider stopped it
    └── Truncated                the answer ended at the token limit

    UnknownKind                  no client exists for this kind of provider: a configuration's mistake

Messages are sentences for a person and never hold an upstream body, a key or a prompt.
"""

from collections.abc import Sequence

from providers.hints import RateHints
from providers.usage import Usage


class ProviderError(Exception):
    """A provider could not give an answer. `status` is the HTTP status it replied with, if any."""

    provider: str | None = None  # the label of the target that failed; set by who chose it
    attempts: Sequence[object] = ()  # the calls that were made for the request; set by who made them
    begun: bool = False  # whether text had come: who asks again buys it twice
    rate: RateHints | None = None  # what the reply said of the server's limits

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """`retry_after`: seconds the server asked to wait. `usage`: what the failed call cost, if told."""
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.usage = usage


class AuthFailed(ProviderError):
    """The provider rejected the key, or there was none."""


class QuotaExceeded(ProviderError):
    """The account behind the key has no credit left."""


class RateLimited(ProviderError):
    """Too many requests or tokens a minute."""


class UnknownModel(ProviderError):
    """The server does not serve the model that was named."""


class WrongPath(ProviderError):
    """The server answers, but not this protocol at this base URL."""


class ContextTooLong(ProviderError):
    """Prompt and image need more tokens than the model takes."""


class SchemaRejected(ProviderError):
    """The server did not take the schema or the output mode."""


class RequestRejected(ProviderError):
    """The server refused the request for a reason that a repeat would not cure."""


class SchemaNotFillable(RequestRejected):
    """The built-in provider knows no valid value for the field at `pointer`."""

    def __init__(self, pointer: str) -> None:
        super().__init__(
            f"The built-in provider cannot produce a value for the field '{pointer or '/'}'. "
            "Simplify its schema, or choose a vision model."
        )
        self.pointer = pointer


class Unreachable(ProviderError):
    """No connection to the server, or it was lost before an answer."""


class CallTimeout(ProviderError):
    """The server did not answer in time."""


class Unavailable(ProviderError):
    """The server is there and cannot answer now (408, 503, 529)."""


class ServerFailed(ProviderError):
    """The server broke while it answered (500, 502, 504 and other 5xx)."""


class BadReply(ProviderError):
    """What came back is not an answer in this protocol."""


class Refused(ProviderError):
    """The model declined to describe the picture."""


class Blocked(ProviderError):
    """A safety system of the provider stopped the request or the answer."""


class Truncated(ProviderError):
    """The answer ended at the token limit, before it was whole."""


class UnknownKind(LookupError):
    """No client exists for a kind of provider; `known` are the kinds that there are."""

    def __init__(self, kind: str, known: tuple[str, ...]) -> None:
        super().__init__(f"{kind!r} is not a kind of provider. Known are {', '.join(known)}.")
        self.kind = kind
        self.known = known

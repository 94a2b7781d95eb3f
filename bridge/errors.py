"""Exceptions of the bridge, and the table that gives each exception its HTTP status, code and title.

The table also has rows for the exceptions of `perspectives.errors` and `providers.errors`; a test fails if a class has
no row. Any other exception is a bug: the client gets status 500 without details, and the traceback is logged.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bridge.deadline import DeadlineExceeded
from perspectives import errors as perspective_errors
from perspectives.errors import Problem, suggestion
from providers import errors as provider_errors
from providers.addresses import AddressNotAllowed


class InvalidRequest(Exception):
    """A field of the request is missing, unknown or out of range. `problems` are (JSON Pointer, sentence) pairs."""

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(Problem(*problem) for problem in problems)


class InvalidJson(Exception):
    """The body, or a part that should be JSON, is not JSON."""


class BodyTooLarge(Exception):
    def __init__(self, limit: int) -> None:
        """`limit`: the limit in bytes."""
        super().__init__(
            f"The request body is larger than the limit of {limit / 1024 / 1024:.1f} MiB (GRAPHCAP_MAX_BODY_BYTES)."
        )


class Cancelled(Exception):
    def __init__(self) -> None:
        super().__init__("The request was cancelled before it finished.")


class NothingToSynthesize(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(f"Every perspective failed, so '{name}' has nothing to synthesize.")


class SocketAtCapacity(Exception):
    def __init__(self, limit: int) -> None:
        super().__init__(
            f"This WebSocket already has {limit} running requests. Wait for one to finish, or open another WebSocket."
        )


class ApiKeyRequired(Exception):
    def __init__(self) -> None:
        super().__init__("This service requires an API key. Send 'Authorization: Bearer …' or 'X-API-Key: …'.")


class OriginNotAllowed(Exception):
    def __init__(self) -> None:
        super().__init__(
            "This origin is not allowed. The operator of the service can list it in GRAPHCAP_CORS_ORIGINS."
        )


class HostNotAllowed(Exception):
    def __init__(self, host: str) -> None:
        super().__init__(
            f"The host name '{host[:100]}' is not allowed. The operator can list it in GRAPHCAP_ALLOWED_HOSTS."
        )


class RequestTimeout(Exception):
    """The request's headers or body arrive too slowly."""


class ServerAtCapacity(Exception):
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The service is at its limit of running requests. Try again in a moment.")


class ShuttingDown(Exception):
    """The worker is draining: it accepts no new work and cancels what does not finish in time."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Send the request again: another instance may accept it.")


class RateLimitExceeded(Exception):
    def __init__(self, limit: str, retry_after: float, headers: dict[str, str]) -> None:
        """`limit`: the limit as text. `retry_after`: seconds to wait. `headers`: RateLimit headers of the response."""
        super().__init__(f"This service accepts {limit} from one caller. Wait before sending more.")
        self.retry_after = retry_after
        self.headers = headers


class ImageError(Exception):
    """An image cannot be used. The message is one sentence without paths outside the workspace."""


class PathRefused(ImageError):
    """The path leads out of the workspace or not to a regular file."""


class ImageNotFound(ImageError):
    """The workspace has no such file."""


class ImageUnreachable(ImageError):
    """The URL did not return an image."""


class ImageTooLarge(ImageError):
    """The image exceeds a limit."""


class UnsupportedImage(ImageError):
    """The image format is not accepted."""


class InvalidImage(ImageError):
    """The bytes are not a complete, well-formed image."""


class AddressRefused(AddressNotAllowed):
    """The network policy forbids this address."""


class DispatchError(Exception):
    """The request names a provider or a model that cannot be called."""

    pointer = ""


class UnknownProvider(DispatchError):
    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        hint = suggestion(name, known) or f" Configured providers: {', '.join(known)}."
        super().__init__(f"There is no provider named '{name[:80]}'.{hint}")


class MissingProvider(DispatchError):
    """The request names a model, but no setting or routing rule names its provider."""

    pointer = "/provider"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"No provider is set for the model '{model[:80]}'. Pass 'provider' (--provider), "
            "set GRAPHCAP_PROVIDER, or add a routing rule to providers.toml."
        )


class MissingModel(DispatchError):
    """No model is set for the provider."""

    pointer = "/model"

    def __init__(self, provider: str, listed: tuple[str, ...] = (), target: object = None) -> None:
        """`listed`: the known models. `target`: where the models can be listed if none is known."""
        known = f" Known models: {', '.join(listed[:12])}." if listed else ""
        super().__init__(
            f"No model is set for the provider '{provider}'. Pass 'model' (--model), or set a default model.{known} "
            f"`graphcap providers models {provider}` or GET /api/v1/providers/{provider}/models lists its models."
        )
        self.provider = provider
        self.listed = listed
        self.target = target


class MissingBaseUrl(DispatchError):
    pointer = "/provider_config/base_url"

    def __init__(self, kind: str) -> None:
        variable = f"{kind.upper().replace('-', '_')}_BASE_URL"
        super().__init__(f"The kind '{kind}' has no default base URL. Set {variable}, or pass 'base_url'.")


class InvalidBaseUrl(DispatchError):
    """The base URL is malformed."""

    pointer = "/provider_config/base_url"


class ProviderNotAllowed(DispatchError):
    def __init__(self, policy: str) -> None:
        if policy == "none":
            text = "This service does not accept a base_url in the request. Name a configured provider instead."
        else:
            text = (
                "This service calls only configured addresses. Ask its operator to add this one to "
                "providers.toml or GRAPHCAP_PROVIDER_URL_ALLOW, or name a configured provider."
            )
        super().__init__(text)


class ProviderUnavailable(Exception):
    """The provider cannot be called now. `retry_after`: seconds until the next attempt may succeed."""

    retry_after: float


class QueueFull(ProviderUnavailable):
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The queue of this provider is full. Try again in a moment.")


class CircuitBreakerOpen(ProviderUnavailable):
    """The circuit breaker of every endpoint is open for another `retry_after` seconds."""

    def __init__(self, endpoints: int, retry_after: float) -> None:
        subject = "The provider" if endpoints == 1 else f"Each of the provider's {endpoints} endpoints"
        super().__init__(f"{subject} failed repeatedly, so no call is sent. Next attempt in {retry_after:.0f} s.")
        self.retry_after = retry_after


class OutputInvalid(Exception):
    """No answer of the model passed schema validation. `problems`: those of the last answer."""

    def __init__(self, problems: Iterable[Problem], attempts: int) -> None:
        """`attempts`: the number of validated answers."""
        self.problems = tuple(problems) or (Problem("", "The answer is not a JSON object."),)
        first = self.problems[0]
        place = f" at {first.pointer}" if first.pointer else ""
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"The model was asked {times} and its answer failed schema validation{place}: "
            f"{first.message} Try again, use a larger model, or simplify the perspective."
        )


@dataclass(frozen=True, slots=True)
class Row:
    """The status, code and title of one class of errors."""

    status: int
    code: str
    title: str
    retryable: bool = False


TABLE: dict[type[Exception], Row] = {
    InvalidJson: Row(400, "invalid_json", "Invalid JSON"),
    BodyTooLarge: Row(413, "body_too_large", "Request body too large"),
    InvalidRequest: Row(422, "invalid_request", "Invalid request"),
    perspective_errors.UnknownPerspective: Row(404, "unknown_perspective", "Unknown perspective"),
    perspective_errors.UnknownModule: Row(404, "unknown_module", "Unknown module"),
    perspective_errors.InvalidPerspective: Row(422, "invalid_perspective", "Invalid perspective"),
    perspective_errors.MissingVariables: Row(422, "missing_variables", "Missing variables"),
    perspective_errors.UnknownVariables: Row(422, "invalid_request", "Unknown variables"),
    PathRefused: Row(403, "path_refused", "Path not allowed"),
    AddressRefused: Row(403, "address_refused", "Address not allowed"),
    ImageNotFound: Row(404, "image_not_found", "Image not found"),
    ImageTooLarge: Row(413, "image_too_large", "Image too large"),
    UnsupportedImage: Row(415, "unsupported_image", "Unsupported image format"),
    InvalidImage: Row(422, "invalid_image", "Invalid image"),
    ImageUnreachable: Row(422, "image_unreachable", "Image unreachable", retryable=True),
    ProviderNotAllowed: Row(403, "provider_not_allowed", "Provider not allowed"),
    QueueFull: Row(503, "overloaded", "Queue full", retryable=True),
    CircuitBreakerOpen: Row(503, "provider_unavailable", "Circuit breaker open", retryable=True),
    UnknownProvider: Row(404, "unknown_provider", "Unknown provider"),
    provider_errors.UnknownKind: Row(422, "invalid_request", "Unknown provider kind"),
    MissingProvider: Row(422, "invalid_request", "Missing provider"),
    MissingModel: Row(422, "invalid_request", "Missing model"),
    MissingBaseUrl: Row(422, "invalid_request", "Missing base URL"),
    InvalidBaseUrl: Row(422, "invalid_request", "Invalid base URL"),
    provider_errors.UnknownModel: Row(404, "unknown_model", "Unknown model"),
    provider_errors.ModelWithoutVision: Row(422, "model_without_vision", "Model without vision"),
    provider_errors.ImageRejected: Row(422, "invalid_image", "Image rejected by the provider"),
    provider_errors.ContextTooLong: Row(422, "context_too_long", "Context too long"),
    provider_errors.Refused: Row(422, "refused", "Model refusal"),
    provider_errors.Blocked: Row(422, "blocked", "Blocked by a safety filter"),
    provider_errors.RateLimited: Row(429, "provider_rate_limited", "Provider rate limit exceeded", retryable=True),
    provider_errors.QuotaExceeded: Row(402, "provider_quota", "Provider quota exceeded"),
    provider_errors.AuthFailed: Row(502, "provider_auth", "Provider authentication failed"),
    provider_errors.SchemaRejected: Row(502, "provider_error", "Schema rejected by the provider"),
    provider_errors.RequestRejected: Row(502, "provider_error", "Request rejected by the provider"),
    provider_errors.InvalidOption: Row(422, "invalid_request", "Option rejected by the provider"),
    provider_errors.SchemaNotFillable: Row(422, "invalid_perspective", "Invalid perspective"),
    provider_errors.WrongPath: Row(502, "provider_error", "Wrong base URL path"),
    provider_errors.BadReply: Row(502, "provider_error", "Malformed provider response", retryable=True),
    provider_errors.ResponseInterrupted: Row(502, "provider_error", "Provider response interrupted", retryable=True),
    provider_errors.UnparsableOutput: Row(502, "answer_invalid", "Malformed model output", retryable=True),
    provider_errors.ServerFailed: Row(502, "provider_error", "Provider error", retryable=True),
    provider_errors.Unreachable: Row(502, "provider_unreachable", "Provider unreachable", retryable=True),
    provider_errors.Unavailable: Row(503, "provider_unavailable", "Provider unavailable", retryable=True),
    provider_errors.EngineFailed: Row(503, "provider_unavailable", "Embedded engine unavailable", retryable=True),
    provider_errors.CallTimeout: Row(504, "timeout", "Provider timeout", retryable=True),
    provider_errors.Truncated: Row(502, "answer_truncated", "Output truncated"),
    provider_errors.WhitespaceRunaway: Row(502, "answer_truncated", "Endless white space"),
    OutputInvalid: Row(502, "answer_invalid", "Output failed schema validation", retryable=True),
    SocketAtCapacity: Row(503, "overloaded", "WebSocket at capacity", retryable=True),
    ServerAtCapacity: Row(503, "overloaded", "Server at capacity", retryable=True),
    RateLimitExceeded: Row(429, "rate_limited", "Rate limit exceeded", retryable=True),
    ShuttingDown: Row(503, "shutting_down", "Shutting down", retryable=True),
    ApiKeyRequired: Row(401, "unauthorized", "API key required"),
    OriginNotAllowed: Row(403, "origin_refused", "Origin not allowed"),
    HostNotAllowed: Row(403, "origin_refused", "Host not allowed"),
    RequestTimeout: Row(408, "timeout", "Request timeout", retryable=True),
    NothingToSynthesize: Row(502, "answer_invalid", "Nothing to synthesize", retryable=True),
    Cancelled: Row(503, "cancelled", "Cancelled", retryable=True),
    DeadlineExceeded: Row(504, "timeout", "Deadline exceeded", retryable=True),
}
NO_ROUTE = Row(404, "not_found", "Not found")
NO_METHOD = Row(405, "method_not_allowed", "Method not allowed")
MALFORMED_REQUEST = Row(400, "invalid_request", "Malformed request")
HEADERS_TOO_LARGE = Row(431, "invalid_request", "Request headers too large")
BUG = Row(500, "internal_error", "Internal error")
OTHERS = (NO_ROUTE, NO_METHOD, MALFORMED_REQUEST, HEADERS_TOO_LARGE, BUG)  # rows of problems without an exception class


def row_of(error: Exception) -> Row:
    """Return the row of the error's class or of its nearest base class, or BUG if there is none."""
    return next((TABLE[cls] for cls in type(error).__mro__ if cls in TABLE), BUG)

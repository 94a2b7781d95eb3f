"""Classify error responses: by status where the status is unambiguous, else by the causes that their texts name.

Texts are matched here and never quoted: an upstream message may contain the key or the prompt. The sanitised message
is in `ProviderError.provider_message`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from providers.base import Spec, VisionRequest
from providers.errors import (
    AuthFailed,
    BadReply,
    Blocked,
    ContextTooLong,
    ImageRejected,
    InvalidOption,
    ModelWithoutVision,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    RequestRejected,
    SchemaRejected,
    ServerFailed,
    Unavailable,
    UnknownModel,
    UnparsableOutput,
    WrongPath,
)
from providers.hints import rate_hints, retry_after
from providers.provider_message import provider_message

_MAX_TEXT = 20_000
_MAX_DEPTH = 8
_PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "repetition_penalty", "seed", "detail")
"""Parameters of OpenAI's `param` that an error message may name."""
_LIMIT = re.compile(r"(?:context|model) length (?:of|is) (\d{1,9})|at most (\d{1,9})|less than or equal to (\d{1,9})")
_TEMPORARY = (RateLimited, Unavailable, ServerFailed)
"""Errors that pass by themselves: only these have a `retry_after`."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """One error response. `text`: all its texts in lower case. `schema_sent`: a schema or output mode was sent."""

    status: int
    body: object
    text: str
    spec: Spec
    request: VisionRequest
    schema_sent: bool

    @property
    def title(self) -> str:
        """Return the provider's name in sentences."""
        return self.spec.title

    @property
    def key_hint(self) -> str:
        """Return where to look for the key."""
        return f"Check {self.spec.key_env[0]} or the request's api_key." if self.spec.key_env else "Check its api_key."

    def has(self, *texts: str) -> bool:
        """Return whether the response contains one of the texts."""
        return any(text in self.text for text in texts)


def classify(
    status: int,
    body: object,
    headers: Mapping[str, str],
    *,
    spec: Spec,
    request: VisionRequest,
    schema_sent: bool,
) -> ProviderError:
    """Return the error for a 3xx, 4xx or 5xx response. `body`: the parsed JSON, or the text."""
    text = "\n".join(_texts(body)).lower()[:_MAX_TEXT]
    response = ErrorResponse(status, body, text, spec, request, schema_sent)
    error = _error(response)
    error.status = status
    error.retry_after = retry_after(status, headers, body) if isinstance(error, _TEMPORARY) else None
    error.rate = rate_hints(headers)
    error.provider_message = provider_message(body, request)
    return error


def error_in_200(error: object, *, spec: Spec, request: VisionRequest, schema_sent: bool) -> ProviderError:
    """Return the error for an error object inside a 200 response.

    Its `code` may be a status, as a number or text (OpenRouter, vLLM, llama-server).
    """
    code = str(error.get("code")) if isinstance(error, Mapping) else ""
    if re.fullmatch("[45][0-9][0-9]", code):
        return classify(int(code), error, {}, spec=spec, request=request, schema_sent=schema_sent)
    failure = classify(500, error, {}, spec=spec, request=request, schema_sent=schema_sent)
    if isinstance(failure, ServerFailed):
        message, failure = failure.provider_message, BadReply(f"{spec.title} failed in the middle of its answer.")
        failure.provider_message = message
    failure.status = None
    return failure


def _texts(body: object, depth: int = 0) -> Iterator[str]:
    """Yield every string and number of a body, codes included: five shapes of error body are in use."""
    if isinstance(body, str | int):
        yield str(body)
    elif depth < _MAX_DEPTH and isinstance(body, Mapping):
        for value in body.values():
            yield from _texts(value, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(body, list | tuple):
        for value in body:
            yield from _texts(value, depth + 1)


def _error(response: ErrorResponse) -> ProviderError:
    by_status = _BY_STATUS.get(response.status)
    if by_status:
        return by_status(response)
    if response.status < 400:
        return _wrong_path(response)
    cause = _named_cause(response)
    if cause:
        return cause
    if response.status == 404:
        return _wrong_path(response)
    if response.status >= 500:
        failure = ServerFailed(f"{response.title} failed with status {response.status}.")
        failure.may_be_schema = response.schema_sent and response.status == 500
        return failure
    # vercel/ai#21192: Gemini answers a schema beyond its budget with the same 400 as an unreadable image.
    if response.schema_sent and response.status in (400, 422):
        return _schema(response, explained=False)
    return RequestRejected(f"{response.title} rejected the request ({response.status}).")


def _named_cause(response: ErrorResponse) -> ProviderError | None:
    """Return the error for the first cause that the text names."""
    parameter = _parameter(response)
    if parameter:
        return parameter
    if response.status == 404:
        missing = _missing_model(response)
        if missing:
            return missing
    for texts, build in _CAUSES:
        if response.has(*texts):
            return build(response)
    if response.schema_sent and response.has(*_SCHEMA):
        return _schema(response, explained=True)
    if not response.schema_sent and response.has(*_IMAGE_UNLESS_SCHEMA):
        return _image(response)
    return None


def _auth(response: ErrorResponse) -> ProviderError:
    if not response.request.credentials.api_key.strip():
        return AuthFailed(f"{response.title} requires an API key and got none. {response.key_hint}")
    return AuthFailed(f"{response.title} rejected the API key. {response.key_hint}")


def _forbidden(response: ErrorResponse) -> ProviderError:
    return AuthFailed(f"{response.title} does not allow this request with the API key (403). {response.key_hint}")


def _quota(response: ErrorResponse) -> ProviderError:
    return QuotaExceeded(f"The account at {response.title} has no credit left. Add credit, or use another key.")


def _too_many(response: ErrorResponse) -> ProviderError:
    # "exceeded your current quota" is an empty account at OpenAI and a rate limit at Gemini: only codes count.
    if response.has(*_QUOTA):
        return _quota(response)
    return RateLimited(f"{response.title} limits the rate of requests (429). Try again later.")


def _missing_model(response: ErrorResponse) -> ProviderError | None:
    # A wrong path to the list of models fails with "models" in the path that is quoted: no model was requested.
    model = response.request.model
    named = bool(model) and response.has("model", "no endpoints", model.lower())
    missing = response.has("not found", "not exist", "no endpoints", "not supported", "not_found", "unknown")
    # OpenRouter: "No endpoints found that support image input", "… that can handle the requested parameters"
    other = response.has("support image input") or (response.schema_sent and response.has("requested parameters"))
    return _model(response) if response.has("the model `") or (named and missing and not other) else None


def _model(response: ErrorResponse) -> ProviderError:
    name = json.dumps(response.request.model, ensure_ascii=False)
    return UnknownModel(f"{response.title} does not serve the model {name}.")


def _wrong_path(response: ErrorResponse) -> ProviderError:
    return WrongPath(
        f"The server responds, but not as {response.title} does ({response.status}). Check the path of the base URL."
    )


def _timeout(response: ErrorResponse) -> ProviderError:
    return Unavailable(f"{response.title} stopped waiting for the request (408).")


def _too_large(response: ErrorResponse) -> ProviderError:
    return RequestRejected(f"The request is larger than {response.title} accepts (413). Send a smaller image.")


def _unavailable(response: ErrorResponse) -> ProviderError:
    return Unavailable(f"{response.title} is unavailable ({response.status}). Try again later.")


def _schema(response: ErrorResponse, explained: bool = True) -> SchemaRejected:
    subject = "the schema" if explained else "the request, perhaps because of its schema"
    failure = SchemaRejected(f"{response.title} rejected {subject} ({response.status}).")
    failure.explained = explained
    return failure


def _context(response: ErrorResponse) -> ProviderError:
    return ContextTooLong("Prompt and image exceed the model's context. Shorten the prompt or send a smaller image.")


def _blocked(response: ErrorResponse) -> ProviderError:
    return Blocked(f"A safety filter of {response.title} blocked the request.")


def _no_vision(response: ErrorResponse) -> ProviderError:
    name = json.dumps(response.request.model, ensure_ascii=False)
    return ModelWithoutVision(f"This model takes no images: {name} at {response.title}. Use a vision model.")


def _image(response: ErrorResponse) -> ProviderError:
    return ImageRejected(
        f"{response.title} could not process the image ({response.status}). Send another format, size or aspect ratio."
    )


def _unparsable(response: ErrorResponse) -> ProviderError:
    return UnparsableOutput(f"{response.title} could not parse the output of the model.", status=response.status)


def _parameter(response: ErrorResponse) -> InvalidOption | None:
    """Return the error for a sampling parameter that OpenAI's `param` names, with the limit if the text has one."""
    body = response.body
    error = body.get("error", body) if isinstance(body, Mapping) else None
    name = error.get("param") if isinstance(error, Mapping) else None
    if not isinstance(name, str) or name not in _PARAMETERS:
        return None
    limit = next((number for match in _LIMIT.finditer(response.text) for number in match.groups() if number), "")
    reason = f"the limit of this model is {limit}" if limit else "this model does not accept it"
    return InvalidOption(f"{response.title} rejected the value of {name}: {reason}.")


_Build = Callable[[ErrorResponse], ProviderError]

_BY_STATUS: Mapping[int, _Build] = {
    401: _auth,
    402: _quota,
    403: _forbidden,
    405: _wrong_path,
    408: _timeout,
    413: _too_large,
    429: _too_many,
    503: _unavailable,
    529: _unavailable,
}

_QUOTA = ("insufficient_quota", "billing_not_active", "billing_hard_limit_reached")
_CAUSES: tuple[tuple[tuple[str, ...], _Build], ...] = (
    # OpenAI, Gemini; LiteLLM without a key or database: BerriAI/litellm#12273, BerriAI/litellm#4880
    (("api key not valid", "api_key_invalid", "invalid api key", "invalid_api_key", "api key expired"), _auth),
    (("no_db_connection", "no connected db", "no api key passed in", "api_key client option must be set"), _auth),
    (("authentication error", "authenticationerror"), _auth),
    (_QUOTA, _quota),
    # llama-server: lemonade-sdk/lemonade#539; OpenRouter: nexu-io/nexu#731; LM Studio: lmstudio-bug-tracker#362;
    # vLLM: vllm-project/vllm#23402; OpenAI: "image_url is only supported by certain models"
    (("image input is not supported", "support image input", "not support image"), _no_vision),
    (
        ("not a multimodal model", "only supported by certain models", "at most 0 image", "vision is not supported"),
        _no_vision,
    ),
    (("missing data required for image input", "image input modality is not enabled"), _no_vision),
    # OpenAI; LiteLLM: "Invalid model name"; transformers serve: "Server is pinned to" (measured with 5.23)
    (("model_not_found", "invalid model name", "not a valid model", "model not found", "unknown model"), _model),
    (("server is pinned to",), _model),
    # OpenAI, vLLM, llama-server; llama-cpp-python: "Prompt exceeds n_ctx: 30047 > 4096" (measured with 0.3.36)
    (("context_length_exceeded", "exceed_context_size", "context length", "context size", "context window"), _context),
    (("maximum model length", "max_model_len", "exceeds n_ctx", "input token count", "too many tokens"), _context),
    (("prompt is too long",), _context),
    # OpenAI, Azure
    (("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"), _blocked),
    # llama-server: "does not match the expected peg-native format" (measured)
    (("peg-native", "does not match the expected peg"), _unparsable),
    # vLLM: "Failed to apply Qwen2VLProcessor" (measured with 0.32), Qwen's smart_resize; llama-server; OpenAI
    (("failed to apply", "aspect ratio must be smaller", "must be larger than factor"), _image),
    (("failed to load image", "failed to decode image", "cannot identify image", "image file is truncated"), _image),
    (("invalid_image", "image_parse_error", "unsupported image", "image is too small"), _image),
)
# llama-cpp-python 0.3.36: a 500 for an unknown response_format (measured); Ollama: ollama/ollama#12422, a 500 or inside
# a 200; OpenRouter: block/buzz#3018, a 404 when no endpoint supports what require_parameters demands
_SCHEMA = (
    "response_format",
    "schema",
    "grammar",
    "output format",
    "for format",
    "structured output",
    "requested parameters",
)
"""Texts that blame the schema, if one was sent."""
# vercel/ai#21192: with a schema this text says nothing of the image
_IMAGE_UNLESS_SCHEMA = ("unable to process input image",)

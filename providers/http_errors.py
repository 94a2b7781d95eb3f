"""Classify error responses by status, then by known phrases. Messages never quote a response: it may contain a key."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from providers import errors
from providers.base import Options, Spec, VisionRequest
from providers.errors import ProviderError, SchemaRejected
from providers.hints import rate_hints, retry_after, walk
from providers.provider_message import provider_message
from providers.text import mapping

_MAX_TEXT = 20_000
_PARAMETERS = frozenset({"max_completion_tokens", "detail", *(field.name for field in fields(Options))})
"""Values of the field `param` in OpenAI's errors that a message may name."""
_LIMIT = re.compile(r"(?:context|model) length (?:of|is) (\d{1,9})|at most (\d{1,9})|less than or equal to (\d{1,9})")
_TEMPORARY = (errors.RateLimited, errors.Unavailable, errors.ServerFailed)  # only these have a `retry_after`


@dataclass(frozen=True, slots=True)
class Cause:
    """The exception of a cause, a template of its message, and a regular expression of phrases that identify it."""

    error: type[ProviderError]
    message: str
    texts: str = ""


def classify(
    status: int, body: object, headers: Mapping[str, str], spec: Spec, request: VisionRequest
) -> ProviderError:
    """Return the error for a response with status 3xx, 4xx or 5xx. `body`: the parsed JSON, or the text."""
    # Every text and number, because providers use five different shapes of error body.
    text = "\n".join(str(part) for part in walk(body) if isinstance(part, str | int)).lower()[:_MAX_TEXT]
    cause = _cause(status, body, text, request)
    if cause is _KEY and not request.credentials.api_key.strip():
        cause = _NO_KEY
    model = json.dumps(request.model, ensure_ascii=False)
    message = cause.message.format(title=spec.title, status=status, key=spec.key_places, model=model)
    if cause is _MODEL and spec.pull and re.fullmatch(r"[\w./:@-]{1,100}", request.model):
        message += f" Run `{spec.pull} {request.model}`."
    error = cause.error(message, status=status, rate=rate_hints(headers))
    if isinstance(error, _TEMPORARY):
        error.retry_after = retry_after(status, headers, body)
    if isinstance(error, SchemaRejected):
        error.explained = cause is _SCHEMA
    elif cause is _FAILED:
        error.may_be_schema = request.sends_schema and status == 500
    error.provider_message = provider_message(body, request)
    return error


def error_in_200(error: object, spec: Spec, request: VisionRequest) -> ProviderError:
    """Return the error for an error object in a response with status 200. Its `code` may be an HTTP status."""
    code = str(mapping(error).get("code"))
    if re.fullmatch("[45][0-9][0-9]", code):
        return classify(int(code), error, {}, spec, request)
    failure = classify(500, error, {}, spec, request)
    if isinstance(failure, errors.ServerFailed):
        message = failure.provider_message
        failure = errors.BadReply(f"{spec.title} failed in the middle of its answer.")
        failure.provider_message = message
    failure.status = None
    return failure


def _cause(status: int, body: object, text: str, request: VisionRequest) -> Cause:
    # "exceeded your current quota" means no credit at OpenAI but a rate limit at Gemini, so only codes are matched.
    if status == 429 and re.search(_QUOTA.texts, text):
        return _QUOTA
    # openrouter.ai/docs/api/reference/errors-and-debugging: a blocked input has status 403 too
    if status == 403 and re.search(_BLOCKED.texts, text):
        return _BLOCKED
    if status in _BY_STATUS or status < 400:
        return _BY_STATUS.get(status, _WRONG_PATH)
    parameter = _parameter(body, text)
    if parameter is not None:
        return parameter
    if status == 404 and _names_missing_model(text, request):
        return _MODEL
    for cause in (*_CAUSES, _SCHEMA if request.sends_schema else _IMAGE_WITHOUT_SCHEMA):
        if re.search(cause.texts, text):
            return cause
    if status == 404:
        return _WRONG_PATH
    if status >= 500:
        return _FAILED
    # vercel/ai#21192: Gemini sends the same response for a schema that is too large and for an unreadable image.
    return _MAY_BE_SCHEMA if request.sends_schema and status in (400, 422) else _REJECTED


def _names_missing_model(text: str, request: VisionRequest) -> bool:
    # OpenRouter: "No endpoints found that support image input", "… that can handle the requested parameters"
    if "support image input" in text or (request.sends_schema and "requested parameters" in text):
        return False
    # With a wrong path, the error for a list of models may contain "models" although no model was requested.
    named = request.model and (re.search("model|no endpoints", text) or request.model.lower() in text)
    missing = re.search("not found|not exist|no endpoints|not supported|not_found|unknown", text)
    return "the model `" in text or bool(named and missing)


def _parameter(body: object, text: str) -> Cause | None:
    """Return the cause if the error's field `param` names a sampling parameter, with the limit in the text."""
    name = mapping(mapping(body).get("error", body)).get("param")
    if not isinstance(name, str) or name not in _PARAMETERS:
        return None
    limit = next((number for match in _LIMIT.finditer(text) for number in match.groups() if number), "")
    reason = f"the limit of this model is {limit}" if limit else "this model does not accept it"
    return Cause(errors.InvalidOption, f"{{title}} rejected the value of {name}: {reason}.")


_KEY = Cause(
    errors.AuthFailed,
    "{title} rejected the API key. Check {key}.",
    # OpenAI, Gemini; LiteLLM without a key or without a database: BerriAI/litellm#12273, BerriAI/litellm#4880
    "api key not valid|api_key_invalid|invalid api key|invalid_api_key|api key expired|"
    "no_db_connection|no connected db|no api key passed in|api_key client option must be set|"
    "authentication error|authenticationerror",
)
_NO_KEY = Cause(errors.AuthFailed, "{title} requires an API key and got none. Set {key}.", _KEY.texts)
_QUOTA = Cause(
    errors.QuotaExceeded,
    "The account at {title} has no credit left. Add credit, or use another key.",
    # OpenAI; Anthropic: continuedev/continue#5499, status 400
    "insufficient_quota|billing_not_active|billing_hard_limit_reached|billing_error|credit balance is too low",
)
_MODEL = Cause(
    errors.UnknownModel,
    "{title} does not serve the model {model}.",
    # OpenAI; LiteLLM: "Invalid model name"; transformers serve: "Server is pinned to" (measured with 5.23)
    "model_not_found|invalid model name|not a valid model|model not found|unknown model|server is pinned to",
)
_BLOCKED = Cause(
    errors.Blocked,
    "A safety filter of {title} blocked the request.",
    # OpenAI, Azure; Anthropic; OpenRouter
    "content_filter|content_policy_violation|responsibleaipolicyviolation|moderation_blocked|"
    "content filtering policy|input was flagged",
)
_WRONG_PATH = Cause(
    errors.WrongPath, "The server responds, but not as {title} does ({status}). Check the path of the base URL."
)
_UNAVAILABLE = Cause(errors.Unavailable, "{title} is unavailable ({status}). Try again later.")
_IMAGE = Cause(
    errors.ImageRejected,
    "{title} could not process the image ({status}). Send another format, size or aspect ratio.",
    # texts of vLLM 0.32 ("Failed to apply Qwen2VLProcessor", Qwen's smart_resize), llama-server and OpenAI
    "failed to apply|aspect ratio must be smaller|must be larger than factor|image file is truncated|"
    "failed to load image|failed to decode image|cannot identify image|image_parse_error|"
    "invalid_image|unsupported image|image is too small|"
    # Anthropic: anthropics/claude-code#4778, #10612; `image_dimensions_too_large` of anthropic 2.14
    "could not process image|image dimensions exceed|image_dimensions_too_large|image exceeds",
)
_CAUSES = (
    _KEY,
    _QUOTA,
    Cause(
        errors.ModelWithoutVision,
        "This model takes no images: {model} at {title}. Use a vision model.",
        # llama-server: lemonade-sdk/lemonade#539; OpenRouter: nexu-io/nexu#731; LM Studio: lmstudio-bug-tracker#362;
        # vLLM: vllm-project/vllm#23402; OpenAI: "image_url is only supported by certain models"
        "image input is not supported|support image input|not support image|not a multimodal model|"
        "only supported by certain models|at most 0 image|vision is not supported|"
        "missing data required for image input|image input modality is not enabled",
    ),
    _MODEL,
    Cause(
        errors.ContextTooLong,
        "Prompt and image exceed the model's context. Shorten the prompt or send a smaller image.",
        # texts of OpenAI, vLLM, llama-server and llama-cpp-python 0.3.36 ("Prompt exceeds n_ctx: 30047 > 4096")
        "context_length_exceeded|exceed_context_size|context length|context size|context window|"
        "maximum model length|max_model_len|exceeds n_ctx|input token count|too many tokens|"
        "prompt is too long|exceed context limit",
    ),
    Cause(
        errors.InvalidOption,
        "{title} rejected the value of max_tokens: it is above the limit of {model}.",
        "maximum allowed number of output tokens",  # Anthropic
    ),
    _BLOCKED,
    # llama-server: "does not match the expected peg-native format" (measured)
    Cause(errors.UnparsableOutput, "{title} could not parse the output of the model.", "peg-native"),
    _IMAGE,
)
_SCHEMA = Cause(
    SchemaRejected,
    "{title} rejected the schema ({status}).",
    # llama-cpp-python 0.3.36: status 500 for an unknown response_format (measured); Ollama: ollama/ollama#12422, status
    # 500 or 200; OpenRouter: block/buzz#3018, status 404 if no endpoint supports all parameters. Anthropic:
    # can1357/oh-my-pi#341, a model that thinks cannot be made to call a tool
    "response_format|schema|grammar|output format|for format|requested parameters|output_config|tool_choice",
)
_MAY_BE_SCHEMA = Cause(SchemaRejected, "{title} rejected the request, perhaps for its schema ({status}).")
_REJECTED = Cause(errors.RequestRejected, "{title} rejected the request ({status}).")
_FAILED = Cause(errors.ServerFailed, "{title} failed with status {status}.")
# vercel/ai#21192: with a schema, this text may have another cause than the image
_IMAGE_WITHOUT_SCHEMA = Cause(errors.ImageRejected, _IMAGE.message, "unable to process input image")
_BY_STATUS: Mapping[int, Cause] = {
    401: _KEY,
    402: _QUOTA,
    403: Cause(errors.AuthFailed, "{title} does not allow this request with the API key (403). Check {key}."),
    405: _WRONG_PATH,
    408: Cause(errors.Unavailable, "{title} stopped waiting for the request (408)."),
    413: Cause(errors.RequestRejected, "The request is larger than {title} accepts (413). Send a smaller image."),
    429: Cause(errors.RateLimited, "{title} limits the rate of requests (429). Try again later."),
    503: _UNAVAILABLE,
    529: _UNAVAILABLE,
}

"""What an error reply means: its status first, its words only where the status leaves it open.

Words are looked at and never repeated: an upstream message may quote the key or the prompt.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from providers.addresses import origin
from providers.base import Credentials, Spec
from providers.errors import (
    AuthFailed,
    Blocked,
    ContextTooLong,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    RequestRejected,
    SchemaRejected,
    ServerFailed,
    Unavailable,
    UnknownModel,
    WrongPath,
)
from providers.hints import rate_hints, retry_after

_MAX_WORDS = 20_000
_MAX_DEPTH = 8
# Parameters that a sentence may name because we know them; anything else a server names stays unsaid.
_PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "repetition_penalty",
    "seed",
    "detail",
)

_QUOTA = ("insufficient_quota", "billing_not_active", "billing_hard_limit_reached")
_AUTH = ("api key not valid", "api_key_invalid", "invalid api key", "invalid_api_key", "api key expired")
_CONTEXT = (
    "context_length_exceeded",
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "maximum model length",
    "max_model_len",
    "input token count",
    "too many tokens",
    "prompt is too long",
)
_BLOCKED = (
    "content_filter",
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "moderation_blocked",
)
_UNKNOWN_MODEL = (
    "model_not_found",
    "invalid model name",
    "not a valid model",
    "model not found",
    "unknown model",
)
# What passes by itself: only here does a server's word on how long to wait mean something.
_PASSING = (RateLimited, Unavailable, ServerFailed)
_MISSING = (
    "not found",
    "does not exist",
    "not exist",
    "no endpoints",
    "not supported",
    "unknown",
    "not_found",
)


def classify(
    status: int,
    body: object,
    headers: Mapping[str, str],
    *,
    schema_sent: bool,
    title: str,
    model: str,
    key_env: str = "",
    key_sent: bool = True,
) -> ProviderError:
    """The error that a reply of 3xx, 4xx or 5xx stands for.

    `body`: the parsed JSON, or the text. `schema_sent`: a schema or an output mode went with the request, so
    that a plain 400 may be about it. `title`: the provider's name in sentences. `key_env`: the variable that
    people keep its key in. `key_sent`: a key went with the request.
    """
    words = "\n".join(_texts(body)).lower()[:_MAX_WORDS]
    reply = _Reply(status, body, words, schema_sent, title, model, key_env, key_sent)
    verdict = _BY_STATUS.get(status, _by_class)
    error = verdict(reply)
    error.status = status
    error.retry_after = retry_after(headers, body) if isinstance(error, _PASSING) else None
    error.rate = rate_hints(headers)
    return error


@dataclass(frozen=True, slots=True)
class _Reply:
    """One error reply; `words` are all its texts in lower case."""

    status: int
    body: object
    words: str
    schema_sent: bool
    title: str
    model: str
    key_env: str
    key_sent: bool

    def says(self, words: tuple[str, ...]) -> bool:
        return any(word in self.words for word in words)


def api_key(credentials: Credentials, spec: Spec, base_url: str) -> str:
    """The key, fit for a header; raises `AuthFailed` for characters that no header can carry, and for none at all
    where the provider itself is asked. Another server that speaks its protocol may want none.

    Without this the HTTP library would fail on such characters, with the key in its message.
    """
    key = credentials.api_key.strip()
    if not (key.isascii() and key.isprintable()):
        raise AuthFailed(f"The API key for {spec.title} holds characters that no key has. {_where(key_env(spec))}")
    if spec.needs_key and not key and origin(base_url) == origin(spec.base_url):
        raise AuthFailed(
            f"{spec.title} needs an API key and got none. Set {key_env(spec)}, or send api_key with the request."
        )
    return key


def key_env(spec: Spec) -> str:
    """The variable that people keep the key in, "" if there is none."""
    return next(iter(spec.key_env), "")


def _texts(body: object, depth: int = 0) -> Iterator[str]:
    """Every string and number of a reply, codes included: five shapes of error body are in use."""
    if isinstance(body, str | int):
        yield str(body)
    elif depth < _MAX_DEPTH and isinstance(body, Mapping):
        for value in body.values():
            yield from _texts(value, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(body, list | tuple):
        for value in body:
            yield from _texts(value, depth + 1)


def _where(key_env: str) -> str:
    return f"Check {key_env} or the api_key of this request." if key_env else "Check its api_key."


def _auth(reply: _Reply) -> ProviderError:
    if not reply.key_sent:
        return AuthFailed(f"{reply.title} wants an API key and got none. {_where(reply.key_env)}")
    return AuthFailed(f"{reply.title} rejected the API key. {_where(reply.key_env)}")


def _forbidden(reply: _Reply) -> ProviderError:
    return AuthFailed(
        f"{reply.title} does not allow this with the API key that was sent (403). {_where(reply.key_env)}"
    )


def _quota(reply: _Reply) -> ProviderError:
    return QuotaExceeded(f"The account at {reply.title} has no credit left.")


def _not_found(reply: _Reply) -> ProviderError:
    # block/buzz#3018: OpenRouter's 404 when no endpoint takes what require_parameters asks for
    if reply.schema_sent and reply.says(("requested parameters",)):
        return _schema(reply)
    # Listing the models at a wrong path fails with "models" in the path that is quoted: it asks for no model.
    named = reply.model and reply.says(("model", "no endpoints", reply.model.lower()))
    if reply.says((*_UNKNOWN_MODEL, "the model `")) or (named and reply.says(_MISSING)):
        return _unknown_model(reply)
    return _wrong_path(reply)


def _unknown_model(reply: _Reply) -> ProviderError:
    return UnknownModel(f"{reply.title} does not serve the model {json.dumps(reply.model, ensure_ascii=False)}.")


def _wrong_path(reply: _Reply) -> ProviderError:
    return WrongPath(
        f"The server answers, but not as {reply.title} does ({reply.status}). Check the path of the base URL."
    )


def _slow(reply: _Reply) -> ProviderError:
    return Unavailable(f"{reply.title} gave up waiting for the request (408).")


def _too_large(reply: _Reply) -> ProviderError:
    return RequestRejected(f"The request is larger than {reply.title} takes (413). Send a smaller picture.")


def _too_many(reply: _Reply) -> ProviderError:
    # "exceeded your current quota" is an empty account at OpenAI and a rate limit at Gemini: only codes count.
    if reply.says(_QUOTA):
        return _quota(reply)
    return RateLimited(f"{reply.title} is limiting requests for now (429).")


def _unavailable(reply: _Reply) -> ProviderError:
    return Unavailable(f"{reply.title} cannot answer now ({reply.status}).")


def _broken(reply: _Reply) -> ProviderError:
    # llama-cpp-python 0.3.36 answers a response_format that it does not know with 500 (measured)
    if reply.schema_sent and reply.status == 500 and "response_format" in reply.words:
        return _schema(reply)
    return ServerFailed(f"{reply.title} failed while it answered ({reply.status}).")


def _schema(reply: _Reply) -> ProviderError:
    return SchemaRejected(f"{reply.title} did not take the schema, or the picture, of this request.")


def _bad_request(reply: _Reply) -> ProviderError:
    explained: tuple[tuple[tuple[str, ...], Callable[[_Reply], ProviderError]], ...] = (
        (_AUTH, _auth),
        (_QUOTA, _quota),
        (_UNKNOWN_MODEL, _unknown_model),
        (_CONTEXT, _context),
        (_BLOCKED, _blocked),
    )
    for words, verdict in explained:
        if reply.says(words):
            return verdict(reply)
    parameter = _parameter(reply.body)
    if parameter:
        return RequestRejected(f"{reply.title} does not take this {parameter} for the model.")
    # vercel/ai#21192: Gemini's 400 for a schema beyond its budget reads "unable to process input image".
    if reply.schema_sent:
        return _schema(reply)
    return RequestRejected(f"{reply.title} refused the request ({reply.status}).")


def _context(reply: _Reply) -> ProviderError:
    return ContextTooLong("Prompt and picture need more tokens than the model's context holds.")


def _blocked(reply: _Reply) -> ProviderError:
    return Blocked(f"A safety filter of {reply.title} stopped the request.")


def _by_class(reply: _Reply) -> ProviderError:
    if reply.status >= 500:
        return _broken(reply)
    if reply.status < 400:
        return _wrong_path(reply)
    return RequestRejected(f"{reply.title} refused the request ({reply.status}).")


_BY_STATUS: Mapping[int, Callable[[_Reply], ProviderError]] = {
    400: _bad_request,
    401: _auth,
    402: _quota,
    403: _forbidden,
    404: _not_found,
    405: _wrong_path,
    408: _slow,
    413: _too_large,
    422: _bad_request,
    429: _too_many,
    503: _unavailable,
    529: _unavailable,
}


def _parameter(body: object) -> str:
    """The sampling parameter that OpenAI's `param` names, if it is one that we know."""
    error: Any = body.get("error", body) if isinstance(body, Mapping) else None
    named = error.get("param") if isinstance(error, Mapping) else None
    return named if isinstance(named, str) and named in _PARAMETERS else ""

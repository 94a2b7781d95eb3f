"""What the openai package, httpx2 and error replies stand for, in `providers.errors`: the one place for it."""

import re
from collections.abc import Mapping

from providers.base import Spec, VisionRequest
from providers.classify import classify, key_env
from providers.errors import BadReply, ProviderError, RequestRejected, Unreachable
from providers.exchange import MALFORMED, chain, timed_out, unreachable


def foreign() -> tuple[type[Exception], ...]:
    """What a call can raise beside what every call can."""
    import httpx2
    import openai

    return openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError


def translated(error: Exception, spec: Spec, base_url: str, request: VisionRequest) -> ProviderError:
    """The error of ours that an exception of `foreign()` stands for."""
    import httpx2
    import openai

    causes = list(chain(error))
    # The pool's limits and the key's check speak through the SDK's exceptions.
    ours = next((cause for cause in causes if isinstance(cause, ProviderError)), None)
    if ours is not None:
        return ours
    if isinstance(error, openai.APIStatusError):
        return _classified(error.status_code, error.body, error.response.headers, spec, request)
    unconnected = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.InvalidURL)
    if any(isinstance(cause, unconnected) for cause in causes):
        return unreachable(spec.title, base_url, error)
    if isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException):
        return timed_out(spec.title, request.timeout)
    if isinstance(error, UnicodeEncodeError):
        return RequestRejected("The request holds characters that cannot be sent: half a surrogate pair.")
    if isinstance(error, (httpx2.SSEError, *MALFORMED)):
        return foreign_reply(spec)
    return Unreachable(f"The connection to {spec.title} broke before it answered.")


def told(error: object, spec: Spec, request: VisionRequest) -> ProviderError:
    """An error inside a 200: its `code` may be a status (OpenRouter, vLLM, llama-server), in any type."""
    code = str(error.get("code")) if isinstance(error, Mapping) else ""
    if re.fullmatch("[45][0-9][0-9]", code):
        return _classified(int(code), error, {}, spec, request)
    return BadReply(f"{spec.title} failed in the middle of its answer.")


def foreign_reply(spec: Spec) -> ProviderError:
    """A reply in another protocol, or in none."""
    return BadReply(f"What came back is not an answer of {spec.title}'s. Check the base URL.")


def _classified(
    status: int, error: object, headers: Mapping[str, str], spec: Spec, request: VisionRequest
) -> ProviderError:
    return classify(
        status,
        error,
        headers,
        schema_sent=request.schema is not None and request.output_mode != "prompt",
        title=spec.title,
        model=request.model,
        key_env=key_env(spec),
        key_sent=bool(request.credentials.api_key.strip()),
    )

"""What Gemini's replies mean."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from providers.base import Completion, Model, VisionRequest
from providers.classify import classify
from providers.errors import BadReply, Blocked, ProviderError, RequestRejected, Truncated, Unreachable
from providers.exchange import timed_out, unreachable
from providers.gemini.request import wants_json
from providers.gemini.spec import SPEC
from providers.text import Text, whole_characters
from providers.usage import Usage, counted

if TYPE_CHECKING:
    import httpx2
    from google.genai import types

_BLOCKED = {
    "SAFETY": "for safety",
    "IMAGE_SAFETY": "for safety",
    "PROHIBITED_CONTENT": "as prohibited content",
    "IMAGE_PROHIBITED_CONTENT": "as prohibited content",
    "BLOCKLIST": "for a word on its blocklist",
    "RECITATION": "as the recitation of a source",
    "IMAGE_RECITATION": "as the recitation of a source",
    "SPII": "for personal data",
    "JAILBREAK": "as a jailbreak",
    "MODEL_ARMOR": "by a rule of the account",
    "ESCALATION": "by a rule of its own",
    "PUP_LIMITED_DISABLED": "because the account is limited",
}


class Answer:
    """What has come of one answer so far."""

    def __init__(self) -> None:
        self._text = Text(SPEC.title)
        self._finish = ""
        self._usage: Usage | None = None
        self._model = ""

    def take(self, reply: "types.GenerateContentResponse") -> str:
        """Keep what a reply, or a piece of one, tells; give back its text, without the model's thoughts."""
        self._usage = _usage(reply.usage_metadata) or self._usage
        self._model = whole_characters(reply.model_version or "") or self._model
        if reply.prompt_feedback and reply.prompt_feedback.block_reason:
            raise _blocked("the request", reply.prompt_feedback.block_reason.value, self._usage)
        candidate = next((one for one in reply.candidates or () if not one.index), None)
        if candidate is None:
            return ""
        self._finish = candidate.finish_reason.value if candidate.finish_reason else self._finish
        parts = candidate.content.parts if candidate.content else None
        return self._text.add("".join(part.text for part in parts or () if part.text and not part.thought))

    def completion(self, request: VisionRequest) -> Completion:
        """The whole answer, if its finish reason says that it is one."""
        text = str(self._text)
        if self._finish in ("MAX_TOKENS", "CONTINUATION"):
            raise Truncated(
                "The answer reached the token limit before it was whole; thinking counts too. Raise max_tokens.",
                usage=self._usage,
            )
        if self._finish in _BLOCKED:
            raise _blocked("the answer", self._finish, self._usage)
        if self._finish != "STOP":
            raise BadReply("Gemini's answer broke off before it was whole.", usage=self._usage)
        if not text.strip():
            raise BadReply("Gemini sent an empty answer.", usage=self._usage)
        return Completion(text, self._model or request.model, self._usage, SPEC.not_taken(request.options))


def _blocked(what: str, reason: str, usage: Usage | None) -> Blocked:
    why = _BLOCKED.get(reason, "without saying why")
    return Blocked(f"Gemini stopped {what} {why}. Another model, or other safety_settings, may take it.", usage=usage)


def _usage(told: "types.GenerateContentResponseUsageMetadata | None") -> Usage | None:
    """Thinking is output."""
    if told is None:
        return None
    written = [count for count in (told.candidates_token_count, told.thoughts_token_count) if count is not None]
    output = sum(written) if written else None
    return counted(told.prompt_token_count, output, told.cached_content_token_count)


def translated(
    error: Exception, base_url: str, request: VisionRequest, failed: "httpx2.Response | None"
) -> ProviderError:
    """What an exception of the SDK, of httpx2 or of the clock means; `failed`: the reply, if its status is not 200."""
    import httpx2
    from google.genai import errors

    if failed and failed.is_success:
        return _not_an_answer()
    if isinstance(error, errors.APIError):
        return _classified(error.code, error.details, failed.headers if failed else {}, request)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return unreachable(SPEC.title, base_url, error)
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return timed_out(SPEC.title, request.timeout)
    if isinstance(error, OSError | httpx2.HTTPError | httpx2.InvalidURL):
        return Unreachable("The connection to Gemini broke before it answered.")
    if failed:
        return _classified(failed.status_code, "", failed.headers, request)
    return _not_an_answer()


def _not_an_answer() -> BadReply:
    return BadReply("What came back is not an answer of Gemini's. Check the base URL.")


def _classified(status: int, told: object, headers: Mapping[str, str], request: VisionRequest) -> ProviderError:
    fault = told.get("error") if isinstance(told, Mapping) else None
    # google-gemini/gemini-cli#24641: the account's country; no simpler schema cures that
    if isinstance(fault, Mapping) and fault.get("status") == "FAILED_PRECONDITION":
        return RequestRejected("Gemini does not serve this account or the country it is called from.", status=status)
    # A page that repeats the path, model and all, says nothing of the model.
    body = "" if status == 404 and not fault else told
    return classify(
        status,
        body,
        headers,
        schema_sent=wants_json(request),
        title=SPEC.title,
        model=request.model,
        key_env=SPEC.key_env[0],
        key_sent=bool(request.credentials.api_key.strip()),
    )


def answering(listed: "types.Model") -> list[Model]:
    """The listed model, if it can answer; a proxy may not say what its models do."""
    if not listed.name or (listed.supported_actions and "generateContent" not in listed.supported_actions):
        return []
    name = whole_characters(listed.name.removeprefix("models/"))
    return [Model(id=name, name=whole_characters(listed.display_name or name))]

"""The Chat Completions protocol as plain data: request bodies, responses and stream events.

OpenAI defined the protocol, and many servers implement it with small differences, which are the fields of `Flavour`.
This module imports no SDK and checks the shape of every response.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from providers import dialects
from providers.base import Completion, Image, JsonObject, Model, Spec, VisionRequest
from providers.errors import BadReply, Blocked, ProviderError, Refused
from providers.hints import RateHints
from providers.image_body import PLACEHOLDER_BASE64, insert_image
from providers.profiles import Profile
from providers.text import AnswerText, truncation, whole_characters
from providers.usage import Usage, usage_of


@dataclass(frozen=True, slots=True)
class Flavour:
    """The differences between one kind of server and the common protocol.

    `schema`: translates a JSON Schema to the server's dialect. `strict`: add the field `strict` to `json_schema`.
    `shows_schema`: the server shows the schema to the model. `max_tokens`, `repetition_penalty`: the server's names of
    these options. `object_schema`: send the schema also in the mode `json_object`. `routed`: body fields to add if
    `response_format` is sent. `stream_options`: fields to add to `stream_options`.
    """

    spec: Spec
    schema: Callable[[JsonObject], JsonObject] = dialects.openai_compatible
    strict: bool = False
    shows_schema: bool = False
    max_tokens: str = "max_tokens"
    repetition_penalty: str = "repetition_penalty"
    object_schema: bool = False
    routed: Mapping[str, Any] = field(default_factory=dict)
    stream_options: Mapping[str, Any] = field(default_factory=dict)


def request_body(request: VisionRequest, flavour: Flavour, profile: Profile, options: Mapping[str, Any]) -> JsonObject:
    """Build the request body, with a placeholder for the image. `options`: `ProviderConfig.options`."""
    response_format = _response_format(request, flavour)
    effort = options.get("reasoning_effort")
    return {
        "model": request.model,
        "messages": _messages(request, flavour, options.get("detail")),
        **_sampling(request, flavour, profile),
        **({"response_format": response_format, **flavour.routed} if response_format else {}),
        **({"reasoning_effort": effort} if effort else {}),
        **(options.get("extra_body") or {}),
    }


def serialise(body: JsonObject, image: Image | None) -> bytes:
    """Serialise the body as JSON, and replace the placeholder by the image."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return content if image is None else insert_image(content, image)


def streamed(body: JsonObject, flavour: Flavour) -> JsonObject:
    """Return the body with the fields that request a streamed response with usage."""
    return {**body, "stream": True, "stream_options": {"include_usage": True, **flavour.stream_options}}


def warnings(request: VisionRequest, flavour: Flavour, profile: Profile) -> tuple[str, ...]:
    """Return warnings about the sampling options that the server or the model does not accept."""
    unsupported = flavour.spec.unsupported(request.options)
    names = " or ".join(name for name in _fixed(profile) if name in request.options.present())
    fixed = f"{request.model} is a reasoning model and does not accept {names}, so it was not sent."
    return (*unsupported, fixed) if names else unsupported


def completion(
    response: object, request: VisionRequest, notes: tuple[str, ...], title: str, rate: RateHints | None = None
) -> Completion:
    """Parse a response that is not streamed. `notes`: warnings for the Completion.

    Raises Truncated, Refused, Blocked or BadReply.
    """
    if not isinstance(response, Mapping) or not isinstance(response.get("choices"), list):
        raise BadReply(f"The response is not an answer of {title}. Check the base URL.")
    answer = Answer(title, streamed=False)
    answer.rate = rate
    answer.read(response, "message")
    # HTTP has checked the length of the body, so a complete response may omit finish_reason.
    answer.finish = answer.finish or "stop"
    return answer.completion(request.model, notes)


def models(response: object, title: str) -> tuple[Model, ...]:
    """Parse a list of models, which may be in `data`, in `models` (llama.cpp sends both) or at the top level."""
    rows = response
    if isinstance(response, Mapping):
        rows = next((response[name] for name in ("data", "models") if isinstance(response.get(name), list)), None)
    if not isinstance(rows, list):
        raise BadReply(f"The response is not {title}'s list of models. Check the base URL.")
    valid = [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("id"), str)]
    return tuple(
        Model(whole_characters(row["id"]), whole_characters(_text(row.get("name")) or row["id"])) for row in valid
    )


class Answer:
    """An answer, collected from one message or from many deltas.

    `finish`: the finish reason, "" until the server sends it. `rate`: the rate limits in the response's headers.
    `speed`: tokens per second, which llama.cpp reports.
    """

    def __init__(self, title: str, *, streamed: bool) -> None:
        self.finish = ""
        self.rate: RateHints | None = None
        self.speed: float | None = None
        self._title = title
        self._text = AnswerText(title, streamed=streamed)
        self._refusal: list[str] = []
        self._tool_called = False
        self._model = ""

    @property
    def text(self) -> str:
        """Return the text received so far."""
        return str(self._text)

    def read(self, event: object, part: Literal["message", "delta"]) -> str:
        """Read a response or one event of a stream and return its text."""
        if not isinstance(event, Mapping):
            raise BadReply(f"{self._title} sent an event that is not part of an answer.")
        self._text.usage = _usage(event.get("usage")) or self._text.usage
        self._model = self._model or whole_characters(_text(event.get("model")))
        self.speed = _speed(event.get("timings")) or self.speed
        choice = _first_choice(event)
        message = choice.get(part)
        text = ""
        # Text after the finish reason is ignored: servers differ in their last events.
        if isinstance(message, Mapping) and not self.finish:
            self._refusal.append(_text(message.get("refusal")))
            self._tool_called = self._tool_called or bool(message.get("tool_calls") or message.get("function_call"))
            text = self._text.add(_text(message.get("content")))
        self.finish = self.finish or _text(choice.get("finish_reason"))
        return text

    def completion(self, model: str, notes: tuple[str, ...]) -> Completion:
        """Return the Completion, or raise the error for its finish reason."""
        if "".join(self._refusal).strip():
            raise self._error(Refused, "The model declined to describe the image.")
        if self.finish == "content_filter":
            raise self._error(Blocked, f"A safety filter of {self._title} stopped the answer.")
        if self.finish == "length":
            raise truncation(self.text, self._text.usage, rate=self.rate)
        if not self.finish:
            raise self._error(BadReply, f"{self._title} ended its answer before it was complete.")
        if self.finish == "error":
            raise self._error(BadReply, f"{self._title} failed in the middle of its answer.")
        if not self.text.strip():
            cause = "called a tool that was not offered" if self._tool_called else "sent an empty answer"
            raise self._error(BadReply, f"{self._title} {cause}.")
        return Completion(self.text, self._model or model, self._text.usage, notes, self.rate, self.speed)

    def _error(self, error: type[ProviderError], message: str) -> ProviderError:
        return error(message, usage=self._text.usage, rate=self.rate)


def error_in(response: object) -> object:
    """Return the error object inside a response with status 200, or None if there is none."""
    if not isinstance(response, Mapping):
        return None
    return response.get("error") or _first_choice(response).get("error")


def _usage(counts: object) -> Usage | None:
    if not isinstance(counts, Mapping):
        return None
    details = counts.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return usage_of(_count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")), cached)


def _speed(timings: object) -> float | None:
    speed = timings.get("predicted_per_second") if isinstance(timings, Mapping) else None
    return float(speed) if isinstance(speed, int | float) and speed > 0 else None


def _first_choice(event: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = event.get("choices")
    listed = choices if isinstance(choices, list) else []
    return next((choice for choice in listed if isinstance(choice, Mapping) and not choice.get("index")), {})


def _text(value: object) -> str:
    """Return a string, or the joined texts of a list of parts (Mistral's content). Any other value gives ""."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _messages(request: VisionRequest, flavour: Flavour, detail: object) -> list[JsonObject]:
    """Build the messages. The image precedes the text of the perspective, so that prefix caches can reuse it."""
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    user = {"role": "user", "content": _content(request, _prompt(request, flavour), detail)}
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return [*system, user, *turns]


def _prompt(request: VisionRequest, flavour: Flavour) -> str:
    """Return the prompt, with the schema appended as text unless the server shows the schema to the model.

    Most servers only constrain the answer by a grammar, which does not explain the fields (vllm-project/vllm#31804,
    ggml-org/llama.cpp#18492).
    """
    shown = flavour.shows_schema and request.output_mode in ("json_schema", "json_schema_relaxed")
    if request.schema is None or shown:
        return request.prompt
    return f"{request.prompt}\n\n{dialects.describe(_schema(request, request.schema, flavour))}"


def _schema(request: VisionRequest, schema: JsonObject, flavour: Flavour) -> JsonObject:
    """Return the schema in the form that the request's output mode sends or describes."""
    if request.output_mode == "json_schema":
        return flavour.schema(schema)
    return dialects.relaxed(schema) if request.output_mode == "json_schema_relaxed" else schema


def _content(request: VisionRequest, prompt: str, detail: object) -> str | list[JsonObject]:
    if request.image is None:
        return prompt
    url = f"data:{request.image.media_type};base64,{PLACEHOLDER_BASE64}"
    image = {"url": url, **({"detail": str(detail).lower()} if detail else {})}
    return [{"type": "image_url", "image_url": image}, {"type": "text", "text": prompt}]


def _response_format(request: VisionRequest, flavour: Flavour) -> JsonObject | None:
    if request.schema is None or request.output_mode == "prompt":
        return None
    if request.output_mode == "json_object":
        # llama-cpp-python 0.3.36 rejects json_schema and reads the schema here (measured)
        return {"type": "json_object", **({"schema": flavour.schema(request.schema)} if flavour.object_schema else {})}
    schema = _schema(request, request.schema, flavour)
    strict = {"strict": request.output_mode == "json_schema"} if flavour.strict else {}
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", request.schema_name)[:64] or "caption"
    return {"type": "json_schema", "json_schema": {"name": name, **strict, "schema": schema}}


def _fixed(profile: Profile) -> tuple[str, ...]:
    return ("temperature", "top_p") if profile.reasoning else ()


def _sampling(request: VisionRequest, flavour: Flavour, profile: Profile) -> JsonObject:
    names = {"max_tokens": flavour.max_tokens, "repetition_penalty": flavour.repetition_penalty}
    return {
        names.get(option, option): value
        for option, value in request.options.present().items()
        if option in flavour.spec.takes and option not in _fixed(profile)
    }

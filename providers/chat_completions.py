"""Build requests and parse responses of Chat Completions. `Flavour` describes the differences between servers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from providers import dialects
from providers.base import PLACEHOLDER_BASE64, PLAUSIBLE, JsonObject, Model, Spec, Usage, VisionRequest, usage_of
from providers.call import foreign_reply
from providers.errors import BadReply, Blocked, ProviderError, Refused
from providers.profiles import profile
from providers.text import Answer, mapping, model_of, whole_characters


@dataclass(frozen=True, slots=True)
class Flavour:
    """The differences between one kind of server and the common protocol.

    `schema`: translates a JSON Schema to the server's dialect. `strict`: add the field `strict` to `json_schema`.
    `shows_schema`: the server shows the schema to the model. `names`: the server's names of sampling options.
    `object_schema`: send the schema also in the mode `json_object`. `routed`: body fields to add if `response_format`
    is sent. `stream_options`: fields to add to `stream_options`.
    """

    spec: Spec
    schema: Callable[[JsonObject], JsonObject] = dialects.openai_compatible
    strict: bool = False
    shows_schema: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    object_schema: bool = False
    routed: Mapping[str, Any] = field(default_factory=dict)
    stream_options: Mapping[str, Any] = field(default_factory=dict)


def request_body(request: VisionRequest, flavour: Flavour, options: Mapping[str, Any]) -> JsonObject:
    """Build the request body, with a placeholder for the image. `options`: `ProviderConfig.options`."""
    schema = _schema(request, flavour)
    response_format = _response_format(request, flavour, schema)
    effort = options.get("reasoning_effort")
    return {
        "model": request.model,
        "messages": _messages(request, flavour, schema, options.get("detail")),
        **request.options.sent(flavour.spec.takes - _fixed(flavour.spec, request), flavour.names),
        **({"response_format": response_format, **flavour.routed} if response_format else {}),
        **({"reasoning_effort": effort} if effort else {}),
        **(options.get("extra_body") or {}),
    }


def models(response: object, title: str) -> tuple[Model, ...]:
    """Parse a list of models, which may be in `data`, in `models` (llama.cpp sends both) or at the top level."""
    rows = response
    if isinstance(response, Mapping):
        rows = next((response[name] for name in ("data", "models") if isinstance(response.get(name), list)), None)
    if not isinstance(rows, list):
        raise foreign_reply(title)
    valid = [row for row in map(mapping, rows) if isinstance(row.get("id"), str)]
    return tuple(model_of(row["id"], _text(row.get("name"))) for row in valid)


class ChatAnswer(Answer):
    """An answer that is collected from one message or from many deltas."""

    _refused = False

    def read(self, response: Any) -> str:
        if not isinstance(response, Mapping) or not (self.streamed or isinstance(response.get("choices"), list)):
            raise foreign_reply(self._spec.title)
        self._text.usage = _usage(mapping(response.get("usage"))) or self._text.usage
        self._model = self._model or whole_characters(_text(response.get("model")))
        self.tokens_per_second = _speed(mapping(response.get("timings"))) or self.tokens_per_second
        choice = _first_choice(response)
        message = mapping(choice.get("delta" if self.streamed else "message"))
        text = ""
        # Text after the finish reason is ignored: servers differ in their last events.
        if not self.finish:
            self._refused = self._refused or bool(_text(message.get("refusal")).strip())
            self._tool_called = self._tool_called or bool(message.get("tool_calls") or message.get("function_call"))
            text = self._text.add(_text(message.get("content")))
        # HTTP has checked the length of the body, so a complete response may omit finish_reason.
        self.finish = self.finish or _text(choice.get("finish_reason")) or ("" if self.streamed else "stop")
        return text

    def _warnings(self) -> tuple[str, ...]:
        unsupported, fixed = super()._warnings(), _fixed(self._spec, self._request)
        names = " or ".join(name for name in self._request.options.present() if name in fixed)
        warning = f"{self._request.model} is a reasoning model and does not accept {names}, so it was not sent."
        return (*unsupported, warning) if names else unsupported

    def _failure(self) -> ProviderError | None:
        title = self._spec.title
        if self._refused:
            return self._error(Refused, "The model declined to describe the image.")
        match self.finish:
            case "content_filter":
                return self._error(Blocked, f"A safety filter of {title} stopped the answer.")
            case "length":
                return self._truncated("Raise max_tokens.")
            case "model_length":  # Mistral: the context is full
                return self._truncated("Shorten the prompt or send a smaller image.")
            case "" | "abort":  # vLLM, SGLang: the server has cancelled the call
                return self._unfinished()
            case "error":
                return self._error(BadReply, f"{title} failed in the middle of its answer.")
        return None


def error_in(response: object) -> object:
    """Return the error object inside a response with status 200, or None if there is none."""
    event = mapping(response)
    return event.get("error") or _first_choice(event).get("error")


def _usage(counts: Mapping[str, Any]) -> Usage | None:
    cached = mapping(counts.get("prompt_tokens_details")).get("cached_tokens")
    return usage_of(counts.get("prompt_tokens"), counts.get("completion_tokens"), cached)


def _speed(timings: Mapping[str, Any]) -> float | None:
    speed = timings.get("predicted_per_second")
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed <= PLAUSIBLE:
        return None
    return float(speed)


def _first_choice(event: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = event.get("choices")
    listed = choices if isinstance(choices, list) else []
    return next((choice for choice in map(mapping, listed) if choice and not choice.get("index")), {})


def _text(value: object) -> str:
    """Return a string, or the joined texts of a list of parts (Mistral's content). Any other value gives ""."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in map(mapping, value))
    return value if isinstance(value, str) else ""


def _messages(request: VisionRequest, flavour: Flavour, schema: JsonObject | None, detail: object) -> list[JsonObject]:
    """Build the messages. The image precedes the text of the perspective, so that prefix caches can reuse it."""
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    shown = flavour.shows_schema and request.enforces_schema
    content: str | list[JsonObject] = dialects.prompt(request, shown=shown, sent=schema)
    if request.image is not None:
        url = f"data:{request.image.media_type};base64,{PLACEHOLDER_BASE64}"
        image = {"url": url, **({"detail": str(detail).lower()} if detail else {})}
        content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": content}]
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return [*system, {"role": "user", "content": content}, *turns]


def _schema(request: VisionRequest, flavour: Flavour) -> JsonObject | None:
    """Return the schema that the server enforces, or None if the output mode sends no schema."""
    translate = {"json_schema": flavour.schema, "json_schema_relaxed": dialects.relaxed}.get(request.output_mode)
    return None if translate is None or request.schema is None else translate(request.schema)


def _response_format(request: VisionRequest, flavour: Flavour, schema: JsonObject | None) -> JsonObject | None:
    if request.schema is None or request.output_mode == "prompt":
        return None
    if schema is None:
        # llama-cpp-python 0.3.36 rejects json_schema and reads the schema here (measured)
        return {"type": "json_object", **({"schema": flavour.schema(request.schema)} if flavour.object_schema else {})}
    strict = {"strict": request.output_mode == "json_schema"} if flavour.strict else {}
    return {"type": "json_schema", "json_schema": {"name": request.valid_schema_name, **strict, "schema": schema}}


def _fixed(spec: Spec, request: VisionRequest) -> frozenset[str]:
    """Return the sampling options that the model does not accept."""
    return frozenset({"temperature", "top_p"} if profile(spec.kind, request.model).reasoning else ())

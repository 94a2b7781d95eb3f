"""The Chat Completions protocol as plain data: request bodies out, replies and stream events in.

OpenAI made it and half the field speaks it with small differences: those are a `Flavour`. No SDK is imported
here, and nothing that a server sends is trusted to have the shape that it should have.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from providers import dialects
from providers.base import Completion, Image, JsonObject, Model, Profile, Spec, VisionRequest
from providers.errors import BadReply, Blocked, ProviderError, Refused, Truncated
from providers.hints import RateHints
from providers.picture import PLACE_TEXT, with_picture
from providers.text import Text, whole_characters
from providers.usage import Usage, counted


@dataclass(frozen=True, slots=True)
class Flavour:
    """How one kind of server differs.

    `schema`: its dialect. `strict`: whether its json_schema wants `strict` said. `shows_schema`: whether the
    model gets to read the schema. `max_tokens`, `repetition_penalty`: what it calls them.
    `object_schema`: json_object takes a schema beside it. `routed`: fields that go along with an output mode.
    """

    spec: Spec
    schema: Callable[[JsonObject], JsonObject] = dialects.openai_compatible
    strict: bool = False
    shows_schema: bool = False
    max_tokens: str = "max_tokens"
    repetition_penalty: str = "repetition_penalty"
    object_schema: bool = False
    routed: Mapping[str, Any] = field(default_factory=dict)


def body(request: VisionRequest, flavour: Flavour, profile: Profile, options: Mapping[str, Any]) -> JsonObject:
    """The request's JSON, the picture's place in it held. `options` are the provider's configured ones."""
    format_ = _response_format(request, flavour)
    return {
        "model": request.model,
        "messages": _messages(request, flavour, options.get("detail")),
        **_sampling(request, flavour, profile),
        **({"response_format": format_, **flavour.routed} if format_ else {}),
        **({"reasoning_effort": options["reasoning_effort"]} if options.get("reasoning_effort") else {}),
        **(options.get("extra_body") or {}),
    }


def written(asked: JsonObject, image: Image | None) -> bytes:
    """The request as it is sent, the picture in its place."""
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return text if image is None else with_picture(text, image)


def streamed(asked: JsonObject) -> JsonObject:
    """The same request, to be answered in pieces, with the usage at the end."""
    return {**asked, "stream": True, "stream_options": {"include_usage": True}}


def warnings(request: VisionRequest, flavour: Flavour, profile: Profile) -> tuple[str, ...]:
    """What the request asks for and the model cannot be given, in sentences."""
    said = flavour.spec.not_taken(request.options)
    fixed = [name for name in _fixed(profile) if name in request.options.asked()]
    if fixed:
        return *said, f"{request.model} is a reasoning model and takes no {' or '.join(fixed)}: not sent."
    return said


def completion(
    reply: object, request: VisionRequest, said: tuple[str, ...], title: str, rate: RateHints | None = None
) -> Completion:
    """Read a whole reply; `rate` is what its headers say. Raises Truncated, Refused, Blocked, BadReply."""
    if not isinstance(reply, Mapping) or not isinstance(reply.get("choices"), list):
        raise BadReply(f"What came back is not an answer of {title}'s. Check the base URL.")
    answer = Answer(title)
    answer.rate = rate
    answer.read(reply, "message")
    # Its length was checked by HTTP: a whole reply needs no finish_reason to be whole.
    answer.finish = answer.finish or "stop"
    return answer.completion(request, said)


def models(reply: object, title: str) -> tuple[Model, ...]:
    """Read a list of models: `data`, `models` (llama.cpp has both) or the bare list."""
    listed = reply
    if isinstance(reply, Mapping):
        listed = next((reply[name] for name in ("data", "models") if isinstance(reply.get(name), list)), None)
    if not isinstance(listed, list):
        raise BadReply(f"What came back is not {title}'s list of models. Check the base URL.")
    found = [one for one in listed if isinstance(one, Mapping) and isinstance(one.get("id"), str)]
    return tuple(
        Model(whole_characters(one["id"]), whole_characters(_text(one.get("name")) or one["id"])) for one in found
    )


class Answer:
    """An answer as it grows, from one message or from many deltas.

    `finish` is empty until the server ended it; `rate` is what the reply's headers say of the server's limits.
    """

    def __init__(self, title: str) -> None:
        self.finish = ""
        self.rate: RateHints | None = None
        self._title = title
        self._text = Text(title)
        self._refusal: list[str] = []
        self._called = False
        self._model = ""
        self._usage: Usage | None = None

    def read(self, event: object, part: Literal["message", "delta"]) -> str:
        """Take in a reply or one event of a stream; the text that it brought."""
        if not isinstance(event, Mapping):
            raise BadReply(f"{self._title} sent something that is no part of an answer.")
        self._usage = usage(event.get("usage")) or self._usage
        self._model = self._model or whole_characters(_text(event.get("model")))
        choice = _first_choice(event)
        message = choice.get(part)
        text = ""
        # Servers differ in what they send after the end; the answer is what came before it.
        if isinstance(message, Mapping) and not self.finish:
            text = self._text.add(_text(message.get("content")))
            self._refusal.append(_text(message.get("refusal")))
            self._called = self._called or bool(message.get("tool_calls") or message.get("function_call"))
        self.finish = self.finish or _text(choice.get("finish_reason"))
        return text

    def completion(self, request: VisionRequest, said: tuple[str, ...]) -> Completion:
        """The Completion that came together, or the error that stands for how it ended."""
        text = str(self._text)
        failure = self._failure(text)
        if failure is not None:
            failure.usage = self._usage
            failure.rate = self.rate
            try:
                raise failure
            finally:
                del failure  # as in `Exchange.wait`
        return Completion(text, self._model or request.model, self._usage, said, self.rate)

    def _failure(self, text: str) -> ProviderError | None:
        if "".join(self._refusal).strip():
            return Refused("The model declined to describe the picture.")
        if self.finish == "content_filter":
            return Blocked(f"A safety filter of {self._title} stopped the answer.")
        if self.finish == "length":
            return Truncated("The answer reached the token limit before it was whole. Raise max_tokens.")
        if not self.finish:
            return BadReply(f"{self._title} ended its answer before it was whole.")
        if self.finish == "error":
            return BadReply(f"{self._title} failed in the middle of its answer.")
        if not text.strip():
            what = "called a tool that it was not offered" if self._called else "sent an empty answer"
            return BadReply(f"{self._title} {what}.")
        return None


def usage(told: object) -> Usage | None:
    """The tokens a reply tells of; None when it tells nothing (a proxy's stream may say zeros: measured)."""
    if not isinstance(told, Mapping):
        return None
    details = told.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return counted(_count(told.get("prompt_tokens")), _count(told.get("completion_tokens")), cached)


def error_in(reply: object) -> object:
    """The error that a reply with status 200 holds in place of an answer, None if there is none."""
    if not isinstance(reply, Mapping):
        return None
    return reply.get("error") or _first_choice(reply).get("error")


def _first_choice(event: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = event.get("choices")
    listed = choices if isinstance(choices, list) else []
    first = (one for one in listed if isinstance(one, Mapping) and not one.get("index"))
    return next(first, {})


def _text(value: object) -> str:
    """A text, or the texts of a list of parts (Mistral's way to write content)."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, Mapping))
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _messages(request: VisionRequest, flavour: Flavour, detail: object) -> list[JsonObject]:
    """The picture before everything that depends on the perspective: a prefix cache reads it once (measured)."""
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    user = {"role": "user", "content": _content(request, _prompt(request, flavour), detail)}
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    return [*system, user, *turns]


def _prompt(request: VisionRequest, flavour: Flavour) -> str:
    """The prompt, and the schema in words where the model would not read it otherwise.

    A grammar holds the answer to a form, and tells the model nothing of what the fields are for
    (vllm-project/vllm#31804, ggml-org/llama.cpp#18492).
    """
    read = flavour.shows_schema and request.output_mode in ("json_schema", "json_schema_relaxed")
    if request.schema is None or read:
        return request.prompt
    return f"{request.prompt}\n\n{dialects.describe(_schema(request, request.schema, flavour))}"


def _schema(request: VisionRequest, portable: JsonObject, flavour: Flavour) -> JsonObject:
    """The schema as this output mode has it."""
    if request.output_mode == "json_schema":
        return flavour.schema(portable)
    return dialects.relaxed(portable) if request.output_mode == "json_schema_relaxed" else portable


def _content(request: VisionRequest, prompt: str, detail: object) -> str | list[JsonObject]:
    if request.image is None:
        return prompt
    url = f"data:{request.image.media_type};base64,{PLACE_TEXT}"
    picture = {"url": url, **({"detail": str(detail).lower()} if detail else {})}
    return [{"type": "image_url", "image_url": picture}, {"type": "text", "text": prompt}]


def _response_format(request: VisionRequest, flavour: Flavour) -> JsonObject | None:
    if request.schema is None or request.output_mode == "prompt":
        return None
    if request.output_mode == "json_object":
        # llama-cpp-python 0.3.36 has no json_schema and takes the schema here (measured)
        beside = {"schema": flavour.schema(request.schema)} if flavour.object_schema else {}
        return {"type": "json_object", **beside}
    schema = _schema(request, request.schema, flavour)
    strict = {"strict": request.output_mode == "json_schema"} if flavour.strict else {}
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", request.schema_name)[:64] or "caption"
    return {"type": "json_schema", "json_schema": {"name": name, **strict, "schema": schema}}


def _fixed(profile: Profile) -> tuple[str, ...]:
    return ("temperature", "top_p") if profile.reasoning else ()


def _sampling(request: VisionRequest, flavour: Flavour, profile: Profile) -> JsonObject:
    theirs = {"max_tokens": flavour.max_tokens, "repetition_penalty": flavour.repetition_penalty}
    return {
        theirs.get(option, option): value
        for option, value in request.options.asked().items()
        if option in flavour.spec.takes and option not in _fixed(profile)
    }

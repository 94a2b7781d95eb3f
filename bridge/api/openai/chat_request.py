"""Validate a Chat Completions request, and convert it to a caption request."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bridge.api.openai import models
from bridge.captioning.models import MAX_TOKENS, CaptionOptions
from bridge.captioning.parsing import parse_request
from bridge.captioning.services import Services
from bridge.dispatch.targets import Strict
from bridge.errors import InvalidRequest
from perspectives import perspective as perspectives
from perspectives.perspective import Perspective
from providers.base import JsonObject

# Accepted and ignored: they do not change the answer.
_IGNORED = {
    *("user", "metadata", "safety_identifier", "service_tier", "parallel_tool_calls"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
}
# Rejected, except with these values, which have no effect.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    **dict.fromkeys(("tools", "functions", "stop"), ([],)),
    **dict.fromkeys(("tool_choice", "function_call"), ("none", "auto")),
    **dict.fromkeys(("logprobs", "store"), (False,)),
    **dict.fromkeys(("top_logprobs", "presence_penalty", "frequency_penalty"), (0,)),
    "logit_bias": ({},),
    "modalities": (["text"],),
    **dict.fromkeys(("audio", "prediction", "web_search_options", "moderation", "reasoning_effort", "verbosity"), ()),
}


class ImageUrl(Strict):
    """A data URI or a URL. `detail` is ignored: the bridge knows the size that suits the model."""

    url: str = Field(repr=False)
    detail: Literal["auto", "low", "high", "original"] | None = None


class Part(Strict):
    """A part of a message: text or an image."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.type == "text" and (self.text is None or self.image_url is not None):
            raise PydanticCustomError("part", "a part of type 'text' has text and nothing else")
        if self.type == "image_url" and (self.image_url is None or self.text is not None):
            raise PydanticCustomError("part", "a part of type 'image_url' has image_url and nothing else")
        return self


class Message(Strict):
    """A message. The content of assistant messages is ignored."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part] = Field(default_factory=list)
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _ignore_assistant(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("role") == "assistant":
            return {"role": "assistant"}
        return value

    @field_validator("content", mode="before")
    @classmethod
    def _wrap_text(cls, value: object) -> object:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    @property
    def texts(self) -> list[str]:
        """Return the texts that are not blank."""
        return [part.text for part in self.content if part.text and part.text.strip()]

    @property
    def images(self) -> list[str]:
        return [part.image_url.url.strip() for part in self.content if part.image_url]


class AnswerSchema(Strict):
    """The schema of the answer. It is enforced whether `strict` is set or not."""

    name: str
    json_schema: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """The format of the answer: `text` is the rendered caption. `json_object` and the default are JSON."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: AnswerSchema | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError("format", "json_schema belongs to the type 'json_schema', and to no other")
        return self


class StreamOptions(BaseModel):
    """Options of the stream; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class ChatRequest(Strict):
    """The supported fields. `variables` is an extension: the values of the variables of the perspective."""

    model: str = ""
    messages: list[Message] = Field(min_length=1)
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    variables: dict[str, str] | None = None

    @field_validator("max_completion_tokens")
    @classmethod
    def _check_limit(cls, value: int | None, info: Any) -> int | None:
        """Reject different values of `max_tokens` and `max_completion_tokens`, two names of the same limit."""
        if value is not None and info.data.get("max_tokens") not in (None, value):
            raise PydanticCustomError("limit", "differs from max_tokens, another name of the same limit")
        return value

    @property
    def as_text(self) -> bool:
        """Return whether the answer is the rendered caption and not JSON."""
        return self.response_format is not None and self.response_format.type == "text"


def read_turn(messages: list[Message]) -> tuple[str, list[str], str]:
    """Return the image and the texts of the user after the last assistant message, and the system text.

    Raises InvalidRequest unless the last user message contains exactly one image and the others contain none.
    """
    system = [message for message in messages if message.role in ("system", "developer")]
    last_assistant = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    turn = [message for message in messages[last_assistant + 1 :] if message.role == "user"]
    last = turn[-1].images if turn else []
    images = [image for message in (*system, *turn) for image in message.images]
    if len(last) != 1 or len(images) != 1:
        count = "there is none" if not images else f"there are {len(images)}" if len(images) > 1 else "it is elsewhere"
        raise InvalidRequest(
            f"Send one image as an image_url part (a data URI or an http(s) URL) of the last user message; {count}.",
            (("/messages", "exactly one image"),),
        )
    texts = [text for message in turn for text in message.texts]
    return last[0], texts, "\n\n".join(text for message in system for text in message.texts)


def read_chat(fields: JsonObject, services: Services) -> tuple[ChatRequest, Perspective, CaptionOptions]:
    """Return the request, its perspective and the caption's options. Raises InvalidRequest or PerspectiveError."""
    chat = parse_request(ChatRequest, _supported(fields))
    name = models.parse_name(chat.model)
    schema = chat.response_format.json_schema if chat.response_format else None
    listed = services.catalog.get(name.perspective) if name.perspective else None
    if listed is None and schema is None:
        raise InvalidRequest(
            "Name a perspective as the model, or send a schema as a response_format of type json_schema. "
            "GET /v1/models lists the perspectives.",
            (("/model", "names no perspective"),),
        )
    if listed is not None and schema is not None:
        raise InvalidRequest(
            f"The perspective '{listed.name}' has its own schema. Leave out json_schema, or name no perspective.",
            (("/response_format", "json_schema together with a perspective"),),
        )
    image, texts, system = read_turn(chat.messages)
    options = {
        "image": {"base64" if image[:5].lower() == "data:" else "url": image},
        "provider": name.provider or None,
        "model": name.model or None,
        "max_tokens": chat.max_completion_tokens or chat.max_tokens,
        **chat.model_dump(include={"temperature", "top_p", "seed", "variables"}),
        "global_context": system or None,
        "context": texts if listed else None,
    }
    return chat, listed or _inline(schema, texts), parse_request(CaptionOptions, options)


def _supported(fields: JsonObject) -> JsonObject:
    """Return the supported fields that are not null. Raises InvalidRequest, which names all unsupported fields."""
    fields = {name: value for name, value in fields.items() if value is not None and name not in _IGNORED}
    rejected = [name for name in fields if name in _UNSUPPORTED and fields[name] not in _UNSUPPORTED[name]]
    if rejected:
        pointers = tuple((f"/{name}", "is not supported") for name in rejected)
        raise InvalidRequest(f"Captions do not support {', '.join(rejected)}. Leave it out.", pointers)
    return {name: value for name, value in fields.items() if name not in _UNSUPPORTED}


def _inline(schema: AnswerSchema | None, texts: list[str]) -> Perspective:
    """Return a perspective with the user's text as its prompt. It has no variables, so braces are text."""
    assert schema is not None
    if not texts:
        raise InvalidRequest("Send the model's instruction as text of the user's message.", (("/messages", "no text"),))
    document: JsonObject = {
        "name": schema.name,
        "description": schema.description,
        "prompt": "\n\n".join(texts),
        "variables": [],
        "json_schema": schema.json_schema,
    }
    return perspectives.parse(document, reserved_check=False)

"""Validate a Chat Completions request, and convert it to a caption request."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bridge.api.openai import models
from bridge.api.openai.messages import Message, read_turn
from bridge.captioning.models import MAX_TOKENS, CaptionOptions, JsonObject
from bridge.captioning.parsing import parse_request
from bridge.captioning.services import Services
from bridge.dispatch.targets import Strict
from bridge.errors import InvalidRequest
from perspectives import perspective as perspectives
from perspectives.perspective import Perspective

# Accepted and ignored: they do not change the answer.
_IGNORED = {
    *("user", "metadata", "safety_identifier", "service_tier", "parallel_tool_calls"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
}
# Rejected, except with these values, which have no effect.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "moderation": (),
    "reasoning_effort": (),
    "verbosity": (),
    "store": (False,),
}


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
    """The fields that are used. `variables` is an extension: the values of the variables of the perspective."""

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
        """Accept both names of the limit when their values are equal."""
        if value is not None and info.data.get("max_tokens") not in (None, value):
            raise PydanticCustomError("limit", "differs from max_tokens, another name of the same limit")
        return value

    @property
    def as_text(self) -> bool:
        """Return whether the answer is the rendered caption and not JSON."""
        return self.response_format is not None and self.response_format.type == "text"


def read_chat(fields: JsonObject, services: Services) -> tuple[ChatRequest, Perspective, CaptionOptions]:
    """Validate a chat request, and return it with the perspective and the options of the caption.

    The perspective is either named by `model` or built from the schema and the user's text. Raises InvalidRequest or
    PerspectiveError.
    """
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
            (("/response_format", "json_schema beside a perspective"),),
        )
    turn = read_turn(chat.messages)
    options = parse_request(
        CaptionOptions,
        {
            "image": {"base64" if turn.image[:5].lower() == "data:" else "url": turn.image},
            "provider": name.provider or None,
            "model": name.model or None,
            "max_tokens": chat.max_completion_tokens or chat.max_tokens,
            "temperature": chat.temperature,
            "top_p": chat.top_p,
            "seed": chat.seed,
            "variables": chat.variables,
            "global_context": turn.system or None,
            "context": list(turn.texts) if listed else None,
        },
    )
    return chat, listed or _inline(schema, turn.texts), options


def _supported(fields: JsonObject) -> JsonObject:
    """Return the used fields that are not null. Raises InvalidRequest, which names all unsupported fields."""
    fields = {name: value for name, value in fields.items() if value is not None and name not in _IGNORED}
    rejected = [name for name in fields if name in _UNSUPPORTED and fields[name] not in _UNSUPPORTED[name]]
    if rejected:
        raise InvalidRequest(
            f"Captions do not support {', '.join(rejected)}. Leave it out.",
            tuple((f"/{name}", "is not supported") for name in rejected),
        )
    return {name: value for name, value in fields.items() if name not in _UNSUPPORTED}


def _inline(schema: AnswerSchema | None, texts: tuple[str, ...]) -> Perspective:
    """Return a perspective with the user's text as its prompt. It has no variables, so braces are text."""
    assert schema is not None
    if not texts:
        raise InvalidRequest(
            "Send the instruction for the model as text of the user's message.", (("/messages", "no text"),)
        )
    document: JsonObject = {
        "name": schema.name,
        "description": schema.description,
        "prompt": "\n\n".join(texts),
        "variables": [],
        "json_schema": schema.json_schema,
    }
    return perspectives.parse(document, reserved_check=False)

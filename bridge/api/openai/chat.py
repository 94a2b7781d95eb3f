"""A chat request as OpenAI's clients write it, and the caption it asks for."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bridge.api.openai import models
from bridge.api.openai.conversation import Message, read_turn
from bridge.captioning.models import MAX_TOKENS, CaptionOptions, JsonObject, Strict
from bridge.captioning.parse import validate
from bridge.captioning.plan import Plan, settle, write_prompt
from bridge.captioning.services import Services
from bridge.errors import InvalidRequest
from perspectives import perspective as perspectives
from perspectives.perspective import Perspective

# What does not touch the answer, or cannot without a field that is refused.
_IGNORED = {
    *("user", "metadata", "safety_identifier", "service_tier", "parallel_tool_calls"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
}
# What would, with the values that ask for nothing.
_NOT_OFFERED: dict[str, tuple[object, ...]] = {
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
    """A schema that the answer is held to; `strict` or not, it is."""

    name: str
    json_schema: JsonObject = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """`text` asks for the rendered caption; without a format, and with json_object, the answer is JSON."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: AnswerSchema | None = None

    @model_validator(mode="after")
    def _schema_by_type(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError("format", "json_schema holds the schema of type 'json_schema', and of no other")
        return self


class StreamOptions(BaseModel):
    """How the stream is told; what else it may hold is about padding."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class ChatRequest(Strict):
    """What is read of a chat request. `variables` is ours: values for the perspective's placeholders."""

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
    def _one_limit(cls, value: int | None, info: Any) -> int | None:
        """The two names of one limit may both be given, with one value."""
        if value is not None and info.data.get("max_tokens") not in (None, value):
            raise PydanticCustomError("limit", "differs from max_tokens, which is the same limit")
        return value


@dataclass(frozen=True)
class Asked:
    """The caption that a chat request asks for, and how it wants to be told of it."""

    plan: Plan
    model: str
    as_text: bool
    streams: bool
    include_usage: bool


def read(fields: JsonObject, services: Services, provider_key: str) -> Asked:
    """Settle a chat request. Raises InvalidRequest, PerspectiveError, DispatchError; costs no I/O."""
    chat = validate(ChatRequest, _offered(fields))
    wanted = chat.response_format
    return Asked(
        plan=_plan(chat, services, provider_key),
        model=chat.model,
        as_text=wanted is not None and wanted.type == "text",
        streams=chat.stream,
        include_usage=chat.stream_options.include_usage,
    )


def _offered(fields: JsonObject) -> JsonObject:
    """The fields that matter; null is absent. Raises InvalidRequest naming every one that is not offered."""
    given = {name: value for name, value in fields.items() if value is not None and name not in _IGNORED}
    refused = [name for name in given if name in _NOT_OFFERED and given[name] not in _NOT_OFFERED[name]]
    if refused:
        raise InvalidRequest(
            f"A caption is one whole object, so this is not offered: {', '.join(refused)}. Leave it out"
            + ("; for another caption of the same image ask again with another seed." if "n" in refused else "."),
            tuple((f"/{name}", "is not offered") for name in refused),
        )
    return {name: value for name, value in given.items() if name not in _NOT_OFFERED}


def _plan(chat: ChatRequest, services: Services, provider_key: str) -> Plan:
    """The caption to be made: by the perspective that is named, or by the schema and the user's own words."""
    name = models.read(chat.model)
    schema = chat.response_format.json_schema if chat.response_format else None
    named = services.catalog.get(name.perspective) if name.perspective else None
    if named is None and schema is None:
        raise InvalidRequest(
            "Name a perspective as the model, or send the schema of the answer as a response_format of type "
            "json_schema. GET /v1/models lists the perspectives.",
            (("/model", "names no perspective"),),
        )
    if named is not None and schema is not None:
        raise InvalidRequest(
            f"The perspective '{named.name}' has its own schema, so response_format takes no json_schema with it. "
            "Leave it out, or name no perspective.",
            (("/response_format", "json_schema beside a perspective"),),
        )
    turn = read_turn(chat.messages)
    options = validate(
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
            "context": list(turn.texts) if named else None,
        },
    )
    perspective = named or _inline(schema, turn.texts)
    return Plan(options, perspective, write_prompt(perspective, options), settle(options, services, provider_key))


def _inline(schema: AnswerSchema | None, texts: tuple[str, ...]) -> Perspective:
    """A perspective of the user's words. No variables: every brace in them is meant as it stands."""
    assert schema is not None
    if not texts:
        raise InvalidRequest(
            "Say in the user's message what the model is to do with the image.", (("/messages", "holds no text"),)
        )
    document: JsonObject = {
        "name": schema.name,
        "description": schema.description,
        "prompt": "\n\n".join(texts),
        "variables": [],
        "json_schema": schema.json_schema,
    }
    return perspectives.parse(document, reserved_check=False)

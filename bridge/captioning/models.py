"""Requests, captions, problems and stream events, which are the same for HTTP, the command line and Python."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from bridge.config.models import Trigger
from bridge.dispatch.targets import ShortText, Strict, TargetRequest
from bridge.run import PartialEvent, Progress, Reset
from providers.base import JsonObject, OutputMode

MAX_TOKENS = 200_000
MAX_CONTEXT = 1_000_000  # maximum total characters of a request's contexts
Text = Annotated[str, StringConstraints(max_length=200_000)]
Preset = Literal["NONE", "SD_VGA", "HD_720P", "FHD_1080P", "QHD_1440P", "UHD_4K", "UHD_8K"]


def _reject_boolean(value: object) -> object:
    """Reject true and false, which pydantic accepts as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number, not true or false")
    return value


Cost = Annotated[
    float | None, Field(description="US dollars by the provider's list prices, `null` if they are not known.")
]
_NOT_BOOLEAN = BeforeValidator(_reject_boolean)
_EMPTY_AS_NULL = BeforeValidator(lambda value: value or None)


class ImageRef(Strict):
    """The source of the image. Exactly one field is set."""

    path: ShortText | None = Field(
        None, description="Path inside the workspace.", examples=["datasets/samples/coffee.jpg"]
    )
    url: Annotated[str, StringConstraints(max_length=8_000)] | None = Field(None, description="http(s) URL.")
    base64: str | None = Field(None, description="Bare base64 or a data URI.", repr=False)

    @model_validator(mode="before")
    @classmethod
    def _require_object(cls, value: object) -> object:
        if isinstance(value, str):
            raise PydanticCustomError("image", 'must be {"path": …}, {"url": …} or {"base64": …}')
        return value


class Fallback(TargetRequest):
    """Another target, called after any failure (`any`) or only after a refusal (`refusal`)."""

    on: Trigger = "any"


Texts = Annotated[list[Text], Field(max_length=100)]
Fallbacks = Annotated[list[Fallback], Field(max_length=8)]


class CaptionOptions(TargetRequest):
    """The fields of a caption request without its perspective; only the image is required."""

    image: ImageRef | None = None
    # The sampling options: the fields of `providers.base.Options`.
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS), _NOT_BOOLEAN] | None = Field(
        None, description="Longest answer, in tokens."
    )
    temperature: Annotated[float, Field(ge=0, le=2), _NOT_BOOLEAN] | None = Field(
        None, description="Sampling temperature, 0 to 2."
    )
    top_p: Annotated[float, Field(gt=0, le=1), _NOT_BOOLEAN] | None = Field(
        None, description="Nucleus sampling, above 0 to 1."
    )
    repetition_penalty: Annotated[float, Field(gt=0, le=2), _NOT_BOOLEAN] | None = Field(
        None, description="Penalty for repetition, above 0 to 2. 1: no penalty."
    )
    seed: Annotated[int, Field(ge=0, le=2**63 - 1), _NOT_BOOLEAN] | None = Field(
        None, description="Seed of the random sampling."
    )
    context: Texts | None = Field(None, description="Texts that accompany the image, each in a tag of its own.")
    global_context: Text | None = Field(None, description="The system message.")
    variables: dict[str, Text] | None = Field(None, description="Values for the perspective's placeholders.")
    resize_resolution: Preset | None = None
    fallbacks: Fallbacks = Field(default_factory=list)
    timeout: Annotated[float, Field(gt=0), _NOT_BOOLEAN] | None = Field(
        None, description="Seconds; it can only shorten the service's own limit."
    )
    max_output_retries: Annotated[int, Field(ge=0, le=3), _NOT_BOOLEAN] | None = Field(
        None, description="How often the model is asked again after an invalid answer (default 2)."
    )

    @field_validator("context", mode="before", json_schema_input_type=Texts | str | None)
    @classmethod
    def _as_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("context")
    @classmethod
    def _check_total(cls, value: list[str] | None) -> list[str] | None:
        """Limit the total size of the prompts of an analysis. Each perspective has a copy of the contexts."""
        if value and sum(map(len, value)) > MAX_CONTEXT:
            raise PydanticCustomError("context", f"has more than {MAX_CONTEXT:,} characters in total")
        return value

    @field_validator("fallbacks", mode="before", json_schema_input_type=Fallbacks | None)
    @classmethod
    def _null_as_empty(cls, value: object) -> object:
        """Treat null as unset, as in every other field."""
        return [] if value is None else value


class CaptionRequest(CaptionOptions):
    """One caption request: a perspective by name, or the perspective itself."""

    perspective: str | JsonObject = Field(examples=["alt_text"])


class AnalyzeRequest(CaptionOptions):
    """Several perspectives over one image, and optionally one that synthesizes their captions."""

    perspectives: list[str | JsonObject] = Field(min_length=1, max_length=32, examples=[["alt_text", "training_tags"]])
    synthesize: str | JsonObject | None = Field(
        None, description="A perspective that runs last, with the others' rendered captions as context."
    )


class UsageOut(BaseModel):
    """Tokens of all calls of the request. Null: not reported by the provider."""

    model_config = ConfigDict(from_attributes=True)

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None


class ImageOut(BaseModel):
    """The image as it was sent to the provider."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    media_type: str
    bytes: int
    actions: list[str] = Field(description="What was done to it, in order; empty when it was sent unchanged.")


class Sparse(BaseModel):
    """Base class of parts of responses. Fields that are None are omitted."""

    model_config = ConfigDict(from_attributes=True)

    @model_serializer(mode="wrap")
    def _omit_none(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # noqa: ANN202
        """Omit fields that are None. (A return type would replace the fields in the JSON Schema.)"""
        return {name: value for name, value in write(self).items() if value is not None}


class Attempt(Sparse):
    """One provider call."""

    provider: str
    endpoint: str = Field(description="The name of the provider's endpoint that was called, else its host and port.")
    model: str
    outcome: str = Field(
        description="`ok`, `invalid_answer` (it failed validation), or the failure: `rate_limited`, `unreachable` …"
    )
    output_mode: str
    ms: float
    status: int | None = Field(None, description="HTTP status of the provider's response, where it failed.")
    provider_message: Annotated[str | None, _EMPTY_AS_NULL] = Field(
        None, description="The provider's own words about a failure, one line."
    )
    raw_text: Annotated[str | None, _EMPTY_AS_NULL] = Field(
        None, description="The first 500 characters of an invalid answer."
    )


class Caption(BaseModel):
    """A caption that validates against its perspective's schema."""

    perspective: str
    provider: str
    model: str
    result: JsonObject = Field(description="The validated object.")
    raw_text: str = Field(description="What the model wrote.")
    rendered: str = Field(description="The caption as one text, by the perspective's context template.")
    usage: UsageOut | None
    cost: Cost = None
    timing: dict[str, float] = Field(description="Milliseconds by stage.")
    image: ImageOut
    attempts: list[Attempt]
    output_mode: OutputMode
    warnings: list[str]
    request_id: str


class Detail(BaseModel):
    """One mistake and its place."""

    pointer: str = Field(description="JSON Pointer (RFC 6901) into the request, perspective or answer.")
    message: str


class Problem(Sparse):
    """An error as a client receives it (RFC 9457 members and a machine-readable code)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="One sentence for a person.")
    instance: str = Field(description="The request id.")
    message: str = Field(description="The same sentence as `detail`.")
    code: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    retry_after: float | None = Field(None, description="Seconds to wait, where that is known.")
    provider: str | None = None
    errors: list[Detail] | None = None
    attempts: list[Attempt] | None = Field(None, description="Every provider call that was made before the failure.")


class Started(BaseModel):
    """The request was accepted. All later errors are events."""

    type: Literal["started"] = "started"
    id: str
    request_id: str


class Result(BaseModel):
    """The caption of a perspective."""

    type: Literal["result"] = "result"
    id: str
    perspective: str
    caption: Caption


class ErrorEvent(BaseModel):
    """The error of a perspective or of the request. `id` and `perspective` are null if unknown."""

    type: Literal["error"] = "error"
    id: str | None
    perspective: str | None
    problem: Problem


class Done(BaseModel):
    """The last event of a request."""

    type: Literal["done"] = "done"
    id: str
    usage: UsageOut | None
    timing: dict[str, float] = Field(description="Milliseconds by stage.")


Event = Annotated[Started | Progress | PartialEvent | Reset | Result | ErrorEvent | Done, Field(discriminator="type")]
"""An event of a stream over SSE, over WebSocket or in Python."""
EVENT: TypeAdapter[Event] = TypeAdapter(Event)

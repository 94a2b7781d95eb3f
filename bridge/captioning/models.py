"""What a caption request holds and what a caption is: the same for HTTP, command line and Python."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

JsonObject = dict[str, Any]
MAX_TOKENS = 200_000
Text = Annotated[str, StringConstraints(max_length=200_000)]
ShortText = Annotated[str, StringConstraints(max_length=2_000)]
Preset = Literal["NONE", "SD_VGA", "HD_720P", "FHD_1080P", "QHD_1440P", "UHD_4K", "UHD_8K"]


class Strict(BaseModel):
    """A request object: an unknown field is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRef(Strict):
    """Where the picture is: exactly one of the three."""

    path: ShortText | None = Field(
        None, description="Path inside the workspace.", examples=["datasets/samples/coffee.jpg"]
    )
    url: Annotated[str, StringConstraints(max_length=8_000)] | None = Field(None, description="http(s) address.")
    base64: str | None = Field(None, description="Bare base64 or a data URI.", repr=False)

    @model_validator(mode="before")
    @classmethod
    def _as_object(cls, value: object) -> object:
        if isinstance(value, str):
            raise PydanticCustomError("image", 'give it as {"path": …}, {"url": …} or {"base64": …}')
        return value


class ProviderOverride(BaseModel):
    """A provider that the request brings along (`provider_config`). Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: ShortText = Field(description="builtin, openai, vllm, ollama, gemini or a gateway.", examples=["ollama"])
    name: ShortText | None = None
    environment: ShortText | None = None
    base_url: ShortText | None = Field(None, examples=["http://127.0.0.1:11434"])
    api_key: SecretStr | None = Field(None, description='The provider\'s key; "" means none.')
    default_model: ShortText | None = None
    models: list[Any] | None = None

    @property
    def key(self) -> str:
        """The key without the wrapper, "" when there is none."""
        return self.api_key.get_secret_value().strip() if self.api_key else ""


class Fallback(Strict):
    """Another target to ask when the first fails (`any`), or only when it refuses (`refusal`)."""

    provider: ShortText | None = None
    model: ShortText | None = None
    provider_config: ProviderOverride | None = None
    on: Literal["any", "refusal"] = "any"


Texts = Annotated[list[Text], Field(max_length=100)]
Fallbacks = Annotated[list[Fallback], Field(max_length=8)]


class CaptionOptions(Strict):
    """Everything a caption request may hold beside the perspective; only the image is required."""

    image: ImageRef | None = None
    provider: ShortText | None = Field(None, description="A configured provider's name.", examples=["builtin"])
    model: ShortText | None = None
    provider_config: ProviderOverride | None = None
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    context: Texts | None = Field(None, description="Texts that go with the picture, each in a tag of its own.")
    global_context: Text | None = Field(None, description="The system message.")
    variables: dict[str, Text] | None = Field(None, description="Values for the perspective's placeholders.")
    resize_resolution: Preset | None = None
    fallbacks: Fallbacks = Field(default_factory=list)
    timeout: float | None = Field(None, gt=0, description="Seconds; it can only shorten the service's own limit.")
    max_output_retries: int | None = Field(
        None, ge=0, le=3, description="How often an answer that does not fit is asked for again (default 2)."
    )

    @field_validator("context", mode="before", json_schema_input_type=Texts | str | None)
    @classmethod
    def _list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("fallbacks", mode="before", json_schema_input_type=Fallbacks | None)
    @classmethod
    def _none(cls, value: object) -> object:
        """Null is what is not given, as in every other field."""
        return [] if value is None else value

    @field_validator(
        *("max_tokens", "temperature", "top_p", "repetition_penalty", "seed", "timeout", "max_output_retries"),
        mode="before",
    )
    @classmethod
    def _number(cls, value: object) -> object:
        """Pydantic takes true for 1."""
        if isinstance(value, bool):
            raise PydanticCustomError("number", "is a number, not true or false")
        return value


class CaptionRequest(CaptionOptions):
    """One caption request: a perspective by name, or the perspective itself."""

    perspective: str | JsonObject = Field(examples=["alt_text"])


class AnalyzeRequest(CaptionOptions):
    """Several perspectives over one image, and one that may bring their captions together."""

    perspectives: list[str | JsonObject] = Field(min_length=1, max_length=32, examples=[["alt_text", "training_tags"]])
    synthesize: str | JsonObject | None = Field(
        None, description="A perspective that runs last, with the others' rendered captions as context."
    )


class UsageOut(BaseModel):
    """Tokens, summed over every call of the request; null where the provider did not tell."""

    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None


class ImageOut(BaseModel):
    """The picture as it was sent, and what was done to it."""

    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    media_type: str
    bytes: int
    actions: list[str] = Field(description="What was done to it, in order; empty when it passed untouched.")


class Attempt(BaseModel):
    """One call to a provider."""

    provider: str
    endpoint: str = Field(description="The name of the provider's endpoint that was asked, else its host and port.")
    model: str
    outcome: str = Field(description="`ok`, or how the call failed: `rate_limited`, `unreachable` …")
    output_mode: str
    ms: float


class Caption(BaseModel):
    """One caption that fits its perspective's schema."""

    perspective: str
    provider: str
    model: str
    result: JsonObject = Field(description="The validated object.")
    raw_text: str = Field(description="What the model wrote.")
    rendered: str = Field(description="The caption as one text, by the perspective's context template.")
    usage: UsageOut | None
    timing: dict[str, float] = Field(description="Milliseconds by stage.")
    image: ImageOut
    attempts: list[Attempt]
    output_mode: Literal["json_schema", "json_schema_relaxed", "json_object", "prompt"]
    warnings: list[str]
    request_id: str

"""Types that only HTTP has: what the React client sends and parses, beside the caption itself."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import from_json

from bridge.captioning.models import Caption, CaptionOptions, ImageRef, JsonObject, ProviderOverride, ShortText, Texts


def _without_image(schema: JsonObject) -> None:
    """Leave out of the document what is not read."""
    schema["properties"].pop("image")


class CaptionFromPath(CaptionOptions):
    """What the React client sends: options flat or under `options`; fields it does not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_without_image)

    perspective: str | JsonObject
    image_path: ShortText = Field(examples=["/workspace/datasets/samples/coffee.jpg"])

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Lift `options` to the top; null means absent; an image is only ever named by its path here."""
        if not isinstance(value, dict):
            return value
        nested = value.get("options")
        if isinstance(nested, dict):
            resize = nested.get("resize_resolution") if nested.get("resize", True) else None
            value = {
                **nested,
                "resize_resolution": resize,
                **{k: v for k, v in value.items() if k != "options"},
            }
        return {name: one for name, one in value.items() if one is not None and name != "image"}

    @field_validator("context", mode="before", json_schema_input_type=Texts | str | None)
    @classmethod
    def _context(cls, value: object) -> object:
        """Upstream also takes a plain string, or a string that holds a JSON list."""
        if not isinstance(value, str):
            return value
        try:
            read = from_json(value)
        except ValueError:
            return [value]
        return read if isinstance(read, list) else [value]

    def image_ref(self) -> ImageRef:
        """The path as an image reference."""
        return ImageRef(path=self.image_path)


class Metadata(BaseModel):
    """What the React client keeps with a caption: four strings."""

    model: str
    provider: str
    version: str
    config_name: str


class UsageTold(BaseModel):
    """Tokens, summed over every call of the request; what the provider did not tell is left out."""

    model_config = ConfigDict(from_attributes=True)

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class CaptionWithMetadata(Caption):
    """A caption as `caption-from-path` answers it; fields that are null are left out."""

    usage: UsageTold | None = None  # type: ignore[assignment]
    metadata: Metadata


class ColumnOut(BaseModel):
    """A column of a perspective's table."""

    name: str
    style: str


class FieldOut(BaseModel):
    """A field of a perspective, its type as a word."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: str
    description: str
    is_list: bool | None = None
    is_complex: bool | None = None
    fields: "list[FieldOut] | None" = None


class SchemaOut(BaseModel):
    """graphcap's envelope of a perspective's schema."""

    name: str
    display_name: str
    version: str
    prompt: str
    context_template: str
    schema_fields: list[FieldOut]
    table_columns: list[ColumnOut]


class PerspectiveOut(BaseModel):
    """A perspective, as it is listed and as it may be sent back whole."""

    model_config = ConfigDict(extra="allow")

    name: str
    display_name: str
    version: str
    description: str
    schema_: SchemaOut = Field(alias="schema")
    json_schema: JsonObject = Field(description="What the model is held to.")


class PerspectiveList(BaseModel):
    """Every enabled perspective, by priority and name."""

    perspectives: list[PerspectiveOut]


class ModuleOut(BaseModel):
    """A module of perspectives."""

    name: str
    display_name: str
    description: str
    enabled: bool
    perspective_count: int


class ModuleList(BaseModel):
    """Every module, disabled ones too."""

    modules: list[ModuleOut]


class ModulePerspectives(BaseModel):
    """One module and what is in it."""

    module: ModuleOut
    perspectives: list[PerspectiveOut]


class ProviderOut(BaseModel):
    """A provider that a request may name."""

    name: str
    kind: str
    title: str
    base_url: str = Field(description="Empty where the service listens on more than loopback.")
    default_model: str
    models: list[str] = Field(description="The models its configuration names; `/models` asks the server itself.")
    needs_key: bool
    has_key: bool = Field(description="Whether a key is configured; the key itself is never told.")
    is_default: bool


class ProviderList(BaseModel):
    """Every provider that can be named."""

    providers: list[ProviderOut]


class ModelOut(BaseModel):
    """A model that a provider serves."""

    id: str
    name: str
    is_default: bool = False


class ModelList(BaseModel):
    """What a provider lists, asked just now."""

    provider: str
    models: list[ModelOut]


class ProviderBody(ProviderOverride):
    """A provider_config on its own, as the React client sends it; `model` is tried in place of its default."""

    model: ShortText | None = None


class ProviderByName(BaseModel):
    """A body without `kind`: the path names a configured provider."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: ShortText | None = None
    default_model: ShortText | None = None


class StepOut(BaseModel):
    """One step that was really taken."""

    step: Literal["initialize_client", "list_models", "test_chat_completion"]
    status: Literal["success", "failed"]
    timestamp: str
    message: str | None = None
    error: str | None = None


class WarningOut(BaseModel):
    """A remark on the connection."""

    warning_type: str
    message: str


class Diagnostics(BaseModel):
    """The steps of a connection test, in order; a step that was not taken is absent."""

    connection_steps: list[StepOut]
    warnings: list[WarningOut]


class TestDetails(BaseModel):
    """What the steps found."""

    __test__ = False

    models_count: int | None = None
    test_model: str | None = None


class TestResult(BaseModel):
    """Diagnostics and details together, as the success dialog reads them."""

    __test__ = False

    diagnostics: Diagnostics
    details: TestDetails


class ConnectionTest(BaseModel):
    """What a connection test found. `status` is "success" only when every step was."""

    status: Literal["success", "failed"]
    message: str
    provider: str
    result: TestResult


class Health(BaseModel):
    """The process serves."""

    status: Literal["healthy"] = "healthy"
    version: str
    providers: list[JsonObject]

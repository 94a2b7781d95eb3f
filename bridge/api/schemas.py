"""Models that only HTTP uses: requests and responses of the React client, and lists."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import from_json

from bridge.captioning.models import Caption, CaptionOptions, ImageOut, Problem, Texts, UsageOut
from bridge.dispatch.targets import ProviderOverride, ShortText
from providers.base import JsonObject
from providers.checks import Status, StepName
from providers.local_process import State


def _without_image(schema: JsonObject) -> None:
    """Omit the field `image`, which is ignored, from the OpenAPI document."""
    schema["properties"].pop("image")


class CaptionFromPath(CaptionOptions):
    """A caption request of the React client. Options are fields of it or of `options`. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=_without_image)

    perspective: str | JsonObject
    image_path: ShortText = Field(examples=["/workspace/datasets/samples/coffee.jpg"])

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """Move the fields of `options` to the top level. Drop nulls and the ignored field `image`."""
        if not isinstance(value, dict):
            return value
        nested = value.get("options")
        if isinstance(nested, dict):
            resize = nested.get("resize_resolution") if nested.get("resize", True) else None
            value = {**nested, "resize_resolution": resize, **value, "options": None}
        return {name: field for name, field in value.items() if field is not None and name != "image"}

    @field_validator("context", mode="before", json_schema_input_type=Texts | str | None)
    @classmethod
    def _context(cls, value: object) -> object:
        """Accept a list, a JSON list in a string, or one plain text."""
        if not isinstance(value, str):
            return value
        try:
            parsed = from_json(value)
        except ValueError:
            return [value]
        return parsed if isinstance(parsed, list) else [value]


class Metadata(BaseModel):
    """Metadata that the React client stores with a caption."""

    model: str
    provider: str
    version: str
    config_name: str


class ReportedUsage(BaseModel):
    """Tokens of all calls of the request together. Numbers that the provider did not report are left out."""

    model_config = ConfigDict(from_attributes=True)

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class CaptionWithMetadata(Caption):
    """A caption for the React client. Fields without a value are left out."""

    usage: ReportedUsage | None = None  # type: ignore[assignment]
    metadata: Metadata


class AnalyzeOut(BaseModel):
    """The captions of one image, by perspective. The status is 200 if at least one caption succeeded."""

    results: dict[str, Caption] = Field(description="By perspective, in the order of the request.")
    errors: dict[str, Problem] = Field(description="By perspective; a failed synthesizer under its own name.")
    synthesis: Caption | None
    image: ImageOut | None
    usage: UsageOut | None = Field(description="Summed over all captions.")
    timing: dict[str, float] = Field(description="Milliseconds by stage.")
    request_id: str


class AllFailed(Problem):
    """The problem of an analysis without any caption. `errors` contains the problem of each perspective."""

    errors: dict[str, Problem]  # type: ignore[assignment]


class ColumnOut(BaseModel):
    """A column of the table that shows captions of a perspective."""

    name: str
    style: str


class FieldOut(BaseModel):
    """A field of the captions of a perspective."""

    model_config = ConfigDict(extra="allow")

    name: str
    type: str
    description: str
    is_list: bool | None = None
    is_complex: bool | None = None
    fields: "list[FieldOut] | None" = None


class SchemaOut(BaseModel):
    """The schema of a perspective in the format of graphcap."""

    name: str
    display_name: str
    version: str
    prompt: str
    context_template: str
    schema_fields: list[FieldOut]
    table_columns: list[ColumnOut]


class PerspectiveSummary(BaseModel):
    """A perspective without its prompt and schemas."""

    model_config = ConfigDict(extra="allow")

    name: str
    display_name: str
    version: str
    description: str


class PerspectiveOut(PerspectiveSummary):
    """A perspective. A request may contain the same object as its `perspective`."""

    schema_: SchemaOut = Field(alias="schema")
    json_schema: JsonObject = Field(description="The schema that answers have to match.")


class PerspectiveList(BaseModel):
    """The enabled perspectives, by priority and name."""

    perspectives: list[PerspectiveOut]


class PerspectiveSummaryList(BaseModel):
    """The enabled perspectives without their prompts and schemas, by priority and name."""

    perspectives: list[PerspectiveSummary]


class ModuleOut(BaseModel):
    """A group of perspectives that can be disabled together."""

    name: str
    display_name: str
    description: str
    enabled: bool
    perspective_count: int


class ModuleList(BaseModel):
    """The modules, including disabled ones."""

    modules: list[ModuleOut]


class ModulePerspectives(BaseModel):
    """A module and its perspectives."""

    module: ModuleOut
    perspectives: list[PerspectiveOut]


class ProviderOut(BaseModel):
    """A provider that requests can name."""

    name: str
    kind: str
    title: str
    base_url: str = Field(description="Empty when the service listens on more than loopback.")
    default_model: str
    models: list[str] = Field(
        description="The models of its configuration; `/models` lists those that the server offers."
    )
    needs_key: bool
    has_key: bool = Field(description="Whether a key is configured; the key itself is never shown.")
    is_default: bool


class ProviderList(BaseModel):
    """The providers that requests can name."""

    providers: list[ProviderOut]


class ModelOut(BaseModel):
    """A model of a provider."""

    id: str
    name: str
    is_default: bool = False


class ModelList(BaseModel):
    """The models that a provider reports now."""

    provider: str
    models: list[ModelOut]


class ProviderBody(ProviderOverride):
    """A provider that the request describes. `model` replaces its `default_model`."""

    model: ShortText | None = None


class ProviderByName(BaseModel):
    """A request without `kind`, about the configured provider in the path."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: ShortText | None = None
    default_model: ShortText | None = None


class StepOut(BaseModel):
    """A step of a connection test."""

    step: StepName
    status: Status
    timestamp: str
    message: str | None = None
    error: str | None = None


class WarningOut(BaseModel):
    """A warning of a connection test."""

    warning_type: str
    message: str


class Diagnostics(BaseModel):
    """The steps of a connection test that were run, in order, and its warnings."""

    connection_steps: list[StepOut]
    warnings: list[WarningOut]


class TestDetails(BaseModel):
    """The findings of a connection test."""

    models_count: int | None = None
    test_model: str | None = None


class TestResult(BaseModel):
    """The steps and the findings of a connection test."""

    diagnostics: Diagnostics
    details: TestDetails


class ConnectionTest(BaseModel):
    """The result of a connection test. `status` is `success` if every step succeeded."""

    status: Status
    message: str
    provider: str
    result: TestResult


class EndpointCounts(BaseModel):
    """Counts of endpoints. Endpoints that are disabled or not probed yet are neither healthy nor unhealthy."""

    total: int
    healthy: int = Field(description="The last probe succeeded, and the circuit breaker is not open.")
    unhealthy: int = Field(description="The last probe failed, or the circuit breaker is open.")


class EngineState(BaseModel):
    """The process of an embedded engine (provider `local`)."""

    model: str
    state: State
    calls: int = Field(description="Calls in progress.")
    load_seconds: float | None = Field(description="How long the model took to load.")
    last_exit: int | None = Field(description="Exit code of the last process, negative for a signal.")


class Health(BaseModel):
    """The state of the service and its providers."""

    status: Literal["healthy"] = "healthy"
    version: str
    endpoint_counts: EndpointCounts
    providers: list[JsonObject] = Field(description="Each with its `endpoints` and `endpoint_counts`.")
    engines: list[EngineState] = Field(description="The embedded engines that have been used.")

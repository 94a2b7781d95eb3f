"""pydantic models of perspective files and of the settings file. Unknown keys are kept; null counts as absent."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from perspectives.errors import Problem, below
from perspectives.json_values import JsonObject
from perspectives.prompt import IDENTIFIER

Kind = Literal["perspective", "synthesizer", "custom"]


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_number_as_text)]


class Form(BaseModel):
    """Base class of these models. Values are not converted to other types."""

    model_config = ConfigDict(strict=True, extra="allow", regex_engine="python-re")

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


F = TypeVar("F", bound=Form)


class Column(Form):
    name: str
    style: str = ""
    description: str = ""

    def to_wire(self) -> dict[str, str]:
        return self.model_dump(include={"name", "style", *(["description"] if self.description else [])})


class Variable(Form):
    """A variable of a prompt. A variable without a `default` is required."""

    name: str = Field(pattern=rf"^{IDENTIFIER}\Z")
    description: str = ""
    default: str | None = None
    required: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.required and self.default is not None:
            raise PydanticCustomError("required", "A required variable has no default.")
        if self.required is False:
            self.default = self.default or ""
        self.required = self.default is None
        return self

    def to_wire(self) -> JsonObject:
        wire: JsonObject = {"name": self.name, "description": self.description, "required": self.required}
        return wire if self.default is None else {**wire, "default": self.default}


class FieldEntry(Form):
    """A field in graphcap's notation."""

    name: str = Field(min_length=1)
    type: str = ""
    description: str = ""
    is_list: bool = False
    is_complex: bool | None = None
    fields: list["FieldEntry"] = []


class PerspectiveForm(Form):
    """A perspective as written in a file. `digest` and `warnings`, which the API adds, are ignored."""

    name: Text = ""
    display_name: Text = ""
    version: Text = ""
    prompt: Text = ""
    description: Text = ""
    context_template: Text = ""
    module: Text = ""
    replacement: Text = ""
    type: Any = "perspective"
    tags: list[str] = []
    deprecated: bool = False
    priority: int = 100
    table_columns: list[Column] = []
    variables: list[Variable] | None = None
    schema_fields: list[FieldEntry] = []
    json_schema: Any = None
    digest: Any = None
    warnings: Any = None

    @field_validator("variables")
    @classmethod
    def _has_unique_names(cls, variables: list[Variable]) -> list[Variable]:
        if len({variable.name for variable in variables}) < len(variables):
            raise PydanticCustomError("unique", "Two variables have the same name.")
        return variables


class ModuleSetting(Form):
    enabled: bool = True
    display_name: str = ""


class SettingsForm(Form):
    """`perspective_settings.json`. `local_override`: later directories may replace perspectives of earlier ones."""

    modules: dict[str, Any] = {}
    local_override: bool = True


def validated(form: type[F], data: object, pointer: Callable[[str], str], problems: list[Problem]) -> F:
    """Read an object as `form`. Mistakes are appended to `problems`, and invalid keys are read as if absent.

    All keys of `form` must have a default. `pointer` returns the JSON Pointer of a key; for "", that of the object
    itself.
    """
    try:
        return form.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    for mistake in mistakes:
        key, *rest = mistake["loc"] or ("",)
        problems.append(Problem(below(pointer(str(key)), *rest), f"{mistake['msg'].removesuffix('.')}."))
    invalid = {mistake["loc"][0] for mistake in mistakes if mistake["loc"]}
    valid = data.items() if isinstance(data, dict) else ()
    return form.model_validate({key: value for key, value in valid if key not in invalid})

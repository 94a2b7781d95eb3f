"""Read `providers.toml` and validate its structure: keys, types and ranges."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from bridge.config.models import BreakerSettings, Count, FallbackSettings, PositiveNumber, Strategy
from bridge.settings import SettingsError
from perspectives.errors import suggestion
from providers import registry

Seconds = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


def _check_name(name: str) -> str:
    if not 1 <= len(name) <= 80 or name[0].isspace() or "@" in name or "/" in name:
        raise ValueError("A provider's name has 1 to 80 characters, no '@' or '/', and does not begin with a space.")
    return name


def _check_kind(kind: str) -> str:
    kinds = [spec.kind for spec in registry.specs()]
    if kind not in kinds:
        raise ValueError(f"Unknown kind {kind!r}.{suggestion(kind, kinds)} Known kinds: {', '.join(kinds)}.")
    return kind


class Table(BaseModel):
    """A table of the file. Unknown keys are rejected."""

    model_config = ConfigDict(extra="forbid")


class ServerTable(Table):
    """The limits and the API key of an endpoint, or the default for all endpoints of a provider."""

    max_concurrency: Count | None = None
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout: Seconds | None = None
    attempt_timeout: Seconds | None = None
    probe_interval: Seconds | None = None

    api_key: str = Field("", repr=False)
    api_key_env: str = ""
    api_key_file: str = ""

    @model_validator(mode="after")
    def _check_one_key(self) -> "ServerTable":
        if sum(map(bool, (self.api_key, self.api_key_env, self.api_key_file))) > 1:
            raise ValueError("Set only one of api_key, api_key_env and api_key_file.")
        return self

    def limits(self) -> dict[str, Any]:
        names = {name for name in ServerTable.model_fields if not name.startswith("api_key")}
        return self.model_dump(include=names, exclude_none=True)


class EndpointTable(ServerTable):
    """One of a provider's `endpoints`."""

    base_url: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(max_length=80)] = ""
    weight: PositiveNumber = 1
    enabled: Annotated[bool, Field(strict=True)] = True


# A string is an endpoint with this address.
Endpoint = Annotated[EndpointTable, BeforeValidator(lambda url: {"base_url": url} if isinstance(url, str) else url)]


class ProviderTable(ServerTable):
    """One `[providers.<name>]` table."""

    kind: Annotated[str, AfterValidator(_check_kind)]
    base_url: str = ""
    default_model: str = ""
    models: list[str] = []
    endpoints: Annotated[list[Endpoint], Field(min_length=1)] | None = None
    strategy: Strategy = "least_connections"
    breaker: BreakerSettings = BreakerSettings()
    fallbacks: Annotated[list[FallbackSettings], Field(max_length=8)] = []
    options: dict[str, Any] = {}


class ProvidersFile(Table):
    """The content of `providers.toml`."""

    providers: dict[Annotated[str, AfterValidator(_check_name)], ProviderTable] = {}
    routing: dict[str, str] = {}


def read(file: Path) -> ProvidersFile:
    """Return the validated file, empty if there is none. Raises SettingsError, whose messages contain no values."""
    try:
        return ProvidersFile.model_validate(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return ProvidersFile()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError((f"{file.name}: The file cannot be read: {error}.",)) from None
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise SettingsError(tuple(f"{file.name}: {_sentence(item)}" for item in errors)) from None


_TABLES = (ProvidersFile, ProviderTable, EndpointTable)
_KEYS = {key for table in _TABLES for key in table.model_fields}
_KEYS |= {field.name for table in (BreakerSettings, FallbackSettings) for field in fields(table)}
_TABLE_EXPECTED = ("dict_type", "model_type", "dataclass_type")


def _sentence(error: Any) -> str:
    """Return the place of a mistake and a sentence, which is clearer than pydantic's for some kinds of mistakes."""
    sentence = f"{error['msg']}."
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        sentence = f"Unknown key.{suggestion(str(error['loc'][-1]), _KEYS)}"
    elif error["type"] == "value_error":
        sentence = str(error["ctx"]["error"])
    elif error["type"] == "missing":
        sentence = "This key is required."
    elif error["type"] in _TABLE_EXPECTED:
        sentence = "Input should be a table."
    return f"{'.'.join(str(step) for step in error['loc'] if step != '[key]')}: {sentence}"

"""Everything that can be configured, read once at start: one frozen Settings, all mistakes in one list."""

import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "GRAPHCAP_"
MIB = 1024 * 1024
SECRETS = ("api_keys", "rate_limit_storage")
"""Settings that are no option of the command line, and may stand in a file instead."""
STORAGES = ("memory", "redis", "rediss", "redis+unix")
OTHERS = frozenset({"GRAPHCAP_PROVIDER_KEY", "GRAPHCAP_REQUIRE_TOOLS"})
"""Names that are read elsewhere than here: by `graphcap caption`, and by the tests."""


class SettingsError(Exception):
    """The configuration cannot be used. `mistakes` names all of them, one sentence each."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("The configuration has mistakes:\n" + "\n".join(f"  - {one}" for one in mistakes))
        self.mistakes = mistakes


def _split(value: object) -> object:
    """Read a list as JSON or separated by commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        import json

        return json.loads(text)
    return [item.strip() for item in text.split(",") if item.strip()]


def _some(value: object) -> object:
    """Read a list that was given, and so must hold something: an empty one would leave a door open unseen."""
    found = _split(value)
    if isinstance(value, str) and not found:
        raise ValueError("holds nothing; leave it unset where nothing is meant")
    return found


def _concurrency() -> Any:
    """The convention's variable, as it stands: what is no number is then told like any other mistake."""
    return os.environ.get("WEB_CONCURRENCY") or 1


def is_network(text: str) -> bool:
    """Whether it is an address or a network, such as 10.0.0.0/8, and no name."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Ports = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_some)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """The settings of one process. Each is `GRAPHCAP_<NAME>` in the environment and `--<name>` of `serve`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on; the container sets 0.0.0.0.")
    port: int = Field(32100, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    root_path: str = Field("", description="Path prefix under which a proxy publishes the service.")
    workers: int = Field(
        default_factory=_concurrency,
        ge=1,
        description="Worker processes; `WEB_CONCURRENCY` is read too.",
    )
    workspace: Path = Field(Path("workspace"), description="Directory of config, perspectives and datasets.")
    perspectives_dir: Paths = Field((), description="Further directories of perspective files; later ones win.")
    provider: str = Field("builtin", description="Provider that answers when a request names none.")
    model: str = Field("", description="Model used with `GRAPHCAP_PROVIDER` when a request names none.")
    request_providers: Literal["any", "listed", "none"] | None = Field(
        None,
        description="Which `base_url` a request may bring: `any` (default on a loopback address), "
        "`listed` (default otherwise) or `none`.",
    )
    provider_url_allow: Words = Field(
        (), description="Hosts and networks that `listed` admits beside the configured providers."
    )
    api_keys: Secrets = Field((), description="Keys of which every caller must show one; none: everybody may call.")
    cors_origins: Words = Field(
        (), description="Browser origins that may call; default: localhost at any port. `*` admits all."
    )
    image_urls: Literal["public", "listed", "off"] = Field(
        "public", description="Which image URLs are fetched: `public` addresses, `listed` ones only, or none (`off`)."
    )
    image_url_allow: Words = Field((), description="Hosts and networks admitted for image URLs.")
    image_url_ports: Ports = Field((), description="The only ports that image URLs may have; default: all.")
    image_url_timeout: float = Field(
        20, gt=0, description="Seconds in which an image URL must be fetched, redirects included."
    )
    max_image_bytes: int = Field(20 * MIB, gt=0, description="Largest encoded image, in bytes.")
    max_body_bytes: int = Field(
        0, ge=0, description="Largest request body, in bytes; default: 4/3 of the image limit and 1 MiB."
    )
    max_image_pixels: int = Field(50_000_000, gt=0, description="Largest image, in pixels.")
    heif: bool = Field(
        False, description="Take HEIC images; needs `pip install 'graphcap-bridge[heif]'`, whose decoder is C++."
    )
    image_frame: int = Field(0, ge=0, description="Which frame of an animation is captioned, from 0.")
    image_workers: int = Field(
        0, ge=0, description="Processes per worker that decode images; default: cores ÷ workers, at least 1."
    )
    image_worker_memory: int = Field(
        1024 * MIB, ge=64 * MIB, description="Bytes that one of them may allocate while it decodes an image."
    )
    max_in_flight: int = Field(1024, ge=1, description="Requests that one worker carries at once; more are refused.")
    max_queue: int = Field(256, ge=0, description="Calls that may wait for a provider that is full.")
    max_socket_requests: int = Field(32, ge=1, description="Requests that one WebSocket may carry at once.")
    rate_limit: str = Field(
        "",
        description="Requests that one caller may send, by key or by address: `60/minute`, `10/second, 600/hour`; "
        "default: no limit.",
    )
    rate_limit_storage: SecretStr = Field(
        SecretStr("memory://"),
        description="Where they are counted: `memory://` (each worker) or `redis://…` (all instances together).",
    )
    head_timeout: float = Field(10, gt=0, description="Seconds in which the head of a request has to arrive.")
    min_send_rate: int = Field(
        1024, ge=0, description="Bytes a second that a request's body or a socket's frame has to arrive at; 0: any."
    )
    timeout: float = Field(120, gt=0, description="Seconds a request may take; a request can only shorten it.")
    provider_timeout: float = Field(
        0,
        ge=0,
        description="Seconds one provider call may take; default: what is left of the request's time.",
    )
    grace: float = Field(25, ge=0, description="Seconds that requests in flight get to finish at shutdown.")
    log: Literal["text", "json"] = Field("text", description="Log format.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")

    @field_validator("workspace")
    @classmethod
    def _is_there(cls, value: Path) -> Path:
        if value != cls.model_fields["workspace"].default and not value.is_dir():
            raise ValueError(f"there is no directory {str(value)!r}")
        return value

    @field_validator("provider_url_allow", "image_url_allow")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [repr(one) for one in value if "/" in one and not is_network(one)]:
            raise ValueError(f"{' and '.join(wrong)}: no network")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(one == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+/?", one, re.IGNORECASE) for one in value):
            raise ValueError("write origins as the browser sends them, such as https://captions.example")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if value:
            from limits import parse_many

            try:
                rates = parse_many(value)
            except ValueError:
                rates = []
            if not rates or any(one.amount < 1 or one.get_expiry() < 1 for one in rates):
                raise ValueError("write it like 60/minute or 10/second, 600/hour")
        return value

    @field_validator("rate_limit_storage")
    @classmethod
    def _is_a_storage(cls, value: SecretStr) -> SecretStr:
        scheme, mark, _ = value.get_secret_value().partition("://")
        try:
            urlsplit(value.get_secret_value()).port  # noqa: B018 (raises for what is no address, and tells it)
        except ValueError:
            mark = ""
        if not mark or scheme not in STORAGES:
            raise ValueError(
                "write memory:// or redis://host:port/number; a password's odd characters are written as %2F"
            )
        if scheme != "memory" and find_spec("redis") is None:
            raise ValueError("redis:// needs the package redis: pip install 'graphcap-bridge[redis]'")
        return value

    @field_validator("api_keys")
    @classmethod
    def _fit_a_header(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(re.fullmatch(r"[!-~]+", one.get_secret_value()) for one in value):
            raise ValueError("a key is made of printable ASCII characters without spaces")
        return value

    @cached_property
    def body_limit(self) -> int:
        """Largest request body in bytes, settled."""
        return self.max_body_bytes or self.max_image_bytes * 4 // 3 + MIB

    @cached_property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @cached_property
    def base_url_policy(self) -> Literal["any", "listed", "none"]:
        """`request_providers`, settled."""
        return self.request_providers or ("any" if self.loopback else "listed")


def load(**overrides: Any) -> Settings:
    """Read the environment and `.env`; `overrides` win. Raises SettingsError with every mistake."""
    given = {name: value for name, value in overrides.items() if value is not None}
    mistakes: list[str] = []
    try:
        secrets, mistakes = _secrets()
        settings = Settings(**secrets, **given)
    except ValidationError as error:
        mistakes += [_mistake(one["loc"], one["msg"]) for one in error.errors()]
    except UnicodeDecodeError:
        raise SettingsError((".env: is not UTF-8 text.",)) from None
    if mistakes:
        raise SettingsError(tuple(mistakes))
    if "workspace" in settings.model_fields_set and not settings.workspace.is_dir():  # the default may be absent
        raise SettingsError((f"{PREFIX}WORKSPACE: there is no directory {str(settings.workspace)!r}.",))
    return settings


def _secrets() -> tuple[dict[str, Any], list[str]]:
    """Secrets that stand in files (`GRAPHCAP_API_KEYS_FILE` names that of `GRAPHCAP_API_KEYS`), and what is wrong."""
    found: dict[str, Any] = {}
    mistakes: list[str] = []
    for name in SECRETS:
        variable = f"{PREFIX}{name.upper()}"
        path = environment().get(f"{variable}_FILE")
        if path and not environment().get(variable):
            try:
                found[name] = Path(path).read_text("utf-8").strip().replace("\n", ",")
            except (OSError, UnicodeDecodeError) as error:
                mistakes.append(f"{variable}_FILE: the file cannot be read: {type(error).__name__}.")
    return found, mistakes


def _mistake(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]) if location else "settings"
    return f"{PREFIX}{name.upper()}: {message.removeprefix('Value error, ')}."


def environment() -> Mapping[str, str]:
    """The process environment over `.env`, for the names that providers bring (`OPENAI_API_KEY` …)."""
    file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**file, **os.environ}


def unknown(names: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each name that looks like a setting and is none.

    No mistake: Kubernetes sets `GRAPHCAP_BRIDGE_PORT` and others beside a service called graphcap-bridge.
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS} | OTHERS
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.8)
            yield f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ".")


def description(name: str) -> str:
    """What a setting means, and the values it takes where those are few and not told yet."""
    field = Settings.model_fields[name]
    text = field.description or ""
    values = [f"`{one}`" for one in get_args(field.annotation) if isinstance(one, str)]
    if not values or all(one in text for one in values):
        return text
    return f"{text} One of {', '.join(values[:-1])} and {values[-1]}."

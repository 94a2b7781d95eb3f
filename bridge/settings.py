"""The settings of the service, read once at start. All mistakes are reported together."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, DirectoryPath, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bridge.run import ProviderMessages

PREFIX = "GRAPHCAP_"
MIB = 1024 * 1024
SECRETS = ("api_keys", "named_api_keys", "rate_limit_storage")  # can be read from files, and are not options of `serve`
OTHERS = frozenset({"GRAPHCAP_API_KEY", "GRAPHCAP_PROVIDER_KEY", "GRAPHCAP_REQUIRE_TOOLS"})
"""Variables of `graphcap caption`, `graphcap batch` and the tests, which are not settings."""


class SettingsError(Exception):
    """The configuration is invalid. `mistakes` holds one sentence per mistake."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("The configuration is invalid:\n" + "\n".join(f"  - {mistake}" for mistake in mistakes))
        self.mistakes = mistakes


def _split(value: object) -> object:
    """Parse a list that is written as JSON or separated by commas."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        return json.loads(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def _split_not_empty(value: object) -> object:
    """Parse a list and reject an empty list. (Without API keys, every caller would be accepted.)"""
    items = _split(value)
    if isinstance(value, str) and not items:
        raise ValueError("the list is empty; leave the variable unset instead")
    return items


def _split_pairs(value: object) -> object:
    """Parse `name=value` pairs that are separated by commas. The names are unique."""
    if not isinstance(value, str):
        return value
    pairs = [item.partition("=") for item in value.split(",") if item.strip()]
    keys = {name.strip(): key.strip() for name, _, key in pairs}
    if len(keys) < len(pairs) or not keys:
        raise ValueError("a name is repeated" if keys else "the list is empty; leave the variable unset instead")
    return keys


def _check_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError("an API key consists of printable ASCII characters without spaces")
    return key


def _check_key_name(name: str) -> str:
    if not re.fullmatch(r"(?!key-[0-9])[a-z0-9-]{1,32}", name):
        raise ValueError("write name=key,name=key with names of 1 to 32 characters a-z, 0-9 and -, but not key-1 …")
    return name


def _check_network(text: str) -> str:
    if "/" in text and not is_network(text):
        raise ValueError(f"invalid network: {text!r}")
    return text


def _check_origin(origin: str) -> str:
    """Return the origin as browsers send it: in lower case and without a slash at its end. Raises ValueError."""
    if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+/?", origin, re.IGNORECASE):
        raise ValueError("write each origin as a browser sends it, such as https://captions.example")
    return origin.rstrip("/").lower()


def _check_host(name: str) -> str:
    if not re.fullmatch(r"\*|(\*\.)?[\w.-]+(:\d+)?|\[?[0-9A-Fa-f:.]+\]?(:\d+)?", name):
        raise ValueError(f"invalid host name: {name!r}; write bridge.example.org, *.example.org or *")
    return name


def _check_rate(value: str) -> str:
    if value:
        from limits import parse_many

        try:
            rates = parse_many(value)
        except ValueError:
            rates = []
        if not rates or any(rate.amount < 1 or rate.get_expiry() < 1 for rate in rates):
            raise ValueError("write a rate such as 60/minute, or several: 10/second, 600/hour")
    return value


def _check_storage(value: SecretStr) -> SecretStr:
    address = value.get_secret_value()
    if address.startswith("redis"):
        _require_package("redis", "redis")
    if address != "memory://":
        open_storage(address)
    return value


def open_storage(address: str) -> Any:
    """Return a storage of the library `limits`. Raises ValueError, whose message does not contain the address."""
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    options = {} if address.startswith("memory:") else {"implementation": "redispy"}
    try:
        return storage_from_string(f"async+{address}", wrap_exceptions=True, **options)
    except (ConfigurationError, ValueError):
        text = "write memory:// or redis://host:port/number, with special characters percent-encoded"
        raise ValueError(text) from None


def _check_heif(value: bool) -> bool:
    if value:
        _require_package("pillow_heif", "heif")
    return value


def _require_package(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ValueError(f"this requires a package; run pip install '.[{extra}]' in the project's directory")


def _web_concurrency() -> Any:
    """Return WEB_CONCURRENCY as text, so that it is validated like the setting."""
    return os.environ.get("WEB_CONCURRENCY") or 1


def is_network(text: str) -> bool:
    """Return whether `text` is an IP address or a network such as 10.0.0.0/8, and not a host name."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


# As ASGI requires it: with a leading slash and without a trailing one, or "".
RootPath = Annotated[str, AfterValidator(lambda path: f"/{path.strip('/')}".rstrip("/"))]
Key = Annotated[SecretStr, AfterValidator(_check_key)]
KeyName = Annotated[str, AfterValidator(_check_key_name)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_check_network)], ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_check_origin)], ...], NoDecode, BeforeValidator(_split)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_check_host)], ...], NoDecode, BeforeValidator(_split_not_empty)]
Ports = Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], NoDecode, BeforeValidator(_split)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split_not_empty)]
NamedKeys = Annotated[dict[KeyName, Key], NoDecode, BeforeValidator(_split_pairs)]
BaseUrlPolicy = Literal["any", "listed", "none"]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """The settings. Each has a variable `GRAPHCAP_<NAME>`. All but the secrets have an option `--<name>` of `serve`."""

    # Infinite numbers are rejected, because /info shows limits as JSON.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="Address to listen on. The container image sets 0.0.0.0.")
    port: int = Field(32100, ge=0, le=65535, description="Port to listen on. 0 chooses a free port.")
    root_path: RootPath = Field("", description="Path prefix under which a reverse proxy publishes the service.")
    workers: int = Field(
        default_factory=_web_concurrency,
        ge=1,
        description="Number of worker processes. `WEB_CONCURRENCY` is used when this is unset.",
    )
    workspace: DirectoryPath = Field(
        Path("workspace"), validate_default=False, description="Directory with config, perspectives and images."
    )
    perspectives_dir: Paths = Field(
        (), description="More directories with perspective files. Later ones override earlier ones."
    )
    provider: str = Field("builtin", description="Provider for requests that name none.")
    model: str = Field("", description="Model for requests that name none, with `GRAPHCAP_PROVIDER`.")
    request_providers: BaseUrlPolicy | None = Field(
        None,
        description="Which `base_url` a request may contain: `any` (default on a loopback address), "
        "`listed` (default otherwise) or `none`.",
    )
    provider_url_allow: Networks = Field(
        (), description="Hosts and networks that `listed` accepts in addition to the configured providers."
    )
    api_keys: Keys = Field((), description="API keys. A caller must send one of them. Unset: no key is required.")
    named_api_keys: NamedKeys = Field(
        {},
        description="API keys with names, `react=…,n8n=…`. The log, the metrics and the rate limits name the caller.",
    )
    cors_origins: Origins = Field(
        (),
        description="Browser origins that may call the service. Default: `localhost`, `127.0.0.1` and `[::1]` on any "
        "port. `*` accepts all.",
    )
    allowed_hosts: Hosts = Field(
        (),
        description="Host names that the `Host` header may have: exact names, `*.example.org`, or `*`. Default: any "
        "with API keys or if the service listens on more than loopback; otherwise `localhost`, `*.localhost`, loopback "
        "addresses and the hosts of `GRAPHCAP_CORS_ORIGINS`.",
    )
    page: Literal["on", "off"] = Field(
        "on", description="Serve the page at `/`, which asks for an API key where keys are set: `on` or `off`."
    )
    docs: Literal["on", "off"] = Field(
        "on", description="Serve the API documentation, `/docs` and `/openapi.json`, without an API key: `on` or `off`."
    )
    image_urls: Literal["public", "listed", "off"] = Field(
        "public",
        description="Which image URLs are fetched: those with `public` addresses, only `listed` ones, or none (`off`).",
    )
    image_url_allow: Networks = Field((), description="Hosts and networks that are accepted in image URLs.")
    image_url_ports: Ports = Field((), description="Ports that are accepted in image URLs. Default: all.")
    image_url_timeout: float = Field(
        20, gt=0, description="Time limit for fetching an image URL, redirects included, in seconds."
    )
    max_image_bytes: int = Field(20 * MIB, gt=0, description="Size limit of an encoded image, in bytes.")
    max_body_bytes: int = Field(
        0, ge=0, description="Size limit of a request body, in bytes. Default: 4/3 of the image limit plus 1 MiB."
    )
    max_image_pixels: int = Field(50_000_000, gt=0, description="Size limit of an image, in pixels.")
    heif: Annotated[bool, AfterValidator(_check_heif)] = Field(
        False, description="Accept HEIC images. Requires the extra `heif` (a C++ decoder)."
    )
    image_frame: int = Field(0, ge=0, description="Frame of an animation to caption, counted from 0.")
    image_workers: int = Field(
        0, ge=0, description="Image decoding processes per worker. Default: cores ÷ workers, at least 1."
    )
    image_worker_memory: int = Field(
        1024 * MIB, ge=64 * MIB, description="Memory that one image decoding process may allocate, in bytes."
    )
    local_idle: float = Field(
        300, ge=0, description="Time until an embedded engine without calls ends, in seconds (provider `local`)."
    )
    local_gpu_layers: int = Field(
        -1,
        ge=-1,
        description="Layers of a model that the embedded engine runs on a GPU, if the installed xllamacpp has a GPU "
        "backend. Default: as many as fit.",
    )
    max_in_flight: int = Field(1024, ge=1, description="Concurrent requests of one worker. More are rejected with 503.")
    max_queue: int = Field(256, ge=0, description="Calls that may wait in the queue of one provider.")
    max_socket_requests: int = Field(32, ge=1, description="Concurrent requests on one WebSocket.")
    rate_limit: Annotated[str, AfterValidator(_check_rate)] = Field(
        "",
        description="Requests that one caller (API key or address) may send: `60/minute`, `10/second, 600/hour`. "
        "Default: unlimited.",
    )
    rate_limit_storage: Annotated[SecretStr, AfterValidator(_check_storage)] = Field(
        SecretStr("memory://"),
        description="Where requests are counted: `memory://` (per worker) or `redis://…` (shared by all instances).",
    )
    head_timeout: float = Field(10, gt=0, description="Time limit for receiving request headers, in seconds.")
    min_send_rate: int = Field(
        1024,
        ge=0,
        description="Lowest accepted transfer rate of a request body, in bytes per second. 0: no limit.",
    )
    keep_alive: int = Field(75, ge=0, description="How long an idle client connection is kept open, in seconds.")
    timeout: float = Field(
        120, gt=0, description="Time limit of a request, in seconds. A request can set a shorter one."
    )
    provider_timeout: float = Field(
        0, ge=0, description="Time limit of one provider call, in seconds. Default: the remaining time of the request."
    )
    attempt_timeout: float = Field(
        0,
        ge=0,
        description="Time limit for silence of a provider, in seconds, while another endpoint or a fallback could be "
        "called instead. Default: half of the remaining time of the request.",
    )
    provider_messages: ProviderMessages = Field(
        "show",
        description="Where a provider's message about a failure appears, with keys and prompt removed: in the problem "
        "and the log (`show`), only in the log (`log`), or nowhere (`hide`). Unless they are shown, `attempts` has no "
        "`raw_text` either.",
    )
    grace: float = Field(25, ge=0, description="Time limit for requests in progress at shutdown, in seconds.")
    log: Literal["text", "json"] = Field("text", description="Log format: `text` or `json`.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest severity to log: `debug`, `info`, `warning` or `error`."
    )

    @cached_property
    def keys(self) -> dict[str, SecretStr]:
        """Return the API keys by name. Keys of `api_keys` are named key-1, key-2 …. If empty, no key is required."""
        return {**self.named_api_keys, **{f"key-{number}": key for number, key in enumerate(self.api_keys, 1)}}

    @cached_property
    def body_limit(self) -> int:
        """Return the size limit of a request body in bytes."""
        return self.max_body_bytes or self.max_image_bytes * 4 // 3 + MIB

    @cached_property
    def loopback(self) -> bool:
        """Return whether the service can be reached only from this machine."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @cached_property
    def base_url_policy(self) -> BaseUrlPolicy:
        """Return `request_providers`. The default depends on the service's address."""
        return self.request_providers or ("any" if self.loopback else "listed")


def load(**overrides: Any) -> Settings:
    """Read the environment and `.env`. Values in `overrides` take precedence. Raises SettingsError."""
    mistakes: list[str] = []
    try:
        values: dict[str, Any] = dict(_secrets(mistakes))
        values |= {name: value for name, value in overrides.items() if value is not None}
        settings = Settings(**values)
    except ValidationError as error:
        mistakes += dict.fromkeys(_mistake(item["loc"], item["msg"]) for item in error.errors())
    except UnicodeDecodeError:
        raise SettingsError((".env: The file is not UTF-8 text.",)) from None
    if mistakes:
        raise SettingsError(tuple(mistakes))
    return settings


def _secrets(mistakes: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the secrets that are read from files: `GRAPHCAP_API_KEYS_FILE` names the file of `GRAPHCAP_API_KEYS`."""
    for name in SECRETS:
        variable = f"{PREFIX}{name.upper()}"
        path = environment().get(f"{variable}_FILE")
        if path and not environment().get(variable):
            try:
                yield name, read_secret(path).replace("\n", ",")
            except ValueError as error:
                mistakes.append(f"{variable}_FILE: {error}")


def read_secret(path: str) -> str:
    """Read a secret from a file. Raises ValueError, whose message does not contain the path."""
    try:
        secret = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The file cannot be read: {type(error).__name__}.") from None
    if not secret:
        raise ValueError("The file is empty.")
    return secret


def _mistake(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{PREFIX}{str(location[0]).upper()}: {message[:1].upper()}{message[1:]}."


def environment() -> Mapping[str, str]:
    """Return the variables of the environment and of `.env`. The environment takes precedence."""
    file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**file, **os.environ}

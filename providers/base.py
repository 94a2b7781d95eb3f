"""The types of provider requests, answers and static descriptions of providers."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from secrets import token_bytes
from typing import Any, Literal, get_args

from pybase64 import b64encode

from providers.hints import RateHints

JsonObject = dict[str, Any]
OutputMode = Literal["json_schema", "json_schema_relaxed", "json_object", "prompt"]

PLACEHOLDER = token_bytes(24)
"""Placeholder for the bytes of an image until the request is sent. Random, so that no prompt contains it."""
PLACEHOLDER_BASE64 = b64encode(PLACEHOLDER).decode()
LADDER: tuple[OutputMode, ...] = get_args(OutputMode)
"""Output modes, the strictest first. Every server accepts the last one."""
PLAUSIBLE = 10**9  # tokens of one call, and tokens per second; larger numbers are ignored


def lowest(*modes: OutputMode) -> OutputMode:
    return max(modes, key=LADDER.index)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The API key of one call. The key is part of the request, and no client stores it."""

    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """Measurements of the original image, after rotation.

    `width`, `height`: its size in pixels. `colours`: names of colours and their shares of the pixels (0 to 1), the
    largest first. `brightness`: the mean (0 to 1).
    """

    width: int
    height: int
    colours: tuple[tuple[str, float], ...]
    brightness: float


@dataclass
class Image:
    """An encoded image as it is sent, and its size in pixels. `statistics`: for the built-in provider."""

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    statistics: PixelStatistics | None = field(default=None, repr=False)

    @property
    def base64(self) -> bytes:
        """Return the bytes in standard base64. They are not kept, because encoding takes 0.07 ms per MB."""
        return b64encode(self.data)

    def inserted(self, body: bytes) -> bytes:
        """Return a serialised body with its placeholder replaced by the image.

        The JSON encoder never sees the image: json.dumps takes 1.6 ms per MB of base64, the replacement 0.05 ms.
        """
        return body.replace(PLACEHOLDER_BASE64.encode(), self.base64, 1)

    def release(self) -> None:
        """Free the bytes after the end of the request. A traceback may keep a reference to this object for longer."""
        self.data = b""


def _option(kind: type, metavar: str, summary: str) -> Any:
    """Declare a sampling option: the type of its value, and its metavar and help text on the command line."""
    return field(default=None, metadata={"type": kind, "metavar": metavar, "help": summary})


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling options under the bridge's names. None means that the option is not sent."""

    max_tokens: int | None = _option(int, "N", "longest answer, in tokens")
    temperature: float | None = _option(float, "NUMBER", "sampling temperature, 0 to 2")
    top_p: float | None = _option(float, "NUMBER", "nucleus sampling, above 0 to 1")
    repetition_penalty: float | None = _option(float, "NUMBER", "penalty for repetition; 1 is none")
    seed: int | None = _option(int, "N", "seed of the random sampling")

    def present(self) -> dict[str, int | float]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def sent(self, taken: Collection[str], names: Mapping[str, str]) -> dict[str, int | float]:
        """Return the options in `taken` that have a value. `names`: maps the bridge's names to the provider's."""
        return {names.get(name, name): value for name, value in self.present().items() if name in taken}


@dataclass(frozen=True, slots=True)
class Turn:
    """A message after the first user message: an answer that failed validation, or a request to correct it."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True)
class VisionRequest:
    """The request of one provider call: the system text, one user message with the image and the prompt, and `turns`.

    `schema`: a JSON Schema (draft 2020-12), which the client translates to the provider's dialect. `timeout`: seconds
    for the complete call. `headers`: extra HTTP headers. `image_is_shared`: other requests contain the same image.
    """

    model: str
    prompt: str
    timeout: float
    image: Image | None = None
    system: str = ""
    turns: tuple[Turn, ...] = ()
    schema: JsonObject | None = None
    schema_name: str = "caption"
    output_mode: OutputMode = "json_schema"
    options: Options = Options()
    credentials: Credentials = Credentials()
    headers: Mapping[str, str] = field(default_factory=dict)
    image_is_shared: bool = False

    @property
    def sends_schema(self) -> bool:
        """Return whether a field of the body demands JSON or the schema, not only the text of the prompt."""
        return self.schema is not None and self.output_mode != "prompt"

    @property
    def enforces_schema(self) -> bool:
        """Return whether the request tells the server to constrain the answer to the schema."""
        return self.schema is not None and self.output_mode in ("json_schema", "json_schema_relaxed")

    @property
    def valid_schema_name(self) -> str:
        """Return the schema's name with the characters and the length that servers accept."""
        return re.sub(r"[^a-zA-Z0-9_-]", "_", self.schema_name)[:64] or "caption"


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text. "" is sent for an event without text, to show that the server responds."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one or more calls. A count is None if the provider did not report it for every call.

    In a sum of `cached_tokens`, None counts as 0, because providers report cached tokens only if there are any.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None

    def __add__(self, other: "Usage") -> "Usage":
        cached = [count for count in (self.cached_tokens, other.cached_tokens) if count is not None]
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            sum(cached) if cached else None,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def usage_of(*counts: object) -> Usage | None:
    """Return the usage for the input, output and cached tokens, which may be any JSON values.

    Return None for zeros, which some servers report.
    """
    plausible = [count if type(count) is int and 0 <= count <= PLAUSIBLE else None for count in counts]
    return Usage(*plausible) if any(plausible[:2]) else None


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer.

    `model`: the name that the server reports for the model. `warnings`: sentences, such as which options were not sent.
    `rate`: the rate limits in the response's headers. `tokens_per_second`: the speed that the server reports.
    """

    text: str
    model: str
    usage: Usage | None = None
    warnings: tuple[str, ...] = ()
    rate: RateHints | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model in a server's list of models."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """The configuration of one provider. `options`: settings by name (see `Spec.options`)."""

    name: str
    kind: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    default_model: str = ""
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in `ProviderConfig.options`: its meaning, and the types and words that it accepts."""

    meaning: str
    accepted: tuple[type | str, ...]

    def accepts(self, value: object) -> bool:
        """Return whether this is a valid value. Words are compared without regard to case."""
        if isinstance(value, str) and value.lower() in self.accepted:
            return True
        types = tuple(kind for kind in self.accepted if isinstance(kind, type))
        return isinstance(value, types) and (not isinstance(value, bool) or bool in types)


@dataclass(frozen=True, slots=True)
class Spec:
    """Static description of a kind of provider.

    `base_url`: the default base URL. `key_env`, `url_env`: environment variables of the API key and the base URL; the
    first one that is set is used. `needs_key`: the default server requires a key. `takes`: names of the supported
    `Options` fields; any other option causes a warning. `options`: the settings allowed in `ProviderConfig.options`.
    `note`: one sentence for the table of providers in the documentation. `pull`: the command that downloads a model,
    without the model's name. `is_remote`: the provider is a server with a base URL. `max_concurrency`: the default
    number of calls at a time.
    """

    kind: str
    title: str
    base_url: str = ""
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    needs_key: bool = False
    takes: frozenset[str] = frozenset()
    options: Mapping[str, Setting] = field(default_factory=dict)
    default_model: str = ""
    note: str = ""
    pull: str = ""
    is_remote: bool = True
    max_concurrency: int | None = None

    @property
    def key_places(self) -> str:
        """Return the places where the API key can be set, as text for messages."""
        return f"{self.key_env[0]} or the request's api_key" if self.key_env else "its api_key"

    def unsupported(self, options: Options) -> tuple[str, ...]:
        """Return a warning for each sampling option that this kind does not accept."""
        names = [name for name in options.present() if name not in self.takes]
        return tuple(f"{self.title} does not accept {name}, so it was not sent." for name in names)

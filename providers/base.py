"""The interface of a provider client: its request, its answer, its static description.

Nothing here depends on perspectives, settings or deadlines: a request is text, image bytes, a JSON Schema and a
timeout in seconds.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from pybase64 import b64encode_as_string

from providers.errors import (
    BadReply,
    ProviderError,
    RateLimited,
    SchemaRejected,
    ServerFailed,
    Unavailable,
    Unreachable,
)
from providers.hints import RateHints
from providers.pool import Pool
from providers.profiles import Profile, profile
from providers.usage import Usage

JsonObject = dict[str, Any]
OutputMode = Literal["json_schema", "json_schema_relaxed", "json_object", "prompt"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_RETRIED = (Unreachable, RateLimited, Unavailable, ServerFailed, SchemaRejected)
LADDER: tuple[OutputMode, ...] = ("json_schema", "json_schema_relaxed", "json_object", "prompt")
"""Output modes from the strictest to the one that every server accepts."""


def lowest(*modes: OutputMode) -> OutputMode:
    """Return the least strict of the modes."""
    return max(modes, key=LADDER.index)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The key of one call. It travels with the request and is stored nowhere."""

    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """Measurements of an image: `width` and `height` of the original in pixels, after rotation.

    `colours`: names of the dominant ones with the share of pixels they cover, the largest first. `brightness`: mean.
    Shares and brightness are from 0 to 1.
    """

    width: int
    height: int
    colours: tuple[tuple[str, float], ...]
    brightness: float


@dataclass
class Image:
    """An image as it is sent: encoded bytes, their actual media type, width and height in pixels.

    `statistics`: of the original pixels, for the provider that needs no model. `text`: the bytes in standard base64 if
    the caller sent them in that form, "" otherwise.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    statistics: PixelStatistics | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)

    @cached_property
    def base64(self) -> str:
        """Return the bytes in standard base64, encoded once for all requests."""
        return self.text or b64encode_as_string(self.data)

    def release(self) -> None:
        """Drop the bytes: the request has ended, and a traceback may keep this object for a while."""
        self.data, self.text = b"", ""
        self.__dict__.pop("base64", None)


def _option(kind: type, metavar: str, summary: str) -> Any:
    """Declare a sampling option: the type of its value, and its metavar and help text on the command line."""
    return field(default=None, metadata={"type": kind, "metavar": metavar, "help": summary})


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling options by the bridge's names; None means the provider's default."""

    max_tokens: int | None = _option(int, "N", "longest answer, in tokens")
    temperature: float | None = _option(float, "NUMBER", "sampling temperature, 0 to 2")
    top_p: float | None = _option(float, "NUMBER", "nucleus sampling, above 0 to 1")
    repetition_penalty: float | None = _option(float, "NUMBER", "penalty for repetition; 1 is none")
    seed: int | None = _option(int, "N", "seed of the random sampling")

    def present(self) -> dict[str, int | float]:
        """Return the options that have a value, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Turn:
    """One message after the first: an answer that failed validation, or the request to correct it."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True)
class VisionRequest:
    """One call: the system text, then one user message of image and prompt (in that order), then `turns`.

    `schema` is a JSON Schema (draft 2020-12); the client translates it to its dialect.
    `timeout` is in seconds and covers the complete call. `headers` are extra HTTP headers (trace context).
    `image_is_shared`: other perspectives ask about the same image.
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
        """Return whether a schema or an output mode is sent, apart from the prompt."""
        return self.schema is not None and self.output_mode != "prompt"


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer's text; empty for an event without text, which shows that the server is working."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer.

    `model`: the model's name according to the server. `warnings`: options that were not sent, and similar remarks.
    `rate`: the rate limits in the response's headers.
    """

    text: str
    model: str
    usage: Usage | None = None
    warnings: tuple[str, ...] = ()
    rate: RateHints | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a server lists."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One configured or requested provider. `options`: settings of its kind (`Spec.options`)."""

    name: str
    kind: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    default_model: str = ""
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """Static description of a kind of provider.

    `key_env`, `url_env`: environment variables, the first that is set is used. `base_url`: the default.
    `takes`: names of the `Options` fields it accepts; others cause a warning. `options`: the names allowed in
    `ProviderConfig.options`, with their meaning; `values`: the types or words each of them accepts. `note`: one
    sentence for the provider table. `pull`: the command that fetches a missing model, before its name.
    """

    kind: str
    title: str
    base_url: str = ""
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    needs_key: bool = False
    takes: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, tuple[type, ...] | frozenset[str]] = field(default_factory=dict)
    default_model: str = ""
    note: str = ""
    pull: str = ""

    def fits(self, option: str, value: object) -> bool:
        """Return whether an option accepts this value; words in any case."""
        allowed = self.values.get(option, (object,))
        if isinstance(allowed, frozenset):
            return isinstance(value, str) and value.lower() in allowed
        return isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed or object in allowed)

    def unsupported(self, options: Options) -> tuple[str, ...]:
        """Return a warning for each sampling option that this kind does not accept."""
        names = [name for name in options.present() if name not in self.takes]
        return tuple(f"{self.title} does not accept {name}, so it was not sent." for name in names)


class BaseClient(ABC):
    """Client of one model server, in its own protocol. Its calls raise only ProviderErrors."""

    spec: Spec

    @abstractmethod
    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Import the SDK, which may take a second. Raises ValueError for an invalid base URL."""

    @abstractmethod
    async def complete(self, request: VisionRequest) -> Completion:
        """Send one request and return the complete answer."""

    async def stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Send one request and yield the text as it arrives; a Completion comes last, if the answer is complete.

        `begun` is set on an error that follows the first text. A retry would pay for the same text again, so an error
        that invites one becomes a BadReply: llama-server reports unparsable output after some chunks (measured).
        """
        begun = False
        try:
            async with aclosing(self._stream(request)) as chunks:
                async for chunk in chunks:
                    begun = begun or isinstance(chunk, Completion) or bool(chunk.text)
                    yield chunk
        except ProviderError as error:
            error.begun = begun
            if not begun or not isinstance(error, _RETRIED):
                raise
            failure = BadReply(f"{self.spec.title} failed in the middle of its answer.", status=error.status)
            failure.begun, failure.usage, failure.rate = True, error.usage, error.rate
            failure.provider_message = error.provider_message
            raise failure from None

    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """List the server's models over a new connection, so that a stale pooled one cannot fail the call."""
        return await self._models(VisionRequest("", "", timeout, credentials=credentials, headers=headers))

    @abstractmethod
    def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        """Yield what `stream` does, with errors as they come."""

    @abstractmethod
    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the models with the key, the headers and the timeout of `request`."""

    def profile(self, model: str) -> Profile:
        """Return the properties of a model's family, without any I/O."""
        return profile(self.spec.kind, model)

    def lower(self, request: VisionRequest) -> VisionRequest | None:
        """Return the request in the next less strict output mode, None after the last.

        A mode whose request body equals that of the current one is skipped: it would fail again.
        """
        for mode in LADDER[LADDER.index(request.output_mode) + 1 :]:
            lowered = replace(request, output_mode=mode)
            if self.written(lowered) != self.written(request):
                return lowered
        return None

    def written(self, request: VisionRequest) -> object:
        """Return the request's body, without the image: equal bodies are equal calls."""
        return request

"""The contract between the bridge and a model server: what a client is given and what it gives back.

Nothing here knows of perspectives, settings or deadlines: a request is plain text, plain bytes, a plain
JSON Schema and a number of seconds.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from pybase64 import b64encode_as_string

from providers.hints import RateHints
from providers.usage import Usage

JsonObject = dict[str, Any]
OutputMode = Literal["json_schema", "json_schema_relaxed", "json_object", "prompt"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
LADDER: tuple[OutputMode, ...] = ("json_schema", "json_schema_relaxed", "json_object", "prompt")


def lowest(*modes: OutputMode) -> OutputMode:
    """The one that stands lowest on the ladder."""
    return max(modes, key=LADDER.index)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The key of one call. It rides with the request and is kept nowhere."""

    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PixelStatistics:
    """What was measured of an image: `width` and `height` in pixels, upright, of the original.

    `colours`: names of the dominant ones with the share of pixels they cover, the largest first. `brightness`: mean.
    Shares and brightness are from 0 to 1.
    """

    width: int
    height: int
    colours: tuple[tuple[str, float], ...]
    brightness: float


@dataclass(frozen=True)
class Image:
    """An image as it is sent: encoded bytes, their real media type, their size in pixels.

    `statistics`: of the original's pixels, for the provider that needs no model. `text`: the bytes in standard base64
    where they came so, else "".
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    statistics: PixelStatistics | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)

    @cached_property
    def base64(self) -> str:
        """The bytes in standard base64, encoded once however many requests carry them."""
        return self.text or b64encode_as_string(self.data)


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling options by the bridge's names; None means the provider's own default."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None

    def asked(self) -> dict[str, int | float]:
        """The options that have a value, by name."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Turn:
    """One message after the first: an answer that did not fit, or what to mend in it."""

    role: Literal["assistant", "user"]
    text: str


@dataclass(frozen=True)
class VisionRequest:
    """One call: the system text, then one user message of image and prompt (in that order), then `turns`.

    `schema` is the portable JSON Schema (draft 2020-12 subset); the client translates it to its dialect.
    `timeout` is in seconds and covers the whole call. `headers` are extra HTTP headers (trace context).
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


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer's text, in order."""

    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. `model` is what the server says answered; `warnings` what it could not be given.

    `rate`: what the reply says of the server's limits.
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
class Step:
    """One step of a connection check; `error` is a sentence when `status` is "failed"."""

    step: Literal["initialize_client", "list_models", "test_chat_completion"]
    status: Literal["success", "failed"]
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """What a connection check found; steps not taken are absent. `model` is the one that was asked, if any."""

    steps: tuple[Step, ...]
    models: tuple[Model, ...] = ()
    model: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageProfile:
    """Which pictures a target takes.

    `media_types`: accepted encodings. `size`: the longest side in pixels that is worth sending (None: any).
    `max_side`, `max_bytes`: the provider's hard limits (None: none known).
    """

    media_types: frozenset[str] = frozenset({"image/jpeg", "image/png"})
    size: int | None = 2048
    max_side: int | None = None
    max_bytes: int | None = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Profile:
    """What a model family can do and wants.

    `image`: pictures it takes. `reasoning`: takes no sampling options. `context`: tokens of context to ask for
    where the server wants to be told (Ollama's num_ctx).
    """

    image: ImageProfile = ImageProfile()
    reasoning: bool = False
    context: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One configured or requested provider. `options` are settings of its kind (`Spec.options`)."""

    name: str
    kind: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    default_model: str = ""
    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """What is known of a kind of provider before any client exists.

    `key_env`, `url_env`, `model_env`: environment names, the first that is set wins. `base_url`: the default.
    `takes`: names of the `Options` fields it can be given; any other is warned about. `options`: names its
    `ProviderConfig.options` may hold, each with what it means; `values`: the types or the words that each of them may
    be. `note`: one sentence for the provider table.
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

    def fits(self, option: str, value: object) -> bool:
        """Whether an option may have this value; words in any case."""
        allowed = self.values.get(option, (object,))
        if isinstance(allowed, frozenset):
            return isinstance(value, str) and value.lower() in allowed
        return isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed or object in allowed)

    def not_taken(self, options: Options) -> tuple[str, ...]:
        """What `options` ask for and this kind cannot be given, in sentences."""
        names = [name for name in options.asked() if name not in self.takes]
        return tuple(f"{self.title} takes no {name}: it was not sent." for name in names)


Complete = Callable[[VisionRequest], Awaitable[Completion]]
"""Asks once and waits for the whole answer."""


class BaseClient(ABC):
    """One model server, spoken to in its own protocol. Raises `providers.errors.ProviderError` and nothing else."""

    spec: Spec

    @abstractmethod
    async def complete(self, request: VisionRequest) -> Completion:
        """Ask once and wait for the whole answer."""

    @abstractmethod
    def stream(self, request: VisionRequest) -> AsyncIterator[Delta | Completion]:
        """Ask once and yield the text as it comes; the Completion comes last, and only if the answer is whole."""

    @abstractmethod
    async def models(
        self, credentials: Credentials, timeout: float, headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[Model, ...]:
        """List what the server serves. `headers` go along, such as those of a trace."""

    def lower(self, request: VisionRequest) -> VisionRequest | None:
        """The request one rung down the ladder, for a server that rejected its schema; None below the last.

        A rung that is written like the one above is passed over: the same body would only fail again.
        """
        for mode in LADDER[LADDER.index(request.output_mode) + 1 :]:
            lowered = replace(request, output_mode=mode)
            if self.written(lowered) != self.written(request):
                return lowered
        return None

    def written(self, request: VisionRequest) -> object:
        """What is sent for a request, its headers aside: two that are written alike are the same call."""
        return request

    async def check(
        self,
        credentials: Credentials,
        timeout: float,
        model: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
        complete: Complete | None = None,
    ) -> Check:
        """Really connect: list models, then one short completion when a model is named, which `complete` asks for."""
        from providers.check import check

        return await check(self, credentials, timeout, model, headers, complete)

    @abstractmethod
    def profile(self, model: str) -> Profile:
        """What this model takes; by family, without asking anyone."""

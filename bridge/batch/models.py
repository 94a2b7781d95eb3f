"""The types that the parts of a batch share: images, rows and events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from providers.base import JsonObject

End = Literal["done", "interrupted", "provider", "budget", "output"]
"""How a run ended: everything was tried, a signal, an unusable provider, a limit of the options, a failed write."""


@dataclass(frozen=True, slots=True)
class ImageItem:
    """One image to caption.

    `key`: its path relative to the root of the inputs, with `/`. `url`: URL or path for fsspec. `version`: changes when
    the file changes (size and time, or an entity tag). `variables`, `context`: values of the manifest's row.
    """

    key: str
    url: str
    version: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    context: tuple[str, ...] = ()

    @property
    def is_on_web(self) -> bool:
        """Return whether the image is fetched with HTTP."""
        return self.url.startswith(("http://", "https://"))

    def fields(self, request: JsonObject) -> JsonObject:
        """Return the fields of the request for this image. `request`: those that all images share."""
        fields = dict(request)
        if self.variables:
            fields["variables"] = {**fields.get("variables", {}), **self.variables}
        if self.context:
            fields["context"] = [*fields.get("context", ()), *self.context]
        return fields


@dataclass(frozen=True, slots=True)
class Failure:
    """An image without a caption. `code`, `message`: those of the problem. `attempts`: the number of provider calls."""

    path: str
    code: str
    message: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The outcome of one perspective for one image.

    `caption`: the caption as HTTP returns it, with `provenance` (perspective digest, image sha256, bridge version,
    time); None if it failed. `text`: content of the text sidecar. `content_key`: changes if the image, the perspective,
    the model or an option changes. `attempts`: number of provider calls. `cost`: US dollars, None if unknown.
    """

    key: str
    perspective: str
    content_key: str = ""
    version: str = ""
    text: str = ""
    caption: JsonObject | None = None
    failure: Failure | None = None
    seconds: float = 0.0
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


@dataclass(slots=True)
class Totals:
    """Counts of a run so far. `captioned`, `skipped`, `failed`, `restored` count rows; other fields are sums over rows.

    `restored`: outputs written from the index, without a call. `cost`: the sum of the known prices.
    """

    captioned: int = 0
    restored: int = 0
    skipped: int = 0
    failed: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0

    def counts(self) -> list[str]:
        """Return the counts of rows in words, without those that are 0."""
        counts = {"restored": self.restored, "skipped": self.skipped, "failed": self.failed}
        return [f"{self.captioned:,} captioned", *(f"{number:,} {word}" for word, number in counts.items() if number)]

    def add(self, row: Row) -> None:
        """Count a captioned or failed row."""
        if row.failure is None:
            self.captioned += 1
        else:
            self.failed += 1
        self.attempts += row.attempts
        self.input_tokens += row.input_tokens or 0
        self.output_tokens += row.output_tokens or 0
        if row.cost is not None:
            self.cost = (self.cost or 0.0) + row.cost


@dataclass(frozen=True, slots=True)
class Started:
    """The images are listed. `total`: the number of images × perspectives. `perspectives`: names of the perspectives.

    `ignored`: the number of files that are not captioned, by reason. `root`: the folder of the outputs.
    """

    total: int
    images: int
    perspectives: tuple[str, ...]
    root: str
    workers: int
    ignored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Captioned:
    """A row was captioned, and its outputs are written. `image`: the URL of the image."""

    row: Row
    image: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The outputs of a row exist already.

    `restored`: whether the outputs were written now, from the index. `kept`: `--existing stale` did not change the
    text sidecar, because its text differs from the index. `outdated`: the outputs were made with other options, or by
    another perspective. `changed`: the file of the image has changed since.
    """

    key: str
    perspective: str
    restored: bool = False
    kept: bool = False
    outdated: bool = False
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A row has no caption; `row.failure` is the reason."""

    row: Row
    image: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A worker waits. `reason`: "image", "queued", "model", "retry" … as in a caption's stream; "" when it ends."""

    worker: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Actors:
    """The actors of a run on Ray, from Ray's statistics. `pending`: those that start, or wait for free CPUs or GPUs."""

    ready: int
    pending: int
    restarting: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The provider does not accept calls at present. `seconds`: time until the next attempt."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Resumed:
    """The provider accepts calls again."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event. `reason`: one sentence unless `end` is "done"."""

    totals: Totals
    end: End = "done"
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """Return 0, 1 for a failed write, 3 if rows failed, 4 for the provider or a limit, 130 if interrupted."""
        codes = {"interrupted": 130, "provider": 4, "budget": 4, "output": 1}
        return codes.get(self.end, 3 if self.totals.failed else 0)


Event = Started | Captioned | Skipped | Failed | Waiting | Actors | Paused | Resumed | Finished

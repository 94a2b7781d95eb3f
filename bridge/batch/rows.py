"""Caption one image, and return a row per perspective. Outputs and progress are handled elsewhere."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from anyio import to_thread

from bridge import errors
from bridge.batch.engines import Engine, InProcess, Outcome, OverHttp, problem_json
from bridge.batch.folder import BatchError
from bridge.batch.inputs import digest, read_image
from bridge.batch.models import Failure, ImageItem, Row
from bridge.batch.options import Options
from bridge.batch.text import TextWriter
from bridge.captioning.services import Services
from bridge.deadline import StepDeadline
from bridge.errors import ImageNotFound
from bridge.run import Run
from bridge.settings import Settings
from bridge.version import __version__
from perspectives import Perspective
from providers.base import JsonObject

_NO_CONTENT = ("timeout", "provider_config")
"""Fields left out of the digest. Of `provider_config`, which may hold a key, only address and model are included."""
_COUNTS = ("attempts", "input_tokens", "output_tokens", "cost")


@dataclass(frozen=True, slots=True)
class Job:
    """The options and services that all captions of a batch share.

    `timeout`: seconds for one caption. `text_key`: changes with the options of the text.
    """

    options: Options
    services: Services
    engine: Engine
    perspectives: tuple[Perspective, ...]
    writers: dict[str, TextWriter]
    timeout: float
    text_key: str

    def new_run(self) -> Run:
        """Return the run of one image. Its deadline includes the time that a call waits for a rate limit."""
        return Run(StepDeadline(self.timeout + self.options.give_up_after))

    def fields(self, image: ImageItem) -> JsonObject:
        """Return the fields of the request for an image."""
        return image.fields(self.options.request)

    def request_key(self, image: ImageItem, perspective: Perspective) -> str:
        """Return a digest of the perspective, the model and the options that a caption depends on."""
        fields = self.fields(image)
        config = fields.get("provider_config") or {}
        content = {name: value for name, value in fields.items() if name not in _NO_CONTENT}
        return digest(json.dumps([perspective.digest, self.engine.target, config.get("base_url"), content]))[:32]

    def content_key(self, image: ImageItem, perspective: Perspective, image_digest: str) -> str:
        """Return a text that changes with the request, the image and the options of the text."""
        return f"{self.request_key(image, perspective)}-{image_digest}-{self.text_key}"

    @property
    def requires_text(self) -> bool:
        """Return whether captions with an empty text are failures. Trainers do not read empty files."""
        return bool(self.options.text.trainer)

    def text(self, perspective: str, caption: JsonObject) -> str:
        """Return a caption as text, in the format of the batch's options."""
        return self.writers[perspective].write(caption["result"]).encode("utf-8", "replace").decode()


def settings_for(options: Options, settings: Settings) -> Settings:
    """Return the settings for a batch: `timeout` limits a call, not the time that it waits for the provider."""
    timeout = min(options.request.get("timeout") or settings.timeout, settings.timeout)
    update = {
        "timeout": timeout + options.give_up_after,
        "provider_timeout": settings.provider_timeout or timeout,
        "attempt_timeout": settings.attempt_timeout or timeout / 2,
        "max_queue": 1_000_000,
    }
    return settings.model_copy(update=update)


def images_in_memory(concurrency: int, servers: Sequence[int | None]) -> int:
    """Return how many images are in memory: those of the calls in flight, and some that wait for a slot.

    `concurrency`: the limit of concurrent calls to one server. `servers`: each server's own limit (None: unlimited).
    """
    slots = sum(min(limit or concurrency, concurrency) for limit in servers)
    return slots + max(2, slots // 4)


@asynccontextmanager
async def open_job(options: Options, services: Services) -> AsyncIterator[Job]:
    """Find the perspectives, and open the engine that makes the captions.

    `services`: opened with the settings of `settings_for`. Raises BatchError, ProviderUnusable, and the errors in
    `bridge.errors.TABLE`.
    """
    timeout = services.settings.provider_timeout or services.settings.timeout
    engine: Engine = (
        OverHttp(options.url, options.api_key, options.request, options.concurrency, timeout)
        if options.url
        else InProcess(services, options.request)
    )
    try:
        found = tuple([await engine.find(each) for each in options.perspectives])
        writers = {each.name: TextWriter(options.text, each) for each in found}
        if len(writers) < len(found):
            raise BatchError(f"Two perspectives have the same name: {', '.join(each.name for each in found)}.")
        yield Job(options, services, engine, found, writers, timeout, digest(repr(options.text))[:8])
    finally:
        if isinstance(engine, OverHttp):
            await engine.aclose()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The bytes of an image, and their SHA-256."""

    data: bytes
    digest: str


async def caption_rows(
    image: ImageItem,
    job: Job,
    perspectives: tuple[Perspective, ...] = (),
    *,
    run: Run | None = None,
    loaded: Loaded | None = None,
) -> list[Row]:
    """Caption one image with each perspective, and return a row for each. Failures are rows too.

    `perspectives`: the job's by default. `run`: receives the stages by `emit`. `loaded`: the image, if already loaded.
    """
    perspectives, run, start = perspectives or job.perspectives, run or job.new_run(), time.monotonic()
    try:
        loaded = loaded or await load(image, job.services)
    except tuple(errors.TABLE) as error:
        outcome = Outcome(problem_json(error))
        return [_row(image, job, each, "", outcome) for each in perspectives]
    outcomes = await job.engine.caption(loaded.data, job.fields(image), perspectives, run)
    seconds = round(time.monotonic() - start, 3)
    rows = [
        _row(image, job, perspective, loaded.digest, outcome)
        for perspective, outcome in zip(perspectives, outcomes, strict=True)
    ]
    return [replace(row, seconds=seconds) for row in rows]


def _row(image: ImageItem, job: Job, perspective: Perspective, digest: str, outcome: Outcome) -> Row:
    body, counts = outcome.body, {name: getattr(outcome, name) for name in _COUNTS}
    row = Row(image.key, perspective.name, **counts)
    if "result" not in body:
        return replace(row, failure=Failure(image.key, body["code"], body["detail"], outcome.attempts))
    text = job.text(perspective.name, body)
    if job.requires_text and not text:
        failure = Failure(image.key, "empty_caption", "The text of the caption is empty.", outcome.attempts)
        return replace(row, failure=failure)
    provenance = {
        "perspective_digest": perspective.digest,
        "sha256": digest,
        "bridge_version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return replace(
        row,
        content_key=job.content_key(image, perspective, digest),
        version=image.version,
        text=text,
        caption={**body, "provenance": provenance},
    )


async def load(image: ImageItem, services: Services) -> Loaded:
    """Read or fetch an image. Raises ImageError."""
    if image.is_on_web:
        data = await services.fetcher.fetch(image.url, services.limits.max_bytes)
        return Loaded(data, sha256(data).hexdigest())
    return await to_thread.run_sync(read, image, services)


def read(image: ImageItem, services: Services) -> Loaded:
    """Read an image that is not on the web. Raises ImageNotFound."""
    try:
        data = read_image(image.url, services.limits.max_bytes)
    except FileNotFoundError:
        raise ImageNotFound("The file does not exist any more.") from None
    except OSError as error:
        raise ImageNotFound(f"The file cannot be read: {error.strerror or error}.") from None
    return Loaded(data, sha256(data).hexdigest())

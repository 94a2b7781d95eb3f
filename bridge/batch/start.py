"""Check a batch before its first call, and preview it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import to_thread

from bridge import errors
from bridge.batch.folder import BatchError, Folder, open_url
from bridge.batch.index import Index
from bridge.batch.inputs import Listing, list_images, select, shard
from bridge.batch.models import Failure, ImageItem
from bridge.batch.options import Options
from bridge.batch.outputs import Outputs, read_failures
from bridge.batch.resume import ExistingOutputs, NewCaption
from bridge.batch.rows import Job, load, open_job
from bridge.batch.summary import money
from bridge.batch.text import count
from bridge.captioning.models import CaptionOptions
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import own_options, render_prompt
from bridge.captioning.services import Services
from bridge.deadline import Deadline
from bridge.images.sources import from_upload
from bridge.run import Run
from perspectives.errors import UnknownVariables

_PREVIEWED = 3
_CHARACTERS_PER_TOKEN = 4
_PIXELS_PER_TOKEN = 750
"""Anthropic's formula for images (docs.claude.com, vision); other providers differ by a factor of two."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that passed the checks. `warnings`: sentences about the outputs, and of the provider check.

    `listing`: all images, or the shard's. `items`: those of this run. `failures`: those of earlier runs, by path; they
    may be of images that are not in the inputs.
    """

    job: Job
    listing: Listing
    items: list[ImageItem]
    failures: dict[str, Failure]
    folder: Folder
    outputs: Outputs
    warnings: tuple[str, ...]


@asynccontextmanager
async def prepared(options: Options, services: Services) -> AsyncIterator[Prepared]:
    """Check the options, the inputs, the output folder and the provider, in this order.

    Raises BatchError, ProviderUnusable, and the errors in `bridge.errors.TABLE`.
    """
    parse_request(CaptionOptions, options.request)
    async with open_job(options, services) as job:
        listing = await to_thread.run_sync(list_images, options, job.perspectives, abandon_on_cancel=True)
        folder = _output_folder(options, listing)
        outputs = Outputs(folder, options, tuple(each.name for each in job.perspectives))
        await to_thread.run_sync(outputs.check, listing.items)
        listing.items = shard(listing.items, options)
        failures = await to_thread.run_sync(read_failures, folder)
        items = [item for item in listing.items if item.key in failures] if options.retry_failed else listing.items
        items = select(items, options)
        _check_prompts(items, job)
        # A service reports its prices with the captions.
        if options.max_cost is not None and not options.url and await job.engine.price(1) is None:
            raise BatchError(f"The price of {job.engine.target} is not known. Use --limit instead of --max-cost.")
        warnings = () if options.dry_run else await job.engine.check(Run(Deadline(job.timeout)))
        if options.retry_failed and (absent := failures.keys() - {item.key for item in listing.items}):
            sentence = f"'{min(absent)}' failed, but is not in the inputs. --retry-failed ignores such images."
            warnings = (*warnings, sentence)
        yield Prepared(job, listing, items, failures, folder, outputs, (*outputs.warnings(items), *warnings))


def _output_folder(options: Options, listing: Listing) -> Folder:
    label = "{}of{}".format(*options.shard) if options.shard else "all"
    fs, root = open_url(options.output_dir) if options.output_dir else (listing.fs, listing.root)
    if fs is None:
        raise BatchError("Nothing can be written beside images on the web. Say where to write with --output-dir.")
    if fs.protocol == "hf" and not root.startswith("buckets/"):
        raise BatchError("A Hugging Face repository stores each file as a commit. Write elsewhere with --output-dir.")
    return Folder(fs, root, label)


def _check_prompts(items: list[ImageItem], job: Job) -> None:
    """Check that all variables exist, and that every image has the required ones. Raises the errors of a prompt."""
    known = {variable.name for each in job.perspectives for variable in each.variables}
    if unknown := tuple(name for name in job.options.request.get("variables", ()) if name not in known):
        raise UnknownVariables(unknown, tuple(sorted(known)))
    varied = [item for item in items if item.variables]
    for item in varied if len(varied) == len(items) else [*varied, ImageItem("", "")]:
        for _ in _prompts(item, job):
            pass


def _prompts(item: ImageItem, job: Job) -> Iterator[str]:
    """Yield the prompt of each perspective for an image. Raises MissingVariables."""
    options = parse_request(CaptionOptions, job.fields(item))
    for perspective in job.perspectives:
        yield render_prompt(perspective, own_options(options, perspective))


async def preview(batch: Prepared) -> AsyncIterator[str]:
    """Yield the lines of a preview: the first prompts, the number of images, the estimated number of tokens."""
    job, items = batch.job, batch.items
    tokens: list[int] = []
    for item in items[:_PREVIEWED]:
        for text in _prompts(item, job):
            yield f"{item.key}\n{text}\n"
            tokens.append(len(text) // _CHARACTERS_PER_TOKEN)
        tokens[-1] += await _image_tokens(item, job)
    due = await to_thread.run_sync(_count_captions, batch)
    average = sum(tokens) // max(len(tokens), 1)
    captions = f"{count(due, 'caption')} to make with {job.engine.target} in {batch.folder.url}"
    yield f"{count(len(items), 'image')}, {captions}"
    price = await job.engine.price(average * due)
    cost = "price not known" if price is None else money(price)
    yield f"About {average * due:,} input tokens ({cost}); the answers are not included."


def _count_captions(batch: Prepared) -> int:
    """Return how many captions a run would make. Raises OSError."""
    with Index(batch.folder).reading() as index:
        existing = ExistingOutputs(batch.job, index, batch.outputs)
        decisions = (existing.decide(item, each) for item in batch.items for each in batch.job.perspectives)
        return sum(isinstance(decision, NewCaption) for decision in decisions)


async def _image_tokens(item: ImageItem, job: Job) -> int:
    """Return the estimated number of tokens of an image, 0 if the image cannot be read."""
    try:
        header = from_upload((await load(item, job.services)).data, job.services.limits).header
    except tuple(errors.TABLE):
        return 0
    width, height = header.upright or (0, 0)
    return width * height // _PIXELS_PER_TOKEN

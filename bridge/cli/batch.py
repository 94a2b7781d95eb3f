"""`graphcap batch`: caption a folder, a bucket or a list of images."""

import argparse
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

from bridge.cli import Parser
from bridge.cli.caption import DEFAULT_PERSPECTIVE, add_request_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.batch.models import Options, RayOptions
    from bridge.batch.run import Batch
    from bridge.batch.start import Prepared
    from bridge.captioning.services import Services

KEY_VARIABLE = "GRAPHCAP_API_KEY"


def add_options(parser: Parser) -> None:
    """Add the inputs, the options of the request, the outputs, and the limits of the run."""
    from bridge.batch.models import Existing, Format, TrainerName

    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders, patterns, URLs (s3://, gs://, hf://, https://), a JSONL manifest, or - for a list of "
        "paths on standard input",
    )
    add_request_options(parser)
    add("--url", default="", help="a running bridge; default: this process")
    add("--api-key", default="", metavar="KEY", help=f"its API key (default: {KEY_VARIABLE})")
    add("--concurrency", type=_positive, default=8, metavar="N", help="most calls at once to one server (%(default)s)")
    add("--engine", choices=["process", "ray"], default="process", help="this process, or a Ray cluster")
    add("--ray-address", default="", metavar="HOST:PORT", help="of the cluster (default: RAY_ADDRESS, or a local one)")
    add("--num-actors", type=_positive, metavar="N", help="processes on the cluster (default: as many as fit)")
    add("--actor-cpus", type=_amount, metavar="N", help="CPUs of each (default: 1)")
    add("--actor-gpus", type=_amount, metavar="N", help="GPUs of each, for --provider local (default: 0)")
    add("--flat", action="store_true", help="without the folders in a folder")
    add("--limit", type=_positive, metavar="N", help="only the first N images")
    add("--sample", type=_positive, metavar="N", help="only N images, always the same ones")
    add("--shard", type=_shard, metavar="K/N", help="only the K-th of N parts, such as 2/8")
    add("--retry-failed", action="store_true", help="only the images in failures.jsonl")
    add("--dry-run", action="store_true", help="show the first prompts and the number of images, and make no caption")
    add("--out", nargs="+", choices=get_args(Format), metavar="FORMAT", help="%(choices)s (default: txt)")
    add(
        "--ext",
        dest="extension",
        type=_extension,
        default="",
        metavar=".EXT",
        help="extension of text sidecars (default: .txt)",
    )
    add("--output-dir", default="", metavar="DIR", help="write to this folder or URL, not beside the images")
    add("--existing", choices=get_args(Existing), default="skip", metavar="HOW", help="%(choices)s (default: skip)")
    add("--report", default="", metavar="FILE", help="write an HTML page with thumbnails, captions and failures")
    add("--json", dest="json_events", action="store_true", help="print the events as JSON lines")
    add("--for", dest="trainer", choices=get_args(TrainerName), default="", metavar="TRAINER", help="%(choices)s")
    add("--template", default="", help='such as "{caption}, {tags}"; "json" is the whole object in one line')
    add("--prefix", default="", metavar="TEXT", help="text before each caption")
    add("--suffix", default="", metavar="TEXT", help="text after each caption")
    add("--trigger", default="", metavar="WORD", help="word that each caption begins with")
    add("--drop-tags", type=_words, default=(), metavar="TAG,TAG", help="tags to leave out")
    add("--max-tags", type=_positive, metavar="N", help="most tags of a list")
    add("--replace", type=_assignment, action="append", default=[], metavar="FROM=TO", help="can be repeated")
    add("--max-cost", type=float, metavar="USD", help="end when the captions have cost this much")
    add("--max-failures", type=_positive, metavar="N", help="end after N failed captions")
    summary = "end when the provider has failed for so long (%(default)g)"
    add("--give-up-after", type=float, default=600.0, metavar="SECONDS", help=summary)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 1")
    return value


def _amount(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not greater than 0")
    return value


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form K/N with K from 1 to N, such as 2/8")
    return int(number), int(count)


def _extension(text: str) -> str:
    return f".{text.lstrip('.')}" if text else ""


def _assignment(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form FROM=TO")
    return old, new


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def run(arguments: argparse.Namespace) -> int:
    """Caption the images. Return the exit code."""
    from bridge.batch.rows import loop_factory, settings_for
    from bridge.cli.common import USAGE, load_settings, print_line, with_services

    try:
        options = _options(arguments)
    except ValueError as error:
        print_line(str(error), "red")
        return USAGE
    settings = load_settings()
    if settings is None:
        return USAGE

    async def command(services: "Services") -> int:
        return await _run(options, services)

    return with_services(
        command,
        settings=settings_for(options, settings),
        max_concurrency=options.concurrency,
        loop_factory=loop_factory(),
    )


def _options(arguments: argparse.Namespace) -> "Options":
    """Return the options of the command line. Raises ValueError."""
    import os
    from dataclasses import fields

    from bridge.batch.models import Options, TextOptions
    from bridge.batch.text import TRAINERS
    from bridge.cli.captions import request_fields
    from bridge.cli.common import perspective_file

    given = vars(arguments)
    values = {field.name: given[field.name] for field in fields(Options) if field.name in given}
    trainer = TRAINERS.get(arguments.trainer)
    values |= {
        "perspectives": tuple(perspective_file(name) for name in arguments.perspective or [DEFAULT_PERSPECTIVE]),
        "request": request_fields(arguments),
        "text": TextOptions(**{field.name: given[field.name] for field in fields(TextOptions)}),
        "api_key": arguments.api_key or os.environ.get(KEY_VARIABLE, ""),
        "ray": _ray_options(arguments),
        "out": tuple(dict.fromkeys(arguments.out or (trainer.outputs if trainer else ("txt",)))),
    }
    return Options(**values)


def _ray_options(arguments: argparse.Namespace) -> "RayOptions | None":
    """Return the options of a run on Ray. Raises ValueError if one is set for a run in this process."""
    from bridge.batch.models import RayOptions

    names = ("ray_address", "num_actors", "actor_cpus", "actor_gpus")
    values = {name.removeprefix("ray_"): value for name in names if (value := getattr(arguments, name))}
    if arguments.engine == "ray":
        return RayOptions(**values)
    if values:
        raise ValueError("--ray-address, --num-actors, --actor-cpus and --actor-gpus require --engine ray.")
    return None


async def _run(options: "Options", services: "Services") -> int:
    from bridge.batch.engines import ProviderUnusable
    from bridge.batch.folder import BatchError
    from bridge.batch.start import prepared, preview
    from bridge.batch.text import printable
    from bridge.cli.common import PROVIDER, USAGE, print_line

    try:
        async with prepared(options, services) as batch:
            for warning in batch.warnings:
                print_line(warning, "yellow")
            if options.dry_run:
                async for text in preview(batch):
                    print("\n".join(map(printable, text.splitlines())))
                return 0
            with _engine(batch) as run:
                return await _follow(run, options, services)
    except ProviderUnusable as error:
        print_line(str(error), "red")
        return PROVIDER
    except BatchError as error:
        print_line(str(error), "red")
        return USAGE


@contextmanager
def _engine(prepared: "Prepared") -> "Iterator[Batch]":
    """Open the batch in this process or on a Ray cluster. Raises BatchError."""
    from bridge.batch.run import Batch

    if prepared.job.options.ray is None:
        yield Batch(prepared)
        return
    from bridge.batch.ray_cluster import connected

    with connected(prepared) as cluster:
        from bridge.batch.ray_run import RayBatch

        yield RayBatch(prepared, cluster)


async def _follow(batch: "Batch", options: "Options", services: "Services") -> int:
    """Run a batch, show its progress, and print its summary.

    The first interrupt finishes the calls in flight, the second one cancels them.
    """
    import asyncio
    import signal
    from contextlib import aclosing

    from bridge.batch.progress import follow
    from bridge.batch.report import Report
    from bridge.batch.summary import Summary
    from bridge.cli.common import INTERRUPTED, print_line

    loop, summary = asyncio.get_running_loop(), Summary(options)

    whole = asyncio.current_task()
    assert whole is not None

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, whole.cancel)
        print_line("Finishing the calls in flight. Interrupt again to stop at once.", "yellow")
        batch.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    report = Report(summary, services) if options.report else None
    try:
        async with aclosing(batch.events()) as events:
            await follow(events, summary, report)
    except asyncio.CancelledError:
        return INTERRUPTED
    for line in summary.lines():
        print(line, file=sys.stderr)
    if report is not None:
        print(f"Report: {options.report}", file=sys.stderr)
    assert summary.finished is not None
    return summary.finished.exit_code

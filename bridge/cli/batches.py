"""Run `graphcap batch`: show the progress of a batch, and print its summary."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import uvloop
from anyio import to_thread

from bridge.batch.engines import ProviderUnusable
from bridge.batch.folder import BatchError
from bridge.batch.options import Options, RayOptions, TextOptions
from bridge.batch.progress import follow
from bridge.batch.ray_cluster import connect, exit_if_connected
from bridge.batch.report import Report, new_file
from bridge.batch.rows import settings_for
from bridge.batch.run import Batch
from bridge.batch.start import prepared, preview
from bridge.batch.summary import Summary
from bridge.batch.text import printable
from bridge.captioning.models import CaptionOptions
from bridge.captioning.parsing import parse_request
from bridge.captioning.services import Services
from bridge.cli.caption import DEFAULT_PERSPECTIVE
from bridge.cli.captions import request_fields
from bridge.cli.common import (
    FAILED,
    INTERRUPTED,
    PROVIDER,
    USAGE,
    load_settings,
    perspective_file,
    print_line,
    print_note,
    with_services,
)
from bridge.cli.models import ensure_downloaded
from bridge.memory import tune_memory
from providers.call import fits_header

KEY_VARIABLE = "GRAPHCAP_API_KEY"


def run(arguments: argparse.Namespace) -> int:
    """Caption the images. Return the exit code."""
    try:
        options = _options(arguments)
    except ValueError as error:
        print_line(str(error), "red")
        return USAGE
    settings = load_settings()
    if settings is None:
        return USAGE
    settings = settings_for(options, settings)

    async def command(services: Services) -> int:
        if not (options.url or options.dry_run):
            target = services.targets.resolve(parse_request(CaptionOptions, options.request))
            ensure = partial(ensure_downloaded, target, is_confirmed=arguments.yes)
            await to_thread.run_sync(ensure, abandon_on_cancel=True)
        return await _run(options, services)

    limit = options.concurrency
    code = with_services(command, settings=settings, max_concurrency=limit, loop_factory=uvloop.new_event_loop)
    exit_if_connected(code)
    return code


def _options(arguments: argparse.Namespace) -> Options:
    """Return the options of the command line. Raises ValueError."""

    def values(kind: type) -> dict[str, Any]:
        options = {field.name: getattr(arguments, field.name) for field in fields(kind) if field.metadata}
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if value is not None
        }

    ray = RayOptions(**values(RayOptions))
    if arguments.engine != "ray" and ray != RayOptions():
        raise ValueError("--ray-address, --num-actors, --actor-cpus and --actor-gpus require --engine ray.")
    if arguments.api_key and not arguments.url:
        raise ValueError(
            "--api-key is the key of a running service, and requires --url. The key of a provider is read from the "
            "environment."
        )
    api_key = (arguments.api_key or os.environ.get(KEY_VARIABLE, "")).strip()
    if arguments.url and not fits_header(api_key):
        raise ValueError(
            f"The API key of the service contains characters that no key has. Check --api-key or {KEY_VARIABLE}."
        )
    return Options(
        perspectives=tuple(perspective_file(name) for name in arguments.perspective or [DEFAULT_PERSPECTIVE]),
        request=request_fields(arguments),
        text=TextOptions(**values(TextOptions)),
        ray=ray if arguments.engine == "ray" else None,
        inputs=tuple(arguments.inputs),
        **values(Options) | {"api_key": api_key},
    )


async def _run(options: Options, services: Services) -> int:
    out = None if sys.stdout.isatty() else sys.stdout  # on a terminal, the display writes the events above itself
    try:
        if options.report:
            new_file(Path(options.report)).close()
        async with prepared(options, services) as batch:
            for warning in batch.warnings:
                print_line(warning, "yellow")
            if options.dry_run:
                async for text in preview(batch):
                    print("\n".join(map(printable, text.splitlines())))
                return 0
            if options.ray is None:
                return await _follow(Batch(batch), options, services, out)
            cluster = connect(batch)
            from bridge.batch.ray_run import RayBatch  # it imports Ray

            return await _follow(RayBatch(batch, cluster), options, services, out)
    except ProviderUnusable as error:
        print_line(str(error), "red")
        return PROVIDER
    except BrokenPipeError:
        return FAILED
    except (BatchError, OSError) as error:
        print_line(str(error), "red")
        return USAGE if isinstance(error, BatchError) else FAILED


async def _follow(batch: Batch, options: Options, services: Services, out: TextIO | None) -> int:
    """Run a batch, show its progress, and print its summary. `out`: for its events.

    The first interrupt finishes the calls in flight, the second one cancels them.
    """
    tune_memory()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signals.append(signal.SIGHUP)

    def on_signal(action: Callable[[], object]) -> None:
        for number in signals:
            loop.add_signal_handler(number, action)

    def interrupt() -> None:
        on_signal(task.cancel)
        batch.stop()
        print_line("Finishing the calls in flight. Interrupt again to stop at once.", "yellow")

    on_signal(interrupt)
    summary = Summary(options)
    report = Report(summary, services) if options.report else None
    try:
        async with aclosing(batch.events()) as events:
            await follow(events, summary, report, stop=batch.stop, out=out)
    except asyncio.CancelledError:
        return INTERRUPTED
    lines = [*summary.lines(), *([f"Report: {options.report}"] if report else [])]
    print_note("\n".join(lines))
    assert summary.finished is not None
    return summary.finished.exit_code

"""Print progress, plans and provider calls on standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bridge.captioning.plan import AnalysisPlan, Plan
from bridge.captioning.problems import attempts
from bridge.cli.text import printable, readable
from bridge.run import PartialEvent, Progress, Reset, Run

_STAGES = {
    "queued": "waiting for a free slot at",
    "image": "loading the image",
    "import": "importing the library of",
    "loading model": "loading",
    "model": "waiting for",
    "retry": "calling again:",
    "fallback": "calling the fallback",
    "validate": "checking the answer",
    "synthesis": "combining the captions",
}


@contextmanager
def shown(run: Run, *, text: bool) -> Iterator[None]:
    """Show the progress of a run on a terminal during the `with` block. `text`: also what the model writes."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from rich.console import Console
    from rich.progress import Progress as Display
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    stage, partials = "starting", dict[str, dict[str, Any]]()
    with Display(*columns, console=console, transient=True) as display:
        task = display.add_task(stage, total=None)

        def receive(event: object) -> None:
            nonlocal stage
            if isinstance(event, Progress):
                name = f"{event.perspective}: " if run.children else ""
                stage = f"{name}{_STAGES.get(event.stage, event.stage)} {event.detail}".strip()
            elif isinstance(event, PartialEvent):
                partials[event.perspective] = event.result
            elif isinstance(event, Reset):
                partials.pop(event.perspective, None)
            calls = sum(len(each.attempts.calls) for each in run.children or [run])
            lines = readable(partials if run.children else next(iter(partials.values()), {})).splitlines()
            first = printable(f"{stage} (attempt {calls})" if calls else stage)
            display.update(task, description="\n".join([first, *lines[-console.height + 2 :]]))

        run.emit, run.streaming = receive, text
        yield


def print_plan(plan: Plan | AnalysisPlan, run: Run) -> None:
    """Print the perspectives, and the models in the order in which they are called."""
    first = plan if isinstance(plan, Plan) else plan.plans[0]
    targets = [
        f"{target.model or 'the default model'} of {target.label} "
        f"({target.config.kind}{' at ' + target.config.base_url if target.config.base_url else ''})"
        for target in first.targets
    ]
    print(f"perspective: {', '.join(plan.names)}", file=sys.stderr)
    print(printable(f"model: {', else '.join(targets)}"), file=sys.stderr)
    print(f"time limit: {run.deadline.left():.0f} s", file=sys.stderr)


def print_calls(run: Run) -> None:
    """Print each provider call with its outcome, and the text of an invalid answer."""
    for number, call in enumerate(attempts(run), 1):
        status = f" ({call.status})" if call.status else ""
        head = f"{run.perspective}, call {number}: {call.model} at {call.endpoint or call.provider}, {call.output_mode}"
        print(printable(f"{head}: {call.outcome}{status}, {call.ms / 1000:.1f} s"), file=sys.stderr)
        for title, text in (("provider's message", call.provider_message), ("the model wrote", call.raw_text)):
            if text:
                print(printable(f"  {title}: {text}"), file=sys.stderr)
    stages = ", ".join(f"{name} {ms:.0f} ms" for name, ms in run.timings.milliseconds().items())
    usage = run.attempts.usage
    tokens = f"; {usage.input_tokens} input and {usage.output_tokens} output tokens" if usage else ""
    print(f"{run.perspective}: {stages}{tokens}", file=sys.stderr)

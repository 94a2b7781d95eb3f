"""Progress of captions on a terminal, and the plan and the provider calls in words, all on standard error."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bridge.captioning.plan import AnalysisPlan, Plan
from bridge.captioning.problems import attempts
from bridge.cli.text import printable, readable
from bridge.run import PartialEvent, Progress, Reset, Run

if TYPE_CHECKING:
    from rich.console import RenderableType

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


class Display:
    """The progress of a run: stage, seconds, provider calls, and the text so far. It receives the events of the run."""

    def __init__(self, run: Run, rows: int) -> None:
        """`rows`: the height of the terminal."""
        from rich.spinner import Spinner

        self._run = run
        self._rows = rows
        self._start = time.monotonic()
        self._stage = "starting"
        self._partials: dict[str, dict[str, Any]] = {}
        self._spinner = Spinner("dots")

    def receive(self, event: object) -> None:
        """Remember the last stage, and the object so far of each perspective."""
        if isinstance(event, Progress):
            name = f"{event.perspective}: " if self._run.children else ""
            self._stage = f"{name}{_STAGES.get(event.stage, event.stage)} {event.detail}".strip()
        elif isinstance(event, PartialEvent):
            self._partials[event.perspective] = event.result
        elif isinstance(event, Reset):
            self._partials.pop(event.perspective, None)

    def render(self) -> "RenderableType":
        """Return what the terminal shows now: a line of progress, below it the end of the text."""
        from rich.console import Group
        from rich.text import Text

        calls = sum(len(run.attempts.calls) for run in self._run.children or [self._run])
        attempt = f", attempt {calls}" if calls else ""
        self._spinner.update(text=Text(printable(f"{self._stage} ({time.monotonic() - self._start:.0f} s{attempt})")))
        partials = self._partials if self._run.children else next(iter(self._partials.values()), {})
        return Group(self._spinner, Text("\n".join(readable(partials).splitlines()[-self._rows + 2 :])))


@contextmanager
def shown(run: Run, *, text: bool) -> Iterator[None]:
    """Show the progress of a run on standard error while the block runs, if that is a terminal.

    `text`: also show the text while the model writes it.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    display = Display(run, console.height)
    run.emit, run.streaming = display.receive, text
    with Live(console=console, get_renderable=display.render, transient=True, refresh_per_second=8):
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
    """Print each provider call with its outcome, and what the model wrote when that was invalid."""
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

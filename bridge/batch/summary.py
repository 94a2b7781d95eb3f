"""Sum up a run from its events: counts, failures with an example each, tokens, cost, slowest images, next steps."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from bridge.batch.models import Captioned, Event, Failed, Failure, Finished, Row, Skipped, Started, Totals
from bridge.batch.options import Options
from bridge.batch.text import count, limit_warning, listed, printable
from bridge.run import INVALID_ANSWER

_SLOWEST = 3
_MAX_WARNINGS = 10
_MAX_LENGTH = 300
_KEPT = "A text sidecar differs from what this command wrote, and is kept. --existing overwrite replaces it."
_OUTDATED = "An image was captioned with other options, and is skipped. --existing stale applies the new ones."
_CHANGED = (
    "The file of an image has changed since its caption. --existing stale captions it again if its content differs."
)
_REMEDIES = {
    "provider_rate_limited": "Lower --concurrency, or wait until the provider's limit ends.",
    "provider_auth": "Check the provider's API key.",
    "provider_quota": "Check the credit of the provider's account.",
    "refused": "Caption refused images with another model (--model), for example a local one.",
    "blocked": "Caption blocked images with another provider (--provider), for example a local one.",
    "answer_invalid": "Use a larger model or a simpler perspective if many answers are invalid.",
    "answer_truncated": "Raise --max-tokens if many answers are truncated.",
    "empty_caption": "Check --template, --replace and --drop-tags if many texts are empty.",
    "context_too_long": "Use a model with a longer context, or a smaller --resize-resolution.",
}


@dataclass(slots=True)
class Summary:
    """The counts and examples of a run so far. The size does not grow with the number of images."""

    options: Options
    started: Started | None = None
    totals: Totals = field(default_factory=Totals)
    finished: Finished | None = None
    reasks: int = 0
    failures: dict[str, tuple[int, Failure]] = field(default_factory=dict)
    warnings: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, str]] = field(default_factory=list)

    def update(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Started):
            self.started = event
        elif isinstance(event, Skipped):
            self.totals.restored += event.restored
            self.totals.skipped += not event.restored
            self.warnings.update([_KEPT] * event.kept + [_OUTDATED] * event.outdated + [_CHANGED] * event.changed)
        elif isinstance(event, Captioned | Failed):
            self._count(event.row)
        elif isinstance(event, Finished):
            self.finished, self.totals = event, event.totals

    @property
    def done(self) -> int:
        """Return how many rows need no more work in this run."""
        totals = self.totals
        return totals.captioned + totals.restored + totals.skipped + totals.failed

    def lines(self) -> Iterator[str]:
        """Yield the summary as lines for a terminal."""
        totals = self.totals
        yield ", ".join(totals.counts())
        if self.started and self.started.ignored:
            yield f"Ignored files: {listed(self.started.ignored)}"
        for code, (number, failure) in sorted(self.failures.items(), key=lambda item: -item[1][0]):
            yield _short(f"{number} × {code}, for example {failure.path}: {failure.message}")
        for warning, number in self.warnings.most_common():
            yield _short(f"Warning ({number} ×): {warning}")
        yield from self._figures()
        if self.finished and self.finished.reason:
            yield _short(self.finished.reason)
        yield from self._next_steps()

    def _count(self, row: Row) -> None:
        self.totals.add(row)
        if row.key not in [key for _, key in self.slowest]:  # several perspectives take the same time
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, (row.seconds, row.key)])
        if row.failure is not None:
            self.reasks += row.attempts - 1 if row.failure.code == "answer_invalid" else 0
            number, example = self.failures.get(row.failure.code, (0, row.failure))
            self.failures[row.failure.code] = number + 1, example
        caption = row.caption or {}
        self.reasks += sum(call["outcome"] == INVALID_ANSWER for call in caption.get("attempts", ()))
        for warning in (*caption.get("warnings", ()), limit_warning(self.options.text.trainer, row.text)):
            if warning and (warning in self.warnings or len(self.warnings) < _MAX_WARNINGS):
                self.warnings[warning] += 1

    def _figures(self) -> Iterator[str]:
        totals = self.totals
        if not totals.attempts:
            return
        rate = f" ({(totals.captioned + totals.failed) / totals.seconds:.3g}/s)" if totals.seconds else ""
        figures = [
            f"{duration(totals.seconds)}{rate}",
            count(totals.attempts, "provider call"),
            count(self.reasks, "re-ask"),
        ]
        if text := tokens(totals):
            figures.append(f"{text}, {money(totals.cost)}")
        yield ", ".join(figures)
        yield _short(f"Slowest: {', '.join(f'{key} ({seconds:.1f} s)' for seconds, key in self.slowest)}")

    def _next_steps(self) -> Iterator[str]:
        for code in self.failures:
            if code in _REMEDIES:
                yield _REMEDIES[code]
        if self.finished is not None and self.finished.end != "done":
            yield "Run the same command again: it continues with the images that have no caption."
        elif self.failures:
            yield "Run the same command with --retry-failed to caption only the failed images."


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def tokens(totals: Totals) -> str:
    """Return the token counts in words, "" if no provider reported any."""
    if not (totals.input_tokens or totals.output_tokens):
        return ""
    return f"{totals.input_tokens:,} tokens in, {totals.output_tokens:,} out"


def money(cost: float | None) -> str:
    """Return an amount in US dollars in words."""
    return "cost unknown" if cost is None else f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def _short(line: str) -> str:
    text = printable(line)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"

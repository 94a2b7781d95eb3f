"""The answer of an analysis: what succeeded, what failed, and one status for the whole."""

from pydantic import BaseModel, Field

from bridge import errors
from bridge.captioning import problems
from bridge.captioning.analyze import Findings
from bridge.captioning.models import Caption, ImageOut, UsageOut
from bridge.captioning.problems import Problem
from bridge.errors import NothingToSynthesize


class AnalyzeOut(BaseModel):
    """Captions of one image by perspective; 200 when any of them succeeded."""

    results: dict[str, Caption] = Field(description="By perspective, in the order asked.")
    errors: dict[str, Problem] = Field(description="By perspective; a failed synthesizer under its own name.")
    synthesis: Caption | None
    image: ImageOut | None
    usage: UsageOut | None = Field(description="Summed over all captions.")
    timing: dict[str, float] = Field(description="Milliseconds by stage.")
    request_id: str


class AllFailed(Problem):
    """The problem of an analysis in which nothing succeeded: `errors` holds each by its perspective."""

    errors: dict[str, Problem]  # type: ignore[assignment]


def findings_out(findings: Findings, request_id: str) -> AnalyzeOut | Problem:
    """The answer, or the problem when every perspective failed."""
    told = {name: problems.report(error, request_id) for name, error in findings.errors.items()}
    captions = findings.captions
    if not captions:
        skipped = (name for name, error in findings.errors.items() if isinstance(error, NothingToSynthesize))
        return _all_failed(told, request_id, next(skipped, None))
    return AnalyzeOut(
        results=findings.results,
        errors=told,
        synthesis=findings.synthesis,
        image=captions[0].image,
        usage=findings.usage(),
        timing=findings.timing,
        request_id=request_id,
    )


def _all_failed(told: dict[str, Problem], request_id: str, skipped: str | None) -> Problem:
    """The first problem when all have its status, else a 502 that names them; `skipped` had nothing to work on."""
    first = next(iter(told.values()))
    if len({one.status for name, one in told.items() if name != skipped}) > 1:
        row = errors.Row(502, "provider_error", "Every perspective failed", any(one.retryable for one in told.values()))
        sentences = " ".join(f"{name}: {one.detail}" for name, one in told.items())
        first = problems.from_row(row, f"Every perspective failed. {sentences}", request_id)
    return AllFailed(**{**first.__dict__, "errors": told})

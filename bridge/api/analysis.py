"""Build the HTTP response of an analysis from its captions and errors."""

from pydantic import BaseModel, Field

from bridge import errors
from bridge.captioning import problems
from bridge.captioning.analyze import Outcomes
from bridge.captioning.caption import usage_out
from bridge.captioning.models import Caption, ImageOut, Problem, UsageOut
from bridge.captioning.plan import AnalysisPlan
from bridge.errors import NothingToSynthesize
from bridge.run import Run

_NO_INPUT = errors.TABLE[NothingToSynthesize].title  # the status of this problem is ignored


class AnalyzeOut(BaseModel):
    """The captions of one image, by perspective. The status is 200 if at least one caption succeeded."""

    results: dict[str, Caption] = Field(description="By perspective, in the order of the request.")
    errors: dict[str, Problem] = Field(description="By perspective; a failed synthesizer under its own name.")
    synthesis: Caption | None
    image: ImageOut | None
    usage: UsageOut | None = Field(description="Summed over all captions.")
    timing: dict[str, float] = Field(description="Milliseconds by stage.")
    request_id: str


class AllFailed(Problem):
    """The problem of an analysis without any caption. `errors` contains the problem of each perspective."""

    errors: dict[str, Problem]  # type: ignore[assignment]


def analysis_out(plan: AnalysisPlan, outcomes: Outcomes, run: Run) -> AnalyzeOut | Problem:
    """Build the response, or a problem if every perspective failed."""
    runs = dict(zip(plan.names, run.children, strict=True))
    results = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Caption)}
    failures = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Exception)}
    failed = {name: problems.report(error, runs[name]) for name, error in failures.items()}
    if not results:
        return _all_failed(failed, run.request_id)
    image = next(iter(results.values())).image
    synthesis = results.pop(plan.synthesizer.perspective.name, None) if plan.synthesizer else None
    return AnalyzeOut(
        results=results,
        errors=failed,
        synthesis=synthesis,
        image=image,
        usage=usage_out(run.usage),
        timing=run.timings.milliseconds(),
        request_id=run.request_id,
    )


def _all_failed(failed: dict[str, Problem], request_id: str) -> Problem:
    """Return the first problem if all problems have the same status. Otherwise, build a problem with status 502."""
    first = next(iter(failed.values()))
    if len({problem.status for problem in failed.values() if problem.title != _NO_INPUT}) > 1:
        retryable = any(problem.retryable for problem in failed.values())
        row = errors.Row(502, "provider_error", "Every perspective failed", retryable)
        sentences = " ".join(f"{name}: {problem.detail}" for name, problem in failed.items())
        first = problems.from_row(row, f"Every perspective failed. {sentences}", request_id)
    return AllFailed(**{**first.__dict__, "errors": failed})

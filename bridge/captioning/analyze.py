"""Several perspectives over one image: acquired once, prepared once for each profile, asked for all at once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from bridge.captioning import ledger, report
from bridge.captioning.caption import Work, carry_out
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionOptions, UsageOut
from bridge.captioning.pictures import Pictures, acquire
from bridge.captioning.plan import Plan, deadline, find, in_tags, settle, write_prompt
from bridge.captioning.services import Services
from bridge.captioning.watch import Watch
from bridge.deadline import Deadline
from bridge.dispatch.legacy.attempts import Calls
from bridge.errors import InvalidRequest, NothingToSynthesize
from bridge.telemetry import Captioning, Stages, current
from perspectives.errors import UnknownVariables
from perspectives.perspective import Perspective

WatchFor = Callable[[Perspective], Watch]
Ended = Callable[[str, Caption | Exception], Awaitable[None]]


@dataclass
class Analysis:
    """What is to be made, once: one plan a perspective, in the order asked, and the synthesizer, if any."""

    options: CaptionOptions
    plans: tuple[Plan, ...]
    synthesizer: Plan | None = None

    @property
    def names(self) -> list[str]:
        """Every perspective that will end in a result or an error."""
        return [one.perspective.name for one in self.all_plans]

    @property
    def all_plans(self) -> tuple[Plan, ...]:
        """The plans, and the synthesizer's last."""
        return (*self.plans, *([self.synthesizer] if self.synthesizer else []))

    def drop_image(self) -> None:
        """Forget the image's base64 once its bytes are there, as each plan does."""
        for one in self.all_plans:
            one.drop_image()
        self.options = self.plans[0].options


@dataclass
class Findings:
    """What came of it. `errors` holds those that failed, a failed synthesizer under its own name."""

    results: dict[str, Caption] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    synthesis: Caption | None = None
    timing: dict[str, float] = field(default_factory=dict)
    calls: list[Calls] = field(default_factory=list)

    @property
    def captions(self) -> list[Caption]:
        """Every caption that was made."""
        return [*self.results.values(), *([self.synthesis] if self.synthesis else [])]

    def settle(self, analysis: Analysis) -> None:
        """Put everything in the order asked, and the synthesis in its own place."""
        names = analysis.names
        if analysis.synthesizer is not None:
            self.synthesis = self.results.pop(analysis.synthesizer.perspective.name, None)
        self.results = {name: self.results[name] for name in names if name in self.results}
        self.errors = {name: self.errors[name] for name in names if name in self.errors}

    def usage(self) -> UsageOut | None:
        """Tokens over all calls, those of failed perspectives too."""
        total = Calls()
        for one in self.calls:
            total.spend(one.usage)
        return report.usage(total.usage)


async def plan_analysis(request: AnalyzeRequest, services: Services, provider_key: str = "") -> Analysis:
    """Settle every perspective. Raises PerspectiveError, DispatchError, and InvalidRequest for a name given twice."""
    last = [] if request.synthesize is None else [request.synthesize]
    wanted = [await find(one, services) for one in (*request.perspectives, *last)]
    _require_once([one.name for one in wanted])
    _require_known(request.variables or {}, wanted)
    targets = settle(request, services, provider_key)
    # The synthesizer's contexts are only known when the others are done; what can be refused is refused now.
    plans = tuple(Plan(request, one, write_prompt(one, _own(one, request)), targets) for one in wanted)
    return Analysis(request, plans[:-1], plans[-1]) if last else Analysis(request, plans)


def _require_once(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidRequest(
            f"Every perspective may be named once; {' and '.join(twice)} came twice.",
            (("/perspectives", "named twice"),),
        )


def _require_known(variables: dict[str, str], wanted: list[Perspective]) -> None:
    known = sorted({variable.name for one in wanted for variable in one.variables})
    unknown = tuple(name for name in variables if name not in known)
    if unknown:
        raise UnknownVariables(unknown, tuple(known))


def _own(perspective: Perspective, request: AnalyzeRequest) -> AnalyzeRequest:
    """The request with those variables alone that this perspective asks for."""
    names = {variable.name for variable in perspective.variables}
    given = {name: value for name, value in (request.variables or {}).items() if name in names}
    return request.model_copy(update={"variables": given})


async def analyze(
    analysis: Analysis,
    upload: bytes | None,
    services: Services,
    request_id: str = "",
    watch_for: WatchFor = lambda perspective: Watch(),
    ended: Ended | None = None,
) -> Findings:
    """Carry the plans out together, then the synthesizer. No failure is raised: `errors` holds each.

    `ended` is told of each perspective as it ends, in the order in which they do.
    """
    findings, stages, until = Findings(), Stages(), deadline(analysis.options, services)
    configured = services.targets.configured
    keep = _Keeper(findings, ended, {one.perspective.name: ledger.begin(one, configured) for one in analysis.all_plans})
    if request := current():
        request.stages = stages
    with stages.measure("image"):
        pictures = await _pictures(analysis, upload, services, keep, until)
    if pictures is not None:
        run = _Run(pictures, until, services, request_id, watch_for, findings.calls)
        with stages.measure("perspectives"):
            await asyncio.gather(*(keep.outcome(one.perspective.name, run.caption(one)) for one in analysis.plans))
        if analysis.synthesizer is not None:
            with stages.measure("synthesis"):
                await keep.outcome(analysis.synthesizer.perspective.name, run.synthesis(analysis, findings))
    findings.settle(analysis)
    findings.timing = stages.milliseconds()
    return findings


@dataclass(frozen=True)
class _Keeper:
    """Keeps what comes of each perspective, and tells of it."""

    findings: Findings
    ended: Ended | None
    accounts: dict[str, Captioning]

    async def outcome(self, name: str, making: Awaitable[Caption]) -> None:
        """One failing perspective does not fail the others, whatever it failed of."""
        try:
            made: Caption | Exception = await making
        except Exception as error:  # noqa: BLE001 (the outermost handler of one perspective among several)
            made = error
        await self.keep(name, made)

    async def keep(self, name: str, made: Caption | Exception) -> None:
        """Note it under its name."""
        if isinstance(made, Caption):
            self.findings.results[name] = made
        else:
            self.findings.errors[name] = made
            self.accounts[name].end(made)
        if self.ended is not None:
            await self.ended(name, made)


async def _pictures(
    analysis: Analysis, upload: bytes | None, services: Services, keep: _Keeper, until: Deadline
) -> Pictures | None:
    """The picture; one that cannot be had is every perspective's failure."""
    try:
        async with until.within("fetching the image"):
            source = await acquire(analysis.options, upload, services)
    except Exception as error:  # noqa: BLE001 (the outermost handler of what all perspectives share)
        for name in analysis.names:
            await keep.keep(name, error)
        return None
    analysis.drop_image()
    return Pictures(source, analysis.options, services)


@dataclass(frozen=True)
class _Run:
    """What every perspective of one analysis shares."""

    pictures: Pictures
    deadline: Deadline
    services: Services
    request_id: str
    watch_for: WatchFor
    calls: list[Calls]

    async def caption(self, plan: Plan) -> Caption:
        """Carry one plan out."""
        watch = self.watch_for(plan.perspective)
        self.calls.append(calls := Calls())
        plan.account.stages = Stages()
        work = Work(plan, self.pictures, calls, self.deadline, watch)
        return await carry_out(work, self.services, self.request_id)

    async def synthesis(self, analysis: Analysis, findings: Findings) -> Caption:
        """Carry the synthesizer out, the others' rendered captions before its prompt, each under its name."""
        last = analysis.synthesizer
        assert last is not None
        made = [findings.results[name] for name in analysis.names if name in findings.results]
        if not made:
            raise NothingToSynthesize(last.perspective.name)
        await self.watch_for(last.perspective).stage("synthesis")
        contexts = [f"{one.perspective}:\n{one.rendered}" for one in made]
        return await self.caption(replace(last, prompt=in_tags(contexts) + last.prompt))

"""Caption one image, which is loaded once, with several perspectives at the same time."""

import asyncio
from dataclasses import replace

from bridge.captioning.caption import caption_plan, record_failure
from bridge.captioning.models import Caption
from bridge.captioning.plan import AnalysisPlan, Plan, in_tags, label_of
from bridge.captioning.request_image import RequestImage, loaded_image
from bridge.captioning.services import Services
from bridge.errors import NothingToSynthesize
from bridge.run import Run, Timings

Outcomes = dict[str, Caption | Exception]  # by perspective, in the order of the request; the synthesizer is last


async def analyze(plan: AnalysisPlan, services: Services, run: Run) -> Outcomes:
    """Run every plan at the same time, then the synthesizer. Return the captions and the errors."""
    runs = [run.child(each.perspective.name, label_of(each.perspective)) for each in plan.all_plans]
    try:
        async with loaded_image(plan, services, run) as image:
            return await _outcomes(plan, image, services, run, runs)
    except Exception as error:  # noqa: BLE001 (reported as the failure of each perspective)
        for child in runs:
            if not child.outcome:
                record_failure(error, child)
        return dict.fromkeys(plan.names, error)


async def _outcomes(plan: AnalysisPlan, image: RequestImage, services: Services, run: Run, runs: list[Run]) -> Outcomes:
    with run.timings.measure("perspectives"):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_outcome(each, image, services, child))
                for each, child in zip(plan.plans, runs, strict=False)
            ]
    outcomes: Outcomes = {child.perspective: task.result() for child, task in zip(runs, tasks, strict=False)}
    if plan.synthesizer is not None:
        with run.timings.measure("synthesis"):
            outcome = await _synthesis(plan.synthesizer, outcomes, image, services, runs[-1])
        outcomes[runs[-1].perspective] = outcome
    return outcomes


async def _outcome(plan: Plan, image: RequestImage, services: Services, run: Run) -> Caption | Exception:
    """Return the caption or its error, so that the other perspectives continue."""
    run.timings = Timings()
    try:
        return await caption_plan(plan, services, run, image)
    except Exception as error:  # noqa: BLE001 (returned, and rendered with the results of the others)
        return error


async def _synthesis(
    plan: Plan, outcomes: Outcomes, image: RequestImage, services: Services, run: Run
) -> Caption | Exception:
    """Run the synthesizer. The prompt begins with the other captions and the names of their perspectives."""
    captions = [outcome for outcome in outcomes.values() if isinstance(outcome, Caption)]
    if not captions:
        error = NothingToSynthesize(plan.perspective.name)
        record_failure(error, run)
        return error
    run.stage("synthesis")
    contexts = [f"{caption.perspective}:\n{caption.rendered}" for caption in captions]
    return await _outcome(replace(plan, prompt=in_tags(contexts) + plan.prompt), image, services, run)

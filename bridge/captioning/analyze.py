"""Several perspectives over one image: loaded once, prepared once per image profile, asked for at the same time."""

import asyncio
from dataclasses import replace

from bridge.captioning.caption import caption_plan, loaded_image, record_failure
from bridge.captioning.models import Caption
from bridge.captioning.plan import AnalysisPlan, Plan, in_tags, label_of, name_target
from bridge.captioning.request_image import RequestImage
from bridge.captioning.services import Services
from bridge.errors import NothingToSynthesize
from bridge.run import Run, Timings

Outcomes = dict[str, Caption | Exception]
"""What each perspective ended in, in the order of the request, the synthesizer last."""


async def analyze(plan: AnalysisPlan, services: Services, run: Run) -> Outcomes:
    """Caption one image by every plan at once, then by the synthesizer.

    Failures are not raised: an image that cannot be loaded is the failure of every perspective.
    """
    runs = {name: _child(run, each) for name, each in zip(plan.names, plan.all_plans, strict=True)}
    try:
        async with loaded_image(plan, services, run) as image:
            return await _outcomes(plan, image, services, run, runs)
    except Exception as error:  # noqa: BLE001 (reported as the failure of each perspective)
        for child in runs.values():
            record_failure(error, child)
        return dict.fromkeys(runs, error)


async def _outcomes(
    plan: AnalysisPlan, image: RequestImage, services: Services, run: Run, runs: dict[str, Run]
) -> Outcomes:
    with run.timings.measure("perspectives"):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_outcome(each, image, services, runs[each.perspective.name])) for each in plan.plans
            ]
    outcomes: Outcomes = dict(zip(plan.names, (task.result() for task in tasks), strict=False))
    if plan.synthesizer is not None:
        child = runs[plan.synthesizer.perspective.name]
        with run.timings.measure("synthesis"):
            outcomes[child.perspective] = await _synthesis(plan.synthesizer, outcomes, image, services, child)
    return outcomes


def _child(run: Run, plan: Plan) -> Run:
    child = run.child(plan.perspective.name, label_of(plan.perspective))
    name_target(child, plan.targets[0])
    return child


async def _outcome(plan: Plan, image: RequestImage, services: Services, run: Run) -> Caption | Exception:
    """Return the caption or its failure: one perspective does not fail the others."""
    run.timings = Timings()
    try:
        return await caption_plan(plan, services, run, image)
    except Exception as error:  # noqa: BLE001 (returned, and rendered with the results of the others)
        return error


async def _synthesis(
    plan: Plan, outcomes: Outcomes, image: RequestImage, services: Services, run: Run
) -> Caption | Exception:
    """Call the synthesizer with the other captions as contexts, each under its perspective's name."""
    captions = [made for made in outcomes.values() if isinstance(made, Caption)]
    if not captions:
        error = NothingToSynthesize(plan.perspective.name)
        record_failure(error, run)
        return error
    run.stage("synthesis")
    contexts = [f"{made.perspective}:\n{made.rendered}" for made in captions]
    return await _outcome(replace(plan, prompt=in_tags(contexts) + plan.prompt), image, services, run)

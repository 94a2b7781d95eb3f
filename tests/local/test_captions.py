"""Captions from a real engine: llama.cpp with a tiny model of random weights."""

import os
import shutil
import signal
from pathlib import Path

import jsonschema_rs
import pytest

from bridge.captioning.analyze import analyze
from bridge.captioning.caption import caption
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest, ImageRef
from bridge.captioning.plan import make_analysis_plan, make_plan
from bridge.captioning.services import Services, open_services
from bridge.captioning.stream import EventStream
from bridge.deadline import Deadline
from bridge.run import Run
from bridge.settings import Settings
from perspectives import catalog
from tests.guard import GUARD
from tests.local.processes import cpu_seconds, engines_of, until

pytestmark = pytest.mark.slow
NAMES = [perspective.name for perspective in catalog.load([catalog.LIBRARY]).all()]
FIELDS = {f"part_{number}": {"const": "x" * 2000} for number in range(4)}  # the model must generate 8,000 tokens
LONG = {
    "name": "long",
    "prompt": "Write.",
    "json_schema": {"type": "object", "properties": FIELDS, "required": list(FIELDS)},
}


def request(perspective: object, photo: str = "cat", **fields: object) -> CaptionRequest:
    image = ImageRef(path=f"datasets/samples/{photo}.jpg")
    return CaptionRequest(perspective=perspective, image=image, **{"max_tokens": 4000, "seed": 1, **fields})  # type: ignore[arg-type]


def run() -> Run:
    return Run(Deadline(GUARD))


async def stream(request: CaptionRequest, services: Services) -> EventStream:
    call = run()
    return EventStream(await make_plan(request, services, call), services, call)


def engine() -> int:
    """Return the process id of the only engine."""
    (pid,) = engines_of(os.getpid())
    return pid


@pytest.mark.parametrize("photo", ["cat", "coffee"])
@pytest.mark.parametrize("name", NAMES)
async def test_every_shipped_perspective(services: Services, name: str, photo: str) -> None:
    complete = await caption(request(name, photo), services, run())
    async with await stream(request(name, photo), services) as events:
        result = [event async for event in events][-2]
    assert result.type == "result", result
    for response in (complete, result.caption):
        assert jsonschema_rs.is_valid(services.catalog.get(name).json_schema, response.result)
        assert response.model == "tiny"
        assert response.timing["tokens_per_second"] > 0
        assert response.usage.input_tokens > 0


async def test_an_analysis_reads_the_image_once(services: Services) -> None:
    names = ["alt_text", "training_tags", "scene_graph"]
    image = ImageRef(path="datasets/samples/rocket.jpg")
    call = run()
    plan = await make_analysis_plan(AnalyzeRequest(perspectives=names, image=image, max_tokens=4000), services, call)
    outcomes = await analyze(plan, services, call)
    cached = [result.usage.cached_tokens for result in outcomes.values() if isinstance(result, Caption)]
    assert len(cached) == len(names)
    assert sorted(tokens > 100 for tokens in cached) == [False, True, True]


async def test_the_first_call_loads_the_model(services: Services) -> None:
    await caption(request("alt_text"), services, run())
    os.kill(engine(), signal.SIGKILL)
    await until(services.engines, state="stopped")
    async with await stream(request("alt_text"), services) as events:
        seen = [event async for event in events]
    stages = [event.stage for event in seen if event.type == "progress"]
    assert stages.index("loading model") == stages.index("model") - 1
    assert seen[-2].caption.timing["load"] > 0
    again = await caption(request("alt_text"), services, run())
    assert "load" not in again.timing


async def test_a_cancelled_call_stops_the_decoding(services: Services) -> None:
    await caption(request("alt_text"), services, run())
    start = cpu_seconds(engine())
    async with await stream(request(LONG, max_tokens=40_000), services) as events:
        async for event in events:
            if event.type == "partial":
                break
    reading = cpu_seconds(engine()) - start
    # There is one slot, so this call waits until the engine has stopped the first call. Generating 8,000 tokens costs
    # many times more than reading them.
    assert (await caption(request("alt_text"), services, run())).result
    assert cpu_seconds(engine()) - start - reading < reading


async def test_max_concurrency_sets_the_number_of_concurrent_calls(workspace: Path, tmp_path: Path) -> None:
    shutil.copytree(workspace, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "config" / "providers.toml").open("a") as table:
        table.write("max_concurrency = 2\n")
    settings = Settings(_env_file=None, workspace=tmp_path, provider="local")  # type: ignore[call-arg]
    async with open_services(settings) as two, await stream(request(LONG, max_tokens=40_000), two) as events:
        async for event in events:
            if event.type == "partial":
                break
        assert (await caption(request("custom_caption"), two, run())).result
        events.cancel()
        ending = [event async for event in events]
    assert ending[-2].problem.code == "cancelled"  # so it was still being written


async def test_an_engine_that_is_killed_during_a_call_starts_again(services: Services) -> None:
    async with await stream(request(LONG, max_tokens=40_000), services) as events:
        async for event in events:
            if event.type == "partial":
                killed = engine()
                os.kill(killed, signal.SIGKILL)
                break
        ending = [event async for event in events]
    problem = ending[-2].problem
    assert (problem.code, problem.retryable) == ("provider_unavailable", True)
    assert "ended with signal 9 during the request" in problem.detail
    assert (await services.engines.report())[0]["last_exit"] == -signal.SIGKILL
    assert (await caption(request("alt_text"), services, run())).result
    assert engine() != killed

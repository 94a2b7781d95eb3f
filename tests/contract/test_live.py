"""The contract with real providers, configured by the environment (`make test-live`).

A kind is tested if its key or address is set in its usual variable, and `GRAPHCAP_LIVE_<KIND>_MODEL` names a vision
model: `OPENAI_API_KEY=… GRAPHCAP_LIVE_OPENAI_MODEL=gpt-4.1-mini make test-live`.
"""

import os
from collections.abc import AsyncIterator

import pytest

from bridge import caption
from bridge.captioning.models import CaptionOptions
from bridge.captioning.services import Services, open_services
from bridge.deadline import Deadline
from bridge.dispatch.targets import ProviderOverride
from bridge.run import Run
from bridge.settings import Settings
from providers import registry
from providers.base import Spec
from tests.service import WORKSPACE

pytestmark = pytest.mark.live
ENVIRONMENT = dict(os.environ)  # saved before a fixture removes these variables
SPECS = [spec for spec in registry.specs() if spec.is_remote]
PHOTO = WORKSPACE / "datasets" / "samples" / "coffee.jpg"


def first(names: tuple[str, ...]) -> str:
    return next((ENVIRONMENT[name] for name in names if ENVIRONMENT.get(name)), "")


def model_variable(spec: Spec) -> str:
    return f"GRAPHCAP_LIVE_{spec.kind.upper().replace('-', '_')}_MODEL"


@pytest.fixture(params=SPECS, ids=[spec.kind for spec in SPECS])
def spec(request: pytest.FixtureRequest) -> Spec:
    spec: Spec = request.param
    if not first((*spec.key_env, *spec.url_env)):
        pytest.skip(f"none of {', '.join((*spec.key_env, *spec.url_env))} is set")
    if not ENVIRONMENT.get(model_variable(spec)):
        pytest.skip(f"{model_variable(spec)} names no vision model")
    return spec


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with open_services(Settings(_env_file=None, workspace=WORKSPACE)) as opened:  # type: ignore[call-arg]
        yield opened


def options(spec: Spec) -> CaptionOptions:
    config = {"kind": spec.kind, "base_url": first(spec.url_env) or spec.base_url, "api_key": first(spec.key_env)}
    return CaptionOptions(
        provider_config=ProviderOverride.model_validate(config),
        model=ENVIRONMENT[model_variable(spec)],
        max_tokens=2_000,
    )


@pytest.mark.parametrize("perspective", ["alt_text", "graph_caption", "scene_graph"])
async def test_a_caption_is_valid(spec: Spec, services: Services, perspective: str) -> None:
    response = await caption(PHOTO, perspective, options=options(spec), services=services, run=Run(Deadline(120)))
    assert response.result
    assert response.usage is None or (response.usage.input_tokens or 0) > 0
    print(f"{spec.kind}: {response.output_mode}, {len(response.attempts)} calls, {response.rendered[:120]}")


async def test_the_connection_check_succeeds(spec: Spec, services: Services) -> None:
    target = services.targets.resolve(options(spec))
    (result,) = (await services.dispatcher.check(target, target.model, Run(Deadline(60)))).values()
    assert {step.status for step in result.steps} == {"success"}, result.steps

"""Sampling options arrive by each provider's own names; what a provider cannot take is said."""

import pytest

from providers.base import Options
from providers.pool import Pool
from tests.contract.kinds import EVERY_KIND, OF_KIND
from tests.contract.target import Target, target
from tests.servers import OpenAIServer

ALL = Options(max_tokens=321, temperature=0.25, top_p=0.75, repetition_penalty=1.15, seed=7)
VALUES = {"max_tokens": 321, "temperature": 0.25, "top_p": 0.75, "repetition_penalty": 1.15, "seed": 7}


@EVERY_KIND
async def test_every_option_by_its_name(to: Target, streamed: bool) -> None:
    completion = await to.ask(streamed, options=ALL)
    sent = to.server.call.options
    assert {wire: sent.get(wire) for wire in to.kind.options.values()} == {
        wire: VALUES[ours] for ours, wire in to.kind.options.items()
    }
    for name in VALUES.keys() - to.kind.options.keys():
        assert any(name in warning for warning in completion.warnings), f"{name} was dropped without a word"
    assert len(completion.warnings) == len(VALUES.keys() - to.kind.options.keys())


async def test_no_option_is_sent_that_was_not_asked_for(to: Target) -> None:
    await to.complete()
    assert not set(to.kind.options.values()) & to.server.call.options.keys() - to.kind.always


async def test_zero_is_a_value(to: Target) -> None:
    if "temperature" not in to.kind.options:
        pytest.skip("the protocol has no sampling options")
    await to.complete(options=Options(temperature=0.0, seed=0))
    sent = to.server.call.options
    assert sent[to.kind.options["temperature"]] == 0
    assert sent[to.kind.options["seed"]] == 0


@pytest.mark.parametrize("model", ["gpt-5-mini", "o4-mini"])
async def test_reasoning_models_take_no_sampling(pool: Pool, streamed: bool, model: str) -> None:
    with OpenAIServer() as server:
        to = target(OF_KIND["openai"], server, pool)
        completion = await to.ask(streamed, model=model, options=ALL)
        assert server.call.options["max_completion_tokens"] == 321
        for name in ("temperature", "top_p", "repetition_penalty"):
            assert any(name in warning for warning in completion.warnings)

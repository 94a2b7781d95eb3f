"""Asking until the answer fits, with answers from a script: the ladder, the re-ask, the budget."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from bridge.captioning.structured import Answer, OutputInvalid, ask_until_it_fits
from bridge.deadline import DeadlineExceeded
from perspectives import compile_schema
from providers import errors
from providers.base import LADDER, Completion, Image, OutputMode, VisionRequest
from tests.contract.schemas import PLAIN

GOOD = '{"caption": "a cup"}'
WRONG = '{"caption": 7}'
REJECTED = errors.SchemaRejected("x")
IMAGE = Image(b"picture", "image/jpeg", 1, 1)
REQUEST = VisionRequest(model="m", prompt="Look.", timeout=1, image=IMAGE, system="Be brief.", schema=PLAIN)


def lower(request: VisionRequest) -> VisionRequest | None:
    rung = LADDER.index(request.output_mode) + 1
    return replace(request, output_mode=LADDER[rung]) if rung < len(LADDER) else None


class Model:
    """Answers from a script, the last of it for ever; notes what it was asked and what was told meanwhile."""

    def __init__(self, *script: str | Exception, calls: int = 4, repeats: int = 0) -> None:
        """`repeats`: further calls that the line spends on each question."""
        self.script = script
        self.calls = calls
        self.cost = 1 + repeats
        self.asked: list[VisionRequest] = []
        self.told: list[str] = []

    async def ask(self, request: VisionRequest) -> Completion:
        self.asked.append(request)
        step = self.script[min(len(self.asked), len(self.script)) - 1]
        if isinstance(step, Exception):
            raise step
        return Completion(step, f"model-{len(self.asked)}")

    async def again(self, reason: str) -> None:
        self.told.append(reason)

    async def caption(self, retries: int = 2, schema: dict[str, Any] = PLAIN, mode: OutputMode = LADDER[0]) -> Answer:
        return await ask_until_it_fits(
            self.ask,
            replace(REQUEST, schema=schema, output_mode=mode),
            compile_schema(schema),
            retries,
            lambda: self.calls - self.cost * len(self.asked),
            lower,
            self.again,
        )

    @property
    def modes(self) -> list[str]:
        return [request.output_mode for request in self.asked]


async def test_an_answer_that_fits_is_asked_for_once() -> None:
    model = Model(GOOD)
    assert await model.caption() == Answer({"caption": "a cup"}, GOOD, "model-1", "json_schema")
    assert (len(model.asked), model.told) == (1, [])


# The ladder.


async def test_a_rejected_schema_is_asked_for_one_rung_lower() -> None:
    model = Model(REJECTED, REJECTED, GOOD)
    assert (await model.caption()).output_mode == "json_object"
    assert model.modes == ["json_schema", "json_schema_relaxed", "json_object"]
    assert len(model.told) == 2


async def test_the_ladder_begins_where_it_is_told_to() -> None:
    model = Model(REJECTED, GOOD)
    assert (await model.caption(mode="json_object")).output_mode == "prompt"


async def test_below_the_last_rung_the_rejection_stands() -> None:
    model = Model(REJECTED)
    with pytest.raises(errors.SchemaRejected) as raised:
        await model.caption(mode="json_object")
    assert raised.value is REJECTED
    assert model.modes == ["json_object", "prompt"]


async def test_the_ladder_ends_with_the_calls() -> None:
    model = Model(REJECTED, calls=2)
    with pytest.raises(errors.SchemaRejected):
        await model.caption()
    assert len(model.asked) == 2


async def test_a_re_ask_stays_on_the_rung_that_worked() -> None:
    model = Model(REJECTED, WRONG, GOOD)
    assert (await model.caption()).output_mode == "json_schema_relaxed"
    assert model.modes == ["json_schema", "json_schema_relaxed", "json_schema_relaxed"]


# The re-ask.


@pytest.mark.parametrize("wrong", [WRONG, "{}", "I see a cup.", '{"caption": "a cu', "", "[]", '{"caption": NaN}'])
async def test_what_does_not_fit_is_asked_for_again_with_what_to_mend(wrong: str) -> None:
    model = Model(wrong, GOOD)
    assert await model.caption() == Answer({"caption": "a cup"}, GOOD, "model-2", "json_schema")
    first, again = model.asked
    assert replace(again, turns=()) == first
    assert again.image is IMAGE
    assert [turn.role for turn in again.turns] == ["assistant", "user"][-len(again.turns) :]
    assert again.turns[-1].text
    assert len(model.told) == 1


async def test_every_wrong_answer_is_shown_in_turn() -> None:
    model = Model(WRONG, "no JSON here", GOOD)
    await model.caption()
    shown = [turn.text for turn in model.asked[2].turns if turn.role == "assistant"]
    assert [json.loads(shown[0]), shown[1]] == [json.loads(WRONG), "no JSON here"]
    assert "caption" in model.asked[1].turns[-1].text


@pytest.mark.parametrize(
    ("retries", "calls", "asked"), [(0, 4, 1), (1, 4, 2), (2, 4, 3), (3, 4, 4), (3, 2, 2), (3, 1, 1)]
)
async def test_retries_and_calls_bound_the_re_asks(retries: int, calls: int, asked: int) -> None:
    model = Model(WRONG, calls=calls)
    with pytest.raises(OutputInvalid) as raised:
        await model.caption(retries)
    assert len(model.asked) == asked
    assert [one.pointer for one in raised.value.problems] == ["/caption"]
    assert ("once" if asked == 1 else f"{asked} times") in str(raised.value)


async def test_calls_that_the_line_spends_meanwhile_are_not_spent_twice() -> None:
    """A repeat on the line is a call too: what was left when the first answer came need not be left later."""
    model = Model(WRONG, repeats=1)
    with pytest.raises(OutputInvalid, match="asked 2 times"):
        await model.caption(3)
    assert len(model.asked) == 2


async def test_the_last_answers_mistakes_are_told_without_its_text() -> None:
    model = Model(WRONG, '{"caption": "fine", "sk-private": 1}')
    with pytest.raises(OutputInvalid) as raised:
        await model.caption(1)
    assert [one.pointer for one in raised.value.problems] == ["/sk-private"]
    model = Model("PRIVATE text")
    with pytest.raises(OutputInvalid) as raised:
        await model.caption(1)
    assert "PRIVATE" not in f"{raised.value!s}{raised.value.problems}"


@pytest.mark.parametrize(
    "error",
    [
        errors.Truncated("x"),
        errors.Refused("x"),
        errors.Blocked("x"),
        errors.RateLimited("x", retry_after=3),
        errors.ServerFailed("x"),
        errors.AuthFailed("x"),
        errors.SchemaRejected("x"),
        DeadlineExceeded(3, "waiting"),
        ZeroDivisionError("a bug of ours"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_of_a_re_ask_come_out_as_they_are(error: Exception) -> None:
    model = Model(WRONG, error)
    with pytest.raises(type(error)) as raised:
        await model.caption(3)
    assert raised.value is error
    assert len(model.asked) == 2
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


async def test_a_caller_that_leaves_ends_the_re_ask() -> None:
    asked_again = asyncio.Event()

    class Hanging(Model):
        async def again(self, reason: str) -> None:
            asked_again.set()
            await asyncio.Event().wait()

    captioning = asyncio.create_task(Hanging(WRONG).caption())
    await asked_again.wait()
    captioning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await captioning


async def test_instructor_says_nothing_of_answers_in_any_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("instructor").setLevel(logging.NOTSET)
    with caplog.at_level(logging.DEBUG):
        await Model('{"caption": ["PRIVATE"]}', "PRIVATE", GOOD).caption()
        with pytest.raises(OutputInvalid):
            await Model("PRIVATE").caption()
    assert not [one for one in caplog.records if "PRIVATE" in f"{one.getMessage()}{one.args}{one.exc_info}"]
    assert not [one for one in caplog.records if one.name.startswith("instructor")]


# What counts as an answer.

SHAPES: dict[str, Any] = {
    "type": "object",
    "properties": {
        "caption": {"type": "string"},
        "note": {"type": "string"},
        "place": {"type": ["string", "null"]},
        "model_config": {"type": "integer"},
        "_private": {"type": "array", "items": {"type": "string"}},
        "hair-color": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["caption", "place"],
}


@pytest.mark.parametrize("wrong_first", [False, True], ids=["at once", "after a re-ask"])
@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('{"caption": "a", "place": null}', {"caption": "a", "place": None}),
        ('{"caption": "a", "place": null, "note": null}', {"caption": "a", "place": None}),
        ('{"caption": "one\ntwo\t\x01", "place": "b"}', {"caption": "one\ntwo\t\x01", "place": "b"}),
        ('```json\n{"caption": "a", "place": "b"}\n```', {"caption": "a", "place": "b"}),
        ('First {"x": 1}, then {"caption": "a", "place": "b"}.', {"caption": "a", "place": "b"}),
        (
            '{"caption": "a", "place": "b", "model_config": 3, "_private": ["c"], "hair-color": {"left": "red"}}',
            {"caption": "a", "place": "b", "model_config": 3, "_private": ["c"], "hair-color": {"left": "red"}},
        ),
        (
            '{"caption": "a", "place": "b", "hair-color": [{"key": "left", "value": "red"}]}',
            {"caption": "a", "place": "b", "hair-color": {"left": "red"}},
        ),
    ],
    ids=["null", "null for absent", "control characters", "fence", "prose", "odd names", "entries for an object"],
)
async def test_both_ways_read_alike(text: str, result: dict[str, Any], wrong_first: bool) -> None:
    model = Model(*(["{}"] if wrong_first else []), text)
    made = await model.caption(schema=SHAPES)
    assert (made.result, made.text) == (result, text)
    assert len(model.asked) == 1 + wrong_first


async def test_an_absurdly_deep_answer_does_not_fit() -> None:
    deep = '{"caption": ' + '{"a":' * 900 + "1" + "}" * 901
    with pytest.raises(OutputInvalid):
        await Model(deep).caption(1)

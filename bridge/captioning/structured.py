"""Ask until the answer fits: the provider's own constrained decoding first, the ladder when it rejects the
schema, the lenient reader, and instructor's re-ask only when all of that did not give a valid object."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import islice
from time import time
from typing import Any, cast

import pydantic_core
from pydantic import BaseModel, RootModel, model_validator

from bridge.captioning.read import objects, off_the_loop
from bridge.errors import OutputInvalid
from perspectives.errors import Problem, ValidationFailed
from perspectives.validation import MAX_ANSWER_BYTES, Validator
from providers.base import Complete, Completion, JsonObject, OutputMode, Turn, VisionRequest
from providers.dialects import restore
from providers.errors import SchemaRejected

Again = Callable[[str], Awaitable[None]]
Lower = Callable[[VisionRequest], VisionRequest | None]
_LINK = re.compile(r"\n *For further information visit https://errors\.pydantic\.dev/\S*")
_HOPELESS = 128 * 1024  # a misfit of this length is no caption, and asking again would send it back and pay for it
_CANDIDATES = 16  # objects in one answer that are held against the schema
_NOT_JSON = Problem("", "The answer is not a JSON object.")


async def _unwatched(reason: str) -> None:
    """Nobody wants to know that a call is made again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A validated object, the text it was read from, and the mode that gave it."""

    result: JsonObject
    text: str
    model: str
    output_mode: OutputMode


async def ask_until_it_fits(
    ask: Complete,
    request: VisionRequest,
    schema: Validator,
    retries: int,
    calls_left: Callable[[], int],
    lower: Lower,
    again: Again = _unwatched,
) -> Answer:
    """Ask for an object that fits `schema`; at most `retries` more answers, while `calls_left()` is positive.

    `lower` gives the request that a server which rejected the schema gets next, None when there is none. `again`
    is told before each call that follows the first. Raises OutputInvalid, or whatever `ask` raises.
    """
    completion, request = await _down_the_ladder(ask, request, calls_left, lower, again)
    found = await _reading(completion.text, schema)
    if found.result is not None:
        return Answer(found.result, completion.text, completion.model, request.output_mode)
    if len(completion.text) > _HOPELESS or min(retries, calls_left()) < 1:
        raise OutputInvalid(found.problems, 1)
    return await _ask_again(ask, request, schema, (completion, found), retries, calls_left, again)


def read(text: str, schema: Validator) -> JsonObject:
    """The first object in `text` that fits. Raises ValidationFailed for the first object when none does."""
    misfit: ValidationFailed | None = None
    if len(text) > MAX_ANSWER_BYTES:
        raise ValidationFailed((Problem("", f"The answer is longer than {MAX_ANSWER_BYTES:,} characters."),))
    for candidate in islice(objects(text), _CANDIDATES):
        try:
            return _validated(candidate, schema)
        except ValidationFailed as error:
            misfit = misfit or error
        except RecursionError:
            misfit = misfit or ValidationFailed((Problem("", "The answer is nested too deeply."),))
    raise misfit or ValidationFailed((_NOT_JSON,))


def _validated(candidate: JsonObject, schema: Validator) -> JsonObject:
    """Validate the object as it is, and if that fails as an answer in OpenAI's strict form."""
    try:
        return schema.validate(candidate).value
    except ValidationFailed:
        restored = restore(candidate, schema.json_schema)
        if restored == candidate:
            raise
    return schema.validate(restored).value


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a text holds: the object that fits, or what is wrong; `shown` is the text without what stands around it."""

    result: JsonObject | None
    problems: tuple[Problem, ...]
    shown: str


async def _reading(text: str, schema: Validator) -> _Reading:
    return await off_the_loop(lambda: _read(text, schema), text, schema.json_schema)


def _read(text: str, schema: Validator) -> _Reading:
    try:
        result = read(text, schema)
    except ValidationFailed as misfit:
        return _Reading(None, misfit.problems, _first(text))
    return _Reading(result, (), json.dumps(result))


def _first(text: str) -> str:
    try:
        first = next(objects(text), None)
        return text if first is None else json.dumps(first)
    except RecursionError:
        return text


async def _down_the_ladder(
    ask: Complete, request: VisionRequest, calls_left: Callable[[], int], lower: Lower, again: Again
) -> tuple[Completion, VisionRequest]:
    """A rejected schema is worth one more call, one rung lower, while calls remain."""
    while True:
        try:
            return await ask(request), request
        except SchemaRejected:
            lowered = lower(request)
            if lowered is None or calls_left() < 1:
                raise
            request = lowered
            await again(f"The schema was rejected; asking with {request.output_mode}.")


async def _ask_again(
    ask: Complete,
    request: VisionRequest,
    schema: Validator,
    first: tuple[Completion, _Reading],
    retries: int,
    calls_left: Callable[[], int],
    again: Again,
) -> Answer:
    """Let instructor say what was wrong and ask again.

    It is given the first answer from memory and never the image: it scans and copies image messages (measured
    with instructor 1.17: 1 ms a call). Its response_format is ignored; the provider's own stays. It validates on the
    event loop, so its model only tells what the reader found.
    """
    instructor = await asyncio.to_thread(_load_instructor)

    async def once_more(turns: tuple[Turn, ...]) -> tuple[Completion, _Reading]:
        if calls_left() < 1:  # repeats on the line count too, and they come on top of `retries`
            raise OutputInvalid(replay.last[1].problems, len(replay.answers))
        await again("The answer did not fit the schema.")
        completion = await ask(replace(request, turns=turns))
        return completion, await _reading(completion.text, schema)

    replay = _Replay(first, once_more)
    patched = instructor.patch(create=replay.create, mode=instructor.Mode.JSON_SCHEMA)
    try:
        instance = await patched(
            response_model=_model(lambda: replay.last[1]),
            messages=[{"role": "user", "content": "Describe the picture as JSON."}],
            max_retries=retries,
            strict=False,
        )
    except instructor.core.InstructorRetryException:
        if replay.failure is not None:
            raise replay.failure from None
        raise OutputInvalid(replay.last[1].problems, len(replay.answers)) from None
    finally:
        replay.end()
    return Answer(instance.root, replay.last[0].text, replay.last[0].model, request.output_mode)


class _Replay:
    """Who answers instructor: the first answer from memory, then the provider."""

    def __init__(
        self,
        first: tuple[Completion, _Reading],
        once_more: Callable[[tuple[Turn, ...]], Awaitable[tuple[Completion, _Reading]]],
    ) -> None:
        self.answers = [first]
        self.failure: Exception | None = None
        self._once_more = [once_more]
        self._replayed = False

    @property
    def last(self) -> tuple[Completion, _Reading]:
        """The last answer, and what it holds."""
        return self.answers[-1]

    async def create(self, messages: list[dict[str, Any]], **_ignored: Any) -> Any:
        """Answer as Chat Completions do."""
        if self._replayed:
            try:
                self.answers.append(await self._once_more[0](_turns(messages)))
            except Exception as error:  # kept, and raised again as it is: instructor would wrap it
                self.failure = error
                raise
        self._replayed = True
        return _chat_completion(self.last[1].shown)

    def end(self) -> None:
        """Let go of the request: tenacity's frames hold this until gc finds them, and shall hold no picture."""
        self.failure = None
        self._once_more.clear()


def _model(last: Callable[[], _Reading]) -> type[BaseModel]:
    """A model for instructor: what the reader found in the last answer, or what the reader finds wrong with it."""

    class Caption(RootModel[JsonObject]):
        @model_validator(mode="before")
        @classmethod
        def _found(cls, value: object) -> object:
            found = last()
            if found.result is None:
                wrong = "\n".join(map(str, found.problems))
                raise pydantic_core.PydanticCustomError("misfit", "{wrong}", {"wrong": wrong})
            return found.result

    return Caption


def _load_instructor() -> Any:
    """Import instructor and what it imports at first use (openai: 0.9 s cold, never on the event loop)."""
    import instructor
    import instructor.core
    import openai.types.chat

    # It logs whole answers, at ERROR too (measured with instructor 1.17); who imports the bridge is spared that.
    logging.getLogger("instructor").setLevel(logging.CRITICAL + 1)
    instructor.patch(create=_chat_completion, mode=instructor.Mode.JSON_SCHEMA)
    assert openai.types.chat
    return instructor


def _turns(messages: list[dict[str, Any]]) -> tuple[Turn, ...]:
    """What instructor appended after the first message: the wrong answer and what to mend."""
    return tuple(
        Turn("assistant" if one.get("role") == "assistant" else "user", _text(one.get("content")))
        for one in messages[1:]
    )


def _text(content: object) -> str:
    """The message's text, without the links to pydantic's documentation that stand in its errors."""
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return _LINK.sub("", str(content or ""))


def _chat_completion(text: str) -> Any:
    from openai.types.chat import ChatCompletion

    return cast(
        Any,
        ChatCompletion.model_validate(
            {
                "id": "caption",
                "object": "chat.completion",
                "created": int(time()),
                "model": "caption",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            }
        ),
    )

"""Structured output: call one target until its answer validates against the perspective's schema."""

import asyncio
import logging
import re
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, PlainValidator, RootModel
from pydantic_core import PydanticCustomError

from bridge.captioning.answers import PartialObjects, Reading, read_answer
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.targets import Target
from bridge.errors import OutputInvalid
from bridge.run import Run
from perspectives.perspective import Perspective
from providers import registry
from providers.base import Completion, JsonObject, Turn, VisionRequest
from providers.errors import BadReply, SchemaRejected, ServerFailed, UnparsableOutput, WhitespaceRunaway
from providers.profiles import profile

_LINK = re.compile(r"\n *For further information visit https://errors\.pydantic\.dev/\S*")
_TOO_LONG = 128 * 1024  # an invalid answer with more characters is not sent back in a re-ask
_TEMPERATURE = 0.2  # for the call after endless white space, which constrained decoding produces at temperature 0


@dataclass
class StructuredOutput:
    """Requests structured output from one target."""

    request: VisionRequest
    target: Target
    perspective: Perspective
    dispatcher: Dispatcher
    run: Run

    async def generate(self, retries: int) -> Reading:
        """Return a valid answer after at most `retries` re-asks. Raises OutputInvalid and the errors of the calls."""
        reading = await self._first_answer()
        if reading.result is not None:
            return reading
        if len(reading.text) > _TOO_LONG or min(retries, self.run.attempts.left_for_target) < 1:
            raise OutputInvalid(reading.problems, 1)
        return await self._reask(reading, retries)

    async def _first_answer(self) -> Reading:
        """Return the first answer, valid or not.

        If the server rejects the schema, repeat the call in the next less strict output mode. An unexplained 400 or 500
        may be a rejection of the schema, so the mode is lowered once. If the model writes only white space, repeat the
        call once, with a higher temperature if the model accepts one.
        """
        guessed = warmed = False
        while True:
            try:
                return await self._call()
            except WhitespaceRunaway:
                if warmed or self.run.attempts.left_for_target < 1:
                    raise
                warmed = True
                reason = self._raise_temperature()
            except (SchemaRejected, ServerFailed) as error:
                is_certain = isinstance(error, SchemaRejected) and error.explained
                is_unrelated = isinstance(error, ServerFailed) and not error.may_be_schema
                if is_unrelated or (guessed and not is_certain) or self.run.attempts.left_for_target < 1:
                    raise
                lowered = await self.dispatcher.lower(self.target, self.request, self.run)
                if lowered is None:
                    raise
                guessed = guessed or not is_certain
                self.request = lowered
                reason = f"The schema was rejected; asking with output mode {lowered.output_mode}."
            self.run.reset("retry", reason)

    def _raise_temperature(self) -> str:
        """Raise the temperature of the next call if the model accepts one. Return the reason for the next call."""
        kind, options = self.target.config.kind, self.request.options
        if "temperature" not in registry.spec(kind).takes or profile(kind, self.request.model).reasoning:
            return "The model wrote only white space; retrying."
        temperature = max(options.temperature or 0, _TEMPERATURE)
        self.request = replace(self.request, options=replace(options, temperature=temperature))
        return f"The model wrote only white space; asking with temperature {temperature:g}."

    async def _call(self, turns: tuple[Turn, ...] = ()) -> Reading:
        """Make one call and validate the answer. If the answer is invalid, record its text in the attempt."""
        completion = await self._complete(replace(self.request, turns=turns) if turns else self.request)
        reading = await read_answer(completion.text, self.perspective, self.run.deadline)
        if reading.result is None:
            self.run.attempts.reject_last(self.dispatcher.without_keys(self.target, completion.text))
        return reading

    async def _complete(self, request: VisionRequest) -> Completion:
        partials = PartialObjects(self.run, self.perspective)
        try:
            async with aclosing(self.dispatcher.call(self.target, request, self.run)) as parts:
                async for part in parts:
                    if isinstance(part, Completion):
                        return part
                    await partials.add(part.text)
        except UnparsableOutput as error:  # the server could not parse this text, but it may be a valid answer
            return Completion(error.raw_text, request.model, error.usage)
        raise BadReply("The response ended before the answer was complete.")

    async def _reask(self, first: Reading, retries: int) -> Reading:
        """Let instructor ask the model again, with the problems of its answer.

        Instructor does not repeat the first call: it receives the first answer from memory. Instructor never receives
        the image, because it scans and copies image messages (measured with instructor 1.17: 1 ms per call).
        Instructor's response_format is replaced by the provider's.
        """
        # Instructor logs answers, even at level ERROR (measured with instructor 1.17).
        logging.getLogger("instructor").setLevel(logging.CRITICAL + 1)
        async with self.run.deadline.within("preparing to ask again"):
            instructor = await asyncio.to_thread(_import_instructor)
        readings: list[Reading] = []
        failures: list[Exception] = []

        async def create(messages: list[dict[str, Any]], **_ignored: Any) -> Any:
            try:
                readings.append(await self._correct(readings, messages) if readings else first)
            except Exception as error:  # raised later, because instructor would wrap it in its own exception
                failures.append(error)
                raise
            return _chat_completion(readings[-1].json)

        try:
            await instructor.patch(create=create, mode=instructor.Mode.JSON_SCHEMA)(
                response_model=_response_model(self.perspective.json_schema, readings),
                messages=[{"role": "user", "content": "Describe the image as JSON."}],
                max_retries=retries,
                strict=False,
            )
        except instructor.core.InstructorRetryException:
            if failures:
                raise failures[0] from None
            raise OutputInvalid(readings[-1].problems, len(readings)) from None
        return readings[-1]

    async def _correct(self, readings: list[Reading], messages: list[dict[str, Any]]) -> Reading:
        """Make one re-ask, unless the calls of this target are used up."""
        if self.run.attempts.left_for_target < 1:
            raise OutputInvalid(readings[-1].problems, len(readings))
        self.run.reset("retry", "The answer failed schema validation.")
        # The invalid answer, and the instructions to correct it, without links to pydantic's pages.
        turns = (Turn(message["role"], _LINK.sub("", message["content"])) for message in messages[1:])
        return await self._call(tuple(turns))


def _response_model(schema: JsonObject, readings: list[Reading]) -> type[BaseModel]:
    """Return a pydantic model for instructor. The model's validation reports the problems of the last answer."""

    def validate(_: object) -> object:
        if readings[-1].result is None:
            text = "\n".join(map(str, readings[-1].problems))
            raise PydanticCustomError("invalid_answer", "{text}", {"text": text})
        return readings[-1].result

    class Caption(RootModel[Any]):
        root: Annotated[Any, PlainValidator(validate)]

        @classmethod
        def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
            return schema

    return Caption


@cache
def _import_instructor() -> Any:
    """Import instructor, which imports openai. Call this in a thread: the first import takes 0.9 s."""
    import instructor
    import instructor.core

    # Instructor's first call imports further modules (0.4 s).
    create = instructor.patch(create=lambda **_: _chat_completion("{}"), mode=instructor.Mode.JSON_SCHEMA)
    create(response_model=_response_model({}, [Reading("{}", {}, {})]), messages=[{"role": "user", "content": ""}])
    return instructor


def _chat_completion(text: str) -> Any:
    from openai.types.chat import ChatCompletion

    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    # Without a usage, instructor 1.17 imports anthropic (2 s) and checks for Anthropic's.
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    fields = {"id": "caption", "object": "chat.completion", "created": 0, "model": "caption", "choices": [choice]}
    return ChatCompletion.model_validate({**fields, "usage": usage})

"""Events as they stand on the wire: one pydantic union, for SSE and WebSocket alike."""

import logging
from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from bridge import problems
from bridge.captioning.events import Done, Event, Failed, Partial, Progress, Reset, Result, Started
from bridge.problems import Problem

log = logging.getLogger("graphcap")


class Error(BaseModel):
    """A perspective ended without a caption; `id` and `perspective` are null where neither is known."""

    type: Literal["error"] = "error"
    id: str | None
    perspective: str | None
    problem: Problem


Told = Started | Progress | Partial | Reset | Result | Error | Done


class StreamEvent(RootModel[Annotated[Told, Field(discriminator="type")]]):
    """What a stream says, over SSE (the event's name is its type) and WebSocket. `done` is the last of its id."""


def wire(event: Event, request_id: str) -> Told:
    """The event to send; a failure becomes its problem, and a bug of ours is logged."""
    if not isinstance(event, Failed):
        return event
    if problems.row_of(event.error) is problems.BUG:
        log.error("bug in a stream", exc_info=event.error)
    problem = problems.problem(event.error, request_id)
    return Error(id=event.id, perspective=event.perspective, problem=problem)

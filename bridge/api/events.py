"""Events as they stand on the wire: one pydantic union, for SSE and WebSocket alike."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from bridge.captioning import problems
from bridge.captioning.events import Done, Event, Failed, Partial, Progress, Reset, Result, Started
from bridge.captioning.problems import Problem


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
    return Error(id=event.id, perspective=event.perspective, problem=problems.report(event.error, request_id))

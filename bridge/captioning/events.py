"""What is told of captions while they are made: one vocabulary for every stream."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from bridge.captioning.models import Caption, JsonObject, UsageOut
from bridge.captioning.watch import Stage


class Started(BaseModel):
    """The request was accepted; every end is an event from here on."""

    type: Literal["started"] = "started"
    id: str
    request_id: str


class Progress(BaseModel):
    """A stage begins."""

    type: Literal["progress"] = "progress"
    id: str
    perspective: str
    stage: Stage
    detail: str = ""


class Partial(BaseModel):
    """The whole object so far: render the last one."""

    type: Literal["partial"] = "partial"
    id: str
    perspective: str
    result: JsonObject


class Reset(BaseModel):
    """What was told of the object so far does not count: it is asked for again."""

    type: Literal["reset"] = "reset"
    id: str
    perspective: str
    reason: str


class Result(BaseModel):
    """A caption that fits."""

    type: Literal["result"] = "result"
    id: str
    perspective: str
    caption: Caption


class Done(BaseModel):
    """Always the last event of its id."""

    type: Literal["done"] = "done"
    id: str
    usage: UsageOut | None
    timing: dict[str, float] = Field(description="Milliseconds by stage.")


@dataclass(frozen=True, slots=True)
class Failed:
    """A perspective ended without a caption; `error` is told as a problem by whoever sends it."""

    id: str
    perspective: str
    error: Exception


Event = Started | Progress | Partial | Reset | Result | Failed | Done
Emit = Callable[[Event], Coroutine[Any, Any, None]]
"""Sends one event, and returns when it is taken. Never raises: what nobody is there to read is dropped."""

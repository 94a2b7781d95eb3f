"""The account of one request: what it was, did and cost.

Every floor adds what it knows; at the end the log line, the metrics and `Server-Timing` are read from it. Names that
go into metrics are bounded by who writes them here; the log may show a caller's own words, clipped.
"""

import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from bridge.telemetry.stages import Stages

Again = Literal["", "retry", "reask", "schema", "fallback"]
"""Why a call follows another: the line failed, the answer did not fit, the schema was rejected, or another target."""
NONE = "none"
UNKNOWN = "unknown"
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
request_id: ContextVar[str] = ContextVar("request_id", default="")
_current: ContextVar["Account | None"] = ContextVar("account", default=None)


def new_request_id(offered: str | None = None) -> str:
    """The caller's id when it is a plain word, else one of our own."""
    return offered if offered and _ACCEPTABLE_ID.fullmatch(offered) else uuid4().hex


@dataclass(slots=True)
class ProviderCall:
    """One call that was made. `provider` and `model` are bounded names; `outcome` is `ok` or how it failed.

    `address`: the endpoint's base URL, "" for one in this process. `answered`: the model that the server says answered.
    """

    provider: str
    model: str
    endpoint: str
    address: str
    again: Again
    sent_bytes: int
    outcome: str = "cancelled"
    answered: str = ""
    seconds: float = 0.0
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Captioning:
    """One caption, as far as it has come: it was cancelled as long as nothing else is known of its end.

    `perspective`, `provider` and `output_mode` are bounded names; `asked` and `answered` the caller's own.
    """

    perspective: str = UNKNOWN
    provider: str = NONE
    output_mode: str = NONE
    asked: str = ""
    answered: tuple[str, str] = ("", "")
    stages: Stages = field(default_factory=Stages)
    spent: dict[str, float] = field(default_factory=dict)
    calls: list[ProviderCall] = field(default_factory=list)
    error: Exception | None = None
    whole: bool = False

    def end(self, error: Exception | None = None) -> None:
        """It is made, or failed of `error`."""
        self.error, self.whole = error, error is None
        self.spent = self.stages.milliseconds()


@dataclass(slots=True)
class Account:
    """One request. `wants_caption`: it is one for captions, whatever comes of it. `code`: the problem it ended in.

    `tests`: calls that make no caption. `refused`: code and status of an answer given in the application's place.
    """

    id: str
    began: float = field(default_factory=time.perf_counter)
    wants_caption: bool = False
    perspective: str = UNKNOWN
    stages: Stages | None = None
    captions: list[Captioning] = field(default_factory=list)
    tests: list[Captioning] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)
    noted: dict[str, str | int] = field(default_factory=dict)
    trace_id: str = ""
    code: str = ""
    status: int = 0
    refused: tuple[str, int] | None = None

    def ms(self) -> float:
        """Milliseconds since it began."""
        return round((time.perf_counter() - self.began) * 1000, 1)

    def open(self) -> None:
        """Make it the account that the floors below write into."""
        request_id.set(self.id)
        _current.set(self)

    def server_timing(self) -> str:
        """The stages so far, as browsers show them."""
        spent = {**(self.stages.milliseconds() if self.stages else {}), "total": self.ms()}
        return ", ".join(f"{stage};dur={ms:.1f}" for stage, ms in spent.items())


def current() -> Account | None:
    """The account of the request that this task serves; None outside of the service."""
    return _current.get()

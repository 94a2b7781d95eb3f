"""The log lines of a service."""

import json
from time import monotonic
from typing import Any

from bridge.telemetry.record import FIELDS
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD


def line(service: Service, identity: str, message: str = "request") -> dict[str, Any]:
    """Return the only line of this request, once it is written."""
    end = monotonic() + HANG_GUARD
    while True:
        lines = [json.loads(text) for text in service.log.splitlines() if f'"{identity}"' in text]
        matching = [fields for fields in lines if fields["message"] == message]
        if matching:
            assert len(matching) == 1
            assert set(matching[0]) - {"time", "level", "logger", "message"} <= set(FIELDS)
            return matching[0]
        assert monotonic() < end, f"no line of {identity}"

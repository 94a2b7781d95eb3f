"""What a service's log says of a request."""

import json
from time import monotonic
from typing import Any

from bridge.telemetry.record import FIELDS
from tests.service import Service
from tests.telemetry.figures import HANG_GUARD


def line(service: Service, identity: str, message: str = "request") -> dict[str, Any]:
    """The one line of this request, once it is written."""
    end = monotonic() + HANG_GUARD
    while True:
        told = [json.loads(one) for one in service.log.splitlines() if f'"{identity}"' in one]
        found = [one for one in told if one["message"] == message]
        if found:
            assert len(found) == 1
            assert set(found[0]) - {"time", "level", "logger", "message"} <= set(FIELDS)
            return found[0]
        assert monotonic() < end, f"no line of {identity}"

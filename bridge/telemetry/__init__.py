"""What an operator sees: the log, the metrics, the traces, and the account of each request that feeds them."""

from bridge.telemetry.account import Account, Captioning, ProviderCall, current, new_request_id, request_id
from bridge.telemetry.logs import configure_logging, quiet_libraries
from bridge.telemetry.stages import Stages

__all__ = [
    "Account",
    "Captioning",
    "ProviderCall",
    "Stages",
    "configure_logging",
    "current",
    "new_request_id",
    "quiet_libraries",
    "request_id",
]

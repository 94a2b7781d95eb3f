"""The log: text for a person or JSON for a machine, one line a record, on standard error."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from bridge.telemetry.account import request_id

# instructor logs raw answers; httpx and the SDKs log addresses at INFO, which a caller may have chosen.
_QUIET = ("instructor", "httpx", "httpx2", "httpcore", "httpcore2", "openai", "google_genai", "ollama", "PIL")
# json.dumps makes an encoder for each call that wants anything but its defaults; a text line has twenty values.
_ASCII = json.JSONEncoder(default=str).encode
_UNICODE = json.JSONEncoder(default=str, ensure_ascii=False).encode
_FAULTS = (
    "Invalid HTTP request",
    "Unsupported upgrade request",
    "Invalid UTF-8 sequence",
    "ASGI callable returned without completing handshake",
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give time, level, logger, message, request id and the record's `fields`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request_id"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _UNICODE(line)


class TextFormatter(logging.Formatter):
    """One line for a person, the fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give time, level, message and fields; a newline inside a value cannot start a line of its own."""
        fields = " ".join(f"{name}={_ASCII(value)}" for name, value in getattr(record, "fields", {}).items())
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = f"{when} {record.levelname.lower():7} {record.getMessage()}".replace("\n", "\n  ")
        text = f"{text} {fields}" if fields else text
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure_logging(format: str, level: str) -> None:
    """Send every log line to standard error in one format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At INFO it logs a socket's address with its query, where somebody may have put a key (measured with uvicorn 0.54).
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.WARNING))
    logging.getLogger("uvicorn.error").addFilter(_is_no_strangers_fault)
    logging.captureWarnings(True)
    quiet_libraries()


def _is_no_strangers_fault(record: logging.LogRecord) -> bool:
    """Malformed requests and frames are told in lines of our own, or end a socket; uvicorn adds one, with a trace."""
    return not record.getMessage().startswith(_FAULTS)


def quiet_libraries() -> None:
    """Keep what the libraries say of requests and answers out of every log, whatever its level."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

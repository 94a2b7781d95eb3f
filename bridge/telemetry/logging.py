"""The log: one line per record on standard error, as text or as JSON."""

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

request_id: ContextVar[str] = ContextVar("request_id", default="")  # of the request that this task serves
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# instructor logs raw answers. httpx and the SDKs log URLs, which a caller may have chosen, at INFO.
_SILENCED = ("instructor", "httpx", "httpx2", "httpcore", "httpcore2", "openai", "google_genai", "ollama", "PIL")
_CLIENT_ERRORS = (
    "Invalid HTTP request",
    "Unsupported upgrade request",
    "Invalid UTF-8 sequence",
    "ASGI callable returned without completing handshake",
)


def new_request_id(offered: str | None = None) -> str:
    """Return the caller's id if it is 1 to 128 letters, digits and `._:-`, or a new one."""
    return offered if offered and _ACCEPTABLE_ID.fullmatch(offered) else uuid4().hex


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, request id and the record's `fields`."""
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
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Formats a record as one line of text with `name=value` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, message and fields. Newlines in values are escaped."""
        fields = getattr(record, "fields", {}).items()
        pairs = " ".join(f"{name}={json.dumps(value, default=str)}" for name, value in fields)
        when = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = f"{when} {record.levelname.lower():7} {record.getMessage()}".replace("\n", "\n  ")
        text = f"{text} {pairs}" if pairs else text
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure_logging(format: str, level: str) -> None:
    """Send every record of `level` and above to standard error in one format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # At INFO uvicorn 0.54 logs the URL of a WebSocket. Its query may contain a key.
    logging.getLogger("uvicorn.error").setLevel(max(root.level, logging.WARNING))
    # The service itself logs malformed requests and frames, without a traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_CLIENT_ERRORS))
    logging.captureWarnings(True)
    silence_libraries()


def silence_libraries() -> None:
    """Silence, at every level, the loggers of libraries that log requests and answers."""
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

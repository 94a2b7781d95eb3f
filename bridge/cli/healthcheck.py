"""`graphcap healthcheck`: check the health of a running service, for containers."""

import argparse
import json
import os
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException

from dotenv import dotenv_values

from bridge.cli import Parser
from bridge.cli.common import FAILED, print_line

_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104 (compared, not bound)


def add_options(parser: Parser) -> None:
    """Add the address of the service (by default from the settings) and a time limit."""
    host = _setting("GRAPHCAP_HOST", "127.0.0.1")
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default=_REACHABLE.get(host, host),
        help="address of the service (default: GRAPHCAP_HOST, or 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=int,
        default=_setting("GRAPHCAP_PORT", "32100"),
        help="port of the service (default: GRAPHCAP_PORT, or 32100)",
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", default=5.0, help="time limit (default: 5 seconds)")


def _setting(name: str, default: str) -> str:
    """Return a variable of the environment or of `.env`. (The import of the settings would take most of the time.)"""
    file: dict[str, str | None] = {}
    with suppress(UnicodeDecodeError):
        file = dotenv_values(".env")
    return os.environ.get(name) or file.get(name) or default


def run(options: argparse.Namespace) -> int:
    """Print the status of the service, and return 0 if it is healthy. Return 1 otherwise."""
    try:
        with closing(HTTPConnection(options.host.strip("[]"), options.port, timeout=options.timeout)) as connection:
            connection.request("GET", "/health")
            response = connection.getresponse()
            status = json.load(response).get("status") if response.status == 200 else f"HTTP {response.status}"
    except (OSError, ValueError, OverflowError, HTTPException) as error:
        print_line(f"No service answers at {options.host}:{options.port}: {error}", "red")
        return FAILED
    print(status)
    return 0 if status == "healthy" else FAILED

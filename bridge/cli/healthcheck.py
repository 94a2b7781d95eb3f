"""`graphcap healthcheck`: check the health of a running service, for containers."""

import argparse
import json
import os
from contextlib import closing
from http.client import HTTPConnection, HTTPException

from bridge.cli import Parser
from bridge.cli.common import FAILED, print_line

_WILDCARDS = ("0.0.0.0", "::", "[::]")  # noqa: S104 (compared, not bound)


def add_options(parser: Parser) -> None:
    """Add the address of the service (by default from the settings) and a time limit."""
    host = os.environ.get("GRAPHCAP_HOST") or "127.0.0.1"
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1" if host in _WILDCARDS else host,
        help="address of the service (default: GRAPHCAP_HOST, or 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=int,
        default=os.environ.get("GRAPHCAP_PORT") or "32100",
        help="port of the service (default: GRAPHCAP_PORT, or 32100)",
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", default=5.0, help="time limit (default: 5 seconds)")


def run(options: argparse.Namespace) -> int:
    """Print the status of the service, and return 0 if it is healthy. Return 1 otherwise."""
    connection = HTTPConnection(options.host.strip("[]"), options.port, timeout=options.timeout)
    try:
        with closing(connection):
            connection.request("GET", "/health")
            response = connection.getresponse()
            status = json.load(response).get("status") if response.status == 200 else f"HTTP {response.status}"
    except (OSError, ValueError, OverflowError, HTTPException) as error:
        print_line(f"No service answers at {options.host}:{options.port}: {error}", "red")
        return FAILED
    print(status)
    return 0 if status == "healthy" else FAILED

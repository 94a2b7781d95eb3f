"""`graphcap healthcheck`: for containers; asks a running service whether it is well."""

import argparse
import http.client
import json
import os
import sys

_EVERYWHERE = ("0.0.0.0", "::", "[::]")  # noqa: S104 (to ask, not to bind)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Where the service is; by default where its own settings put it."""
    host = os.environ.get("GRAPHCAP_HOST") or "127.0.0.1"
    parser.add_argument(
        "--host",
        default="127.0.0.1" if host in _EVERYWHERE else host,
        help="address of the service (GRAPHCAP_HOST, else 127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("GRAPHCAP_PORT") or "32100",
        help="port of the service (GRAPHCAP_PORT, else 32100)",
    )
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait (default: 5)")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is no port; give one with --port or GRAPHCAP_PORT.")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Exit with 0 when the service says it is healthy, else with 1."""
    connection = http.client.HTTPConnection(options.host.strip("[]"), options.port, timeout=options.timeout)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        status = json.loads(answer.read()).get("status") if answer.status == 200 else f"HTTP {answer.status}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"graphcap: no service answers at {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    print(status)
    return 0 if status == "healthy" else 1

"""The command line: results on standard output, everything else on standard error.

Exit codes: 0 done · 1 the work failed · 2 something given is wrong: an option, a name, a setting · 3 the service
could not start · 4 the provider cannot be used · 130 interrupted.

Only the command that runs is imported, so that `--help` is quick.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from bridge.version import __version__

COMMANDS = {
    "caption": "caption one image",
    "serve": "run the service",
    "perspectives": "list, show or check perspectives",
    "providers": "list providers, check one, list its models",
    "healthcheck": "ask a running service whether it is well",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` names (default: those of the process); the result is the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = build(next((one for one in given if one in COMMANDS), None))
    parsed = parser.parse_args(given)
    if not parsed.command:
        parser.print_help(sys.stderr)
        return 2
    module = importlib.import_module(f"bridge.cli.{parsed.command}")
    try:
        code: int = module.run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def build(command: str | None) -> argparse.ArgumentParser:
    """The parser; only `command` has its options, the others just their names."""
    parser = argparse.ArgumentParser(
        prog="graphcap",
        description="One image, one perspective, one vision model: one caption that fits the schema.",
    )
    parser.add_argument("--version", action="version", version=f"graphcap {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        one = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        if name == command:
            importlib.import_module(f"bridge.cli.{name}").add_options(one)
    return parser

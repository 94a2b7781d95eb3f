"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 success · 1 the work failed · 2 invalid input: an option, a name, a setting · 3 the service could not
start · 4 the provider cannot be used · 130 interrupted.

Only the command that runs is imported, so that `--help` is fast.
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
    "providers": "list providers, check one, or list its models",
    "healthcheck": "check the health of a running service",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. `arguments` default to those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = build(next((word for word in words if word in COMMANDS), None))
    options = parser.parse_args(words)
    if not options.command:
        parser.print_help(sys.stderr)
        return 2
    module = importlib.import_module(f"bridge.cli.{options.command}")
    try:
        code: int = module.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def build(command: str | None) -> argparse.ArgumentParser:
    """Return the parser. Only `command` gets its options; the other commands are listed by name."""
    parser = argparse.ArgumentParser(
        prog="graphcap",
        description="Turn one image, one perspective and one vision model into one caption that fits the schema.",
    )
    parser.add_argument("--version", action="version", version=f"graphcap {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        if name == command:
            importlib.import_module(f"bridge.cli.{name}").add_options(subparser)
    return parser

"""The command line. Results are written to standard output, all other text to standard error.

Exit codes: 0 success · 1 the work failed · 2 invalid input: an option, a name, a setting · 3 the service could not
start, or some images of a batch failed · 4 the provider cannot be used, or a limit of a batch is reached · 130
interrupted.

Only the command that runs is imported, so that `--help` is fast.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from bridge.version import __version__

COMMANDS = {
    "caption": "caption one image",
    "batch": "caption a folder, a bucket or a list of images",
    "serve": "run the service",
    "perspectives": "list, show or check perspectives",
    "providers": "list providers, check one, or list its models",
    "models": "list, download or remove models of the embedded engine",
    "healthcheck": "check the health of a running service",
    "completion": "print a completion script for a shell",
}


class Parser(argparse.ArgumentParser):
    """A parser that lists its arguments and commands. Its errors suggest similar options or commands."""

    def __init__(self, **options: Any) -> None:
        self.arguments: list[argparse.Action] = []
        self.commands: dict[str, Parser] = {}
        super().__init__(**options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        self.arguments.append(action)
        return action

    def add_commands(self, dest: str, summaries: Mapping[str, str], *, required: bool = True) -> "dict[str, Parser]":
        """Add one command per entry of `summaries`, and return their parsers by name."""
        subparsers = self.add_subparsers(dest=dest, metavar=dest.upper(), required=required)
        for name, summary in summaries.items():
            text = f"{summary[:1].upper()}{summary[1:]}."
            self.commands[name] = subparsers.add_parser(name, help=summary, description=text)
        return self.commands

    def error(self, message: str) -> NoReturn:
        """Print the mistake with a similar choice, and exit with 2."""
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        choices = [choice for action in self.arguments for choice in action.choices or ()]
        super().error(message + (_suggestion(wrong[1], [*self.commands, *choices]) if wrong else ""))

    def reject(self, words: Sequence[str]) -> NoReturn:
        options = [name for action in self.arguments for name in action.option_strings]
        hint = _suggestion(words[0].partition("=")[0], options)
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def _suggestion(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f". Did you mean '{near[0]}'?" if near else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code. `arguments`: the words of the command, by default sys.argv[1:]."""
    # Streams that are closed would be None, and their numbers would go to the first files that are opened.
    streams = (sys.stdin, sys.stdout, sys.stderr)
    sys.stdin, sys.stdout, sys.stderr = (each or os.fdopen(os.open(os.devnull, os.O_RDWR), "r+") for each in streams)
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = build(next((word for word in words if word in COMMANDS), None))
    options, unknown = parser.parse_known_args(words)
    command = parser.commands.get(options.command, parser)
    if unknown:
        command.commands.get(getattr(options, "verb", ""), command).reject(unknown)
    if not options.command:
        parser.print_help(sys.stderr)
        return 2
    module = importlib.import_module(f"bridge.cli.{options.command}")
    try:
        code: int = module.run(options)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 1
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except OSError as error:  # without dup2, Python would fail to write it again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and not code:
                code = 1
                if not isinstance(error, BrokenPipeError):
                    print(f"graphcap: Standard output cannot be written: {error.strerror}.", file=sys.stderr)
    return code


def build(command: str | None) -> Parser:
    """Return the parser. Only `command` gets its options. The other commands are only listed."""
    parser = Parser(
        prog="graphcap",
        description="Turn one image, one perspective and one vision model into one caption that fits the schema.",
        epilog="`graphcap COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"graphcap {__version__}")
    commands = parser.add_commands("command", COMMANDS, required=False)
    if command in commands:
        importlib.import_module(f"bridge.cli.{command}").add_options(commands[command])
    return parser

"""`graphcap perspectives`: list, show and check perspectives."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.cli import Parser
from bridge.cli.common import FAILED, USAGE, load_settings, perspective_file, print_error, print_json, print_line
from bridge.cli.text import columns, paint

if TYPE_CHECKING:
    from perspectives.catalog import Catalog
    from perspectives.perspective import Perspective

_COLOURS = {"error": "red", "warning": "yellow"}


def add_options(parser: Parser) -> None:
    verbs = parser.add_commands(
        "verb",
        {
            "list": "list the enabled perspectives by module, with their variables in parentheses",
            "show": "print one perspective as JSON; edit the output to make your own",
            "check": "report every mistake in the library, or in the files and directories that are named",
        },
    )
    verbs["show"].add_argument("name", help="the name of a perspective, or a JSON file")
    verbs["check"].add_argument("files", nargs="*", type=Path, help="files, or directories with *.json files")
    for verb in ("list", "check"):
        verbs[verb].add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the verb. Providers are not loaded, so mistakes in their configuration do not matter here."""
    from bridge.captioning.services import library

    settings = load_settings()
    if settings is None:
        return USAGE
    catalog = library(settings)
    if options.verb == "check":
        return _check(options, catalog)
    if options.verb == "show":
        return _show(options.name, catalog)
    if options.json:
        print_json({"perspectives": [perspective.to_wire() for perspective in catalog.all()]})
    else:
        _list(catalog)
    return 0


def _show(name: str, catalog: "Catalog") -> int:
    from perspectives import PerspectiveError, parse

    try:
        content = perspective_file(name)
        print_json((parse(content) if isinstance(content, dict) else catalog.get(content)).to_wire())
    except PerspectiveError as error:
        return print_error(error)
    except ValueError as error:
        print_line(str(error), "red")
        return USAGE
    return 0


def _list(catalog: "Catalog") -> None:
    """Print the perspectives below the names of their modules."""
    ordered = sorted(catalog.all(), key=lambda perspective: perspective.module)
    lines = columns([(f"  {perspective.name}", _summary(perspective, catalog)) for perspective in ordered])
    module = ""
    for perspective, line in zip(ordered, lines, strict=True):
        if perspective.module != module:
            module = perspective.module
            print(paint(module, "bold"))
        print(line)


def _summary(perspective: "Perspective", catalog: "Catalog") -> str:
    """Return a perspective's description, after remarks in brackets and before its variables in parentheses."""
    names = ", ".join(variable.name for variable in perspective.variables)
    remarks = []
    if perspective.name in catalog.replaced:
        remarks.append("replaces an earlier one")
    if perspective.deprecated:
        remarks.append(f"deprecated, use {perspective.replacement}" if perspective.replacement else "deprecated")
    prefix = f"[{'; '.join(remarks)}] " if remarks else ""
    return f"{prefix}{perspective.description}{f' ({names})' if names else ''}"


def _check(options: argparse.Namespace, library: "Catalog") -> int:
    """Print every problem. Return 1 if a problem is an error or no file was checked."""
    from perspectives import catalog

    checked = catalog.check(options.files) if options.files else library
    problems = checked.problems
    if options.json:
        keys = ("pointer", "message", "severity")
        print_json([{"file": str(item.file), **{key: getattr(item, key) for key in keys}} for item in problems])
    else:
        for item in problems:
            severity = paint(item.severity, _COLOURS[item.severity])
            print(f"{severity}: {item.file}{' at ' + item.pointer if item.pointer else ''}: {item.message}")
        errors = sum(item.severity == "error" for item in problems)
        summary = f"files checked: {checked.files}, mistakes: {errors}, warnings: {len(problems) - errors}"
        print(summary, file=sys.stderr)
    if not checked.files:
        print_line("There is no perspective to check: no file ends in .json.", "red")
    return FAILED if not checked.files or any(item.severity == "error" for item in problems) else 0

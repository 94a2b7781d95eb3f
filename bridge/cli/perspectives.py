"""`graphcap perspectives`: list, show, check."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.captioning.resources import Resources


def add_options(parser: argparse.ArgumentParser) -> None:
    """The three verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="the enabled perspectives")
    listing.add_argument("--json", action="store_true", help="print JSON")
    showing = verbs.add_parser("show", help="one perspective, as JSON")
    showing.add_argument("name")
    checking = verbs.add_parser("check", help="report every mistake in the library's files, or in those named")
    checking.add_argument("files", nargs="*", type=Path)
    checking.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    from bridge.cli.run import show_json, with_resources

    async def command(resources: "Resources") -> int:
        catalog = resources.catalog
        if options.verb == "show":
            show_json(catalog.get(options.name).to_wire())
        elif options.verb == "check":
            return _check(options, resources)
        elif options.json:
            show_json({"perspectives": [one.to_wire() for one in catalog.all()]})
        else:
            for one in catalog.all():
                print(f"{one.module:14} {one.name:24} {one.description}")
        return 0

    return with_resources(command, as_json=getattr(options, "json", False))


def _check(options: argparse.Namespace, resources: "Resources") -> int:
    """Exit with 1 when any file is broken; warnings alone are 0."""
    from bridge.cli.run import FAILED, show_json
    from perspectives import catalog

    problems = catalog.check(options.files) if options.files else resources.catalog.problems
    if options.json:
        show_json(
            [
                {"file": str(one.file), "pointer": one.pointer, "message": one.message, "severity": one.severity}
                for one in problems
            ]
        )
    else:
        for one in problems:
            print(f"{one.severity}: {one.file}{' at ' + one.pointer if one.pointer else ''}: {one.message}")
        count = len(options.files) or len(resources.catalog.all())
        print(f"{count} checked, {len(problems)} with something to mend", file=sys.stderr)
    return FAILED if any(one.severity == "error" for one in problems) else 0

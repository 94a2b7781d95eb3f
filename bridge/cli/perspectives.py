"""`graphcap perspectives`: list, show, check."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perspectives.catalog import Catalog, FileProblem, Loaded
    from perspectives.perspective import Perspective


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
    """Run the verb. Providers are not read: what is wrong with them is no matter here."""
    from bridge.captioning.services import library
    from bridge.cli.run import USAGE, settings_or_none, show_json, tell
    from perspectives import UnknownPerspective

    settings = settings_or_none()
    if settings is None:
        return USAGE
    catalog = library(settings)
    if options.verb == "check":
        return _check(options, catalog)
    if options.verb == "show":
        try:
            show_json(catalog.get(options.name).to_wire())
        except UnknownPerspective as error:
            return tell(error)
    elif options.json:
        show_json({"perspectives": [one.to_wire() for one in catalog.all()]})
    else:
        _list(catalog)
    return 0


def _list(catalog: "Catalog") -> None:
    """Module by module, with the variables of each perspective in parentheses."""
    from bridge.cli.text import columns

    ordered = sorted(catalog.all(), key=lambda one: one.module)
    lines = columns([_row(one, catalog) for one in ordered], indent="  ")
    module = ""
    for one, line in zip(ordered, lines, strict=True):
        if one.module != module:
            module = one.module
            print(module)
        print(line)


def _row(one: "Perspective", catalog: "Catalog") -> tuple[str, str]:
    """The name; marks, what it gives, and its variables in parentheses."""
    variables = f" ({', '.join(each.name for each in one.variables)})" if one.variables else ""
    marks = []
    if one.name in catalog.replaced:
        marks.append("replaces an earlier one")
    if one.deprecated:
        marks.append(f"deprecated, use {one.replacement}" if one.replacement else "deprecated")
    told = f"[{'; '.join(marks)}] " if marks else ""
    return one.name, f"{told}{one.description}{variables}"


def _check(options: argparse.Namespace, loaded: "Catalog") -> int:
    """Exit with 1 when any file is broken; warnings alone are 0."""
    from bridge.cli.run import FAILED, show_json
    from perspectives import catalog

    checked: Catalog | Loaded = catalog.check(options.files) if options.files else loaded
    if options.json:
        show_json(
            [
                {"file": str(one.file), "pointer": one.pointer, "message": one.message, "severity": one.severity}
                for one in checked.problems
            ]
        )
    else:
        for one in checked.problems:
            print(f"{one.severity}: {one.file}{' at ' + one.pointer if one.pointer else ''}: {one.message}")
        print(_summary(checked.files, list(checked.problems)), file=sys.stderr)
    return FAILED if any(one.severity == "error" for one in checked.problems) else 0


def _summary(files: int, problems: "list[FileProblem]") -> str:
    told = [
        f"{_count(len(found), name)} in {_count(len({one.file for one in found}), 'file')}"
        for severity, name in (("error", "mistake"), ("warning", "warning"))
        if (found := [one for one in problems if one.severity == severity])
    ]
    return f"{_count(files, 'file')} checked: {', '.join(told) or 'nothing to mend'}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"

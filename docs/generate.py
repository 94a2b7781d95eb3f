"""Write the tables that are derived from the code into README.md and docs/*.md.

A table is the text between `<!-- generated: NAME -->` and `<!-- end generated -->`. `make docs` writes the tables;
`make lint` fails when one of them differs from the code.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from docs.tables import HEADS, servers

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end generated -->)", re.DOTALL)
MARKER = re.compile(r"<!-- (?:generated: |end generated)")

Row = tuple[str, ...]
Tables = Mapping[str, Callable[[], str]]


class PageError(Exception):
    """A page names an unknown table, or a marker has no counterpart."""


def table(head: Row, rows: Callable[[], Iterator[Row]]) -> str:
    """Return a markdown table. Pipes and line breaks in cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows()]
    return "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines)


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def make_targets() -> Iterator[Row]:
    """Yield command and purpose of each target of the Makefile."""
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        if target := re.match(r"([a-z-]+):.*## (.+)", line):
            yield f"`make {target[1]}`", target[2]


def perspectives() -> Iterator[Row]:
    """Yield name, module and description of each perspective of the library."""
    for file in sorted((ROOT / "perspectives/library").glob("*/*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        yield f"`{content['name']}`", content["module"], content["description"]


def schema_limits() -> Iterator[Row]:
    """Yield the limits of schemas and answers."""
    from perspectives import json_values, schema, validation

    yield "text of a whole perspective", f"{json_values.MAX_BYTES // 1024} KiB"
    yield "subschemas, once references are inlined", f"{schema.MAX_NODES:,}"
    yield "levels of subschemas", f"{schema.MAX_DEPTH}"
    yield "values and characters that the smallest answer needs", f"{schema.MAX_LEAST:,}"
    yield "an answer, in bytes", f"{validation.MAX_ANSWER_BYTES:,}"
    yield "levels of objects and lists in an answer", f"{validation.MAX_ANSWER_DEPTH}"


TABLES: Tables = {
    "servers": servers,
    "schema-limits": partial(table, ("limit", "at most"), schema_limits),
    "make": partial(table, ("command", "purpose"), make_targets),
    "perspectives": partial(table, ("perspective", "module", "output"), perspectives),
    **{name: partial(table, head, rows) for name, (head, rows) in HEADS.items()},
}


def regenerate(page: str, tables: Tables) -> str:
    """Return the page with every table written anew. Raises PageError."""
    sections = SECTION.findall(page)
    if len(MARKER.findall(page)) != 2 * len(sections):
        raise PageError("a marker has no counterpart")
    return SECTION.sub(lambda match: match["start"] + _content(match["name"], tables) + "\n" + match["end"], page)


def _content(name: str, tables: Tables) -> str:
    if name not in tables:
        raise PageError(f"unknown table '{name}'; known tables: {', '.join(sorted(tables))}")
    return tables[name]().strip("\n")


def update(page: Path, tables: Tables, check: bool) -> str | None:
    """Write the page anew unless `check`, and return the problem with it, if any."""
    old = page.read_text(encoding="utf-8")
    try:
        new = regenerate(old, tables)
    except PageError as error:
        return str(error)
    if new == old:
        return None
    if check:
        return "a generated table differs from the code; run `make docs`"
    page.write_text(new, encoding="utf-8")
    return None


def main(arguments: list[str], root: Path = ROOT, tables: Tables = TABLES) -> int:
    """Update or check README.md and docs/*.md below `root`. Return 1 when there is a problem with one of them."""
    parser = argparse.ArgumentParser(description="Write the generated tables of README.md and docs/*.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a table differs")
    check: bool = parser.parse_args(arguments).check
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    problems = {page: problem for page in pages if (problem := update(page, tables, check))}
    for page, problem in problems.items():
        print(f"{page.relative_to(root)}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

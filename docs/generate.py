"""Write the tables that the code knows better into README.md and docs/*.md.

A table stands between `<!-- generated: NAME -->` and `<!-- end generated -->`; the rest of a page stays.
`make docs` writes them; `make lint` fails when one of them no longer says what the code says.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from docs.tables import HEADS

ROOT = Path(__file__).resolve().parent.parent
SECTION = re.compile(r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end generated -->)", re.DOTALL)
MARKER = re.compile(r"<!-- (?:generated: |end generated)")


class PageError(Exception):
    """A page asks for an unknown table, or has a marker without its other half."""


Row = tuple[str, ...]


def table(head: Row, rows: Callable[[], Iterator[Row]]) -> str:
    """A markdown table; a pipe or a line break inside a cell is escaped."""
    cells = [head, tuple("---" for _ in head), *rows()]
    return "\n".join("| " + " | ".join(map(escaped, row)) + " |" for row in cells)


def escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def make_targets() -> Iterator[Row]:
    for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines():
        if target := re.match(r"([a-z-]+):.*## (.+)", line):
            yield f"`make {target[1]}`", target[2]


def perspectives() -> Iterator[Row]:
    for file in sorted((ROOT / "perspectives/library").glob("*/*.json")):
        shipped = json.loads(file.read_text(encoding="utf-8"))
        yield f"`{shipped['name']}`", shipped["module"], shipped["description"]


def schema_limits() -> Iterator[Row]:
    from perspectives import json_values, schema, validation

    yield "text of a whole perspective", f"{json_values.MAX_BYTES // 1024} KiB"
    yield "subschemas, once references are inlined", f"{schema.MAX_NODES:,}"
    yield "levels of subschemas", f"{schema.MAX_DEPTH}"
    yield "values and characters that the smallest answer needs", f"{schema.MAX_LEAST:,}"
    yield "an answer, in bytes", f"{validation.MAX_ANSWER_BYTES:,}"
    yield "levels of objects and lists in an answer", f"{validation.MAX_ANSWER_DEPTH}"


Tables = Mapping[str, Callable[[], str]]

TABLES: Tables = {
    "make": partial(table, ("command", "what it does"), make_targets),
    "schema-limits": partial(table, ("limit", "at most"), schema_limits),
    "perspectives": partial(table, ("perspective", "module", "what it gives"), perspectives),
    **{name: partial(table, head, rows) for name, (head, rows) in HEADS.items()},
}


def regenerated(page: str, tables: Tables) -> str:
    """The page with every generated section written anew."""
    whole = SECTION.findall(page)
    if len(MARKER.findall(page)) != 2 * len(whole):
        raise PageError("a marker stands without its other half")
    return SECTION.sub(lambda match: match["start"] + content(match["name"], tables) + "\n" + match["end"], page)


def content(name: str, tables: Tables) -> str:
    if name not in tables:
        raise PageError(f"no table is called {name}; there are {', '.join(sorted(tables))}")
    return tables[name]().strip("\n")


def settle(page: Path, tables: Tables, check: bool) -> str | None:
    """Write the page anew unless only checking; what is wrong with it, if anything."""
    old = page.read_text(encoding="utf-8")
    try:
        new = regenerated(old, tables)
    except PageError as error:
        return str(error)
    if new == old:
        return None
    if check:
        return "a generated table has drifted; run `make docs`"
    page.write_text(new, encoding="utf-8")
    return None


def main(arguments: list[str], root: Path = ROOT, tables: Tables = TABLES) -> int:
    """Settle README.md and docs/*.md below the root; 1 when something is wrong with one of them."""
    parser = argparse.ArgumentParser(description="Write the generated tables of README.md and docs/*.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page has drifted")
    check: bool = parser.parse_args(arguments).check
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    mistakes = {page: mistake for page in pages if (mistake := settle(page, tables, check))}
    for page, mistake in mistakes.items():
        print(f"{page.relative_to(root)}: {mistake}", file=sys.stderr)
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What a stranger's schema costs: CPU from its JSON to the refusal, or to the compiled form."""

import json
import re
import tomllib
from collections.abc import Iterator
from time import process_time

from pydantic_core import from_json

from benchmarks.report import Promise, Report, Table
from benchmarks.running import ROOT
from perspectives import PerspectiveError, parse, patterns
from perspectives.schema import _cached

TABLE = ROOT / "tests" / "hostile" / "schemas.toml"
RUNS = 3
SHOWN = 8
_REPEATED = re.compile(r"«(.*?) × (\d+)»", re.DOTALL)


def run() -> Report:
    """Take in every schema and perspective of the hostile table; the slowest count."""
    found = sorted(((cheapest(text), name) for name, text in perspectives()), reverse=True)
    rows = tuple((name, f"{seconds * 1000:.1f} ms") for seconds, name in found[:SHOWN])
    worst = found[0][0] * 1000
    promise = Promise(f"the dearest of {len(found)} hostile perspectives, taken in or refused", 250, worst, "ms CPU")
    return Report("Schemas of strangers", [Table(("the dearest", "CPU"), rows)], [promise])


def perspectives() -> Iterator[tuple[str, str]]:
    """Each row that has a schema or a perspective, as JSON text."""
    for row in tomllib.loads(TABLE.read_text("utf-8"))["row"]:
        if "perspective" in row:
            yield row["name"], expanded(row["perspective"])
        elif "schema" in row:
            yield row["name"], f'{{"prompt": "p", "json_schema": {expanded(row["schema"])}}}'


def expanded(text: str) -> str:
    """The text with what it repeats, repeated; # is the number."""
    return _REPEATED.sub(
        lambda found: "".join(found[1].replace("#", str(number)) for number in range(int(found[2]))), text
    )


def cheapest(text: str) -> float:
    """Seconds of CPU, the least of some runs: the machine is shared."""
    times = []
    for _ in range(RUNS):
        _cached.cache_clear()
        patterns.compiled.cache_clear()
        start = process_time()
        taken_in(text)
        times.append(process_time() - start)
    return min(times)


def taken_in(text: str) -> None:
    """As the API does it: read the body, read the perspective, write it as it is listed."""
    try:
        json.dumps(parse(from_json(text)).to_wire())
    except (PerspectiveError, ValueError):
        return

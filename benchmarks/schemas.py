"""Cost of caller-supplied schemas: CPU to accept or reject them, and how long validating blocks the event loop."""

import asyncio
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import process_time
from typing import Any

from pydantic_core import from_json

from benchmarks.report import Report, Table, Target
from benchmarks.running import ROOT
from perspectives import PerspectiveError, ValidationFailed, compile_schema, parse, patterns, validation
from perspectives.validation import Validator

TABLE = ROOT / "tests" / "hostile" / "schemas.toml"
RUNS = 3
SHOWN = 8
_REPEATED = re.compile(r"«(.*?) × (\d+)»", re.DOTALL)
_TICK = 0.001


def run() -> Report:
    """Load every schema of the hostile table, and validate the largest answers that the costliest schemas accept."""
    loaded = sorted(((cheapest(text), name) for name, text in perspectives()), reverse=True)
    blocked = sorted(((longest_block(name), name) for name in COSTLY), reverse=True)
    tables = [
        Table(("costliest to load", "CPU"), milliseconds(loaded[:SHOWN])),
        Table(("largest answer of", "event loop blocked, CPU"), milliseconds(blocked)),
    ]
    targets = [
        Target(
            f"costliest of {len(loaded)} hostile perspectives, accepted or rejected", 250, loaded[0][0] * 1000, "ms"
        ),
        Target("event loop blocked by the costliest accepted schema and answer", 50, blocked[0][0] * 1000, "ms CPU"),
    ]
    return Report("Caller-supplied schemas", tables, targets)


def milliseconds(rows: list[tuple[float, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{seconds * 1000:.1f} ms") for seconds, name in rows)


def perspectives() -> Iterator[tuple[str, str]]:
    """Yield each row that has a schema or a perspective, as JSON text."""
    for row in tomllib.loads(TABLE.read_text("utf-8"))["row"]:
        if "perspective" in row:
            yield row["name"], expanded(row["perspective"])
        elif "schema" in row:
            yield row["name"], f'{{"prompt": "p", "json_schema": {expanded(row["schema"])}}}'


def expanded(text: str) -> str:
    """Return the text with its repetitions written out; # is the number."""
    return _REPEATED.sub(
        lambda match: "".join(match[1].replace("#", str(number)) for number in range(int(match[2]))), text
    )


def cheapest(text: str) -> float:
    """Return seconds of CPU, the least of some runs: the machine is shared."""
    times = []
    for _ in range(RUNS):
        validation.cached_validator.cache_clear()
        patterns.compile_cost.cache_clear()
        start = process_time()
        load(text)
        times.append(process_time() - start)
    return min(times)


def load(text: str) -> None:
    """Read a body, parse the perspective and write it as it is listed, as the API does."""
    with suppress(PerspectiveError, ValueError):
        json.dumps(parse(from_json(text)).to_wire())


def filled(size: int, item: Any) -> list[Any]:
    """Return a list of about `size` bytes of JSON."""
    return [item] * max(1, size // (len(json.dumps(item)) + 2))


def required(names: int) -> dict[str, Any]:
    fields = [f"f{index}" for index in range(names)]
    return {"type": "object", "properties": {name: {"type": "string"} for name in fields}, "required": fields}


def unevaluated(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"properties": {"a": {}}}
    for level in range(levels):
        node = {"unevaluatedProperties": False, "allOf": [node, {"properties": {f"p{level}": {}}}]}
    return node


COSTLY: dict[str, tuple[dict[str, Any], Callable[[int], Any]]] = {
    "plain": ({"items": {"type": "integer"}}, lambda size: filled(size, 1)),
    "plain, all wrong": ({"items": {"type": "integer"}}, lambda size: filled(size, "x")),
    "missing properties": ({"items": required(1_000)}, lambda size: filled(size, {})),
    "allOf": ({"items": {"allOf": [{"type": "integer"}] * 2_000}}, lambda size: filled(size, 1)),
    "anyOf": ({"items": {"anyOf": [{"const": f"k{n}"} for n in range(2_000)]}}, lambda size: filled(size, "k")),
    "anyOf of lists": (
        {"anyOf": [{"items": {"enum": ["k", n]}} for n in range(1_000)]},
        lambda size: [*filled(size - 8, "k"), "none"],
    ),
    "enum of objects": ({"items": {"enum": [{"a": n} for n in range(3_000)]}}, lambda size: filled(size, {"a": 2_999})),
    "patternProperties": (
        {"patternProperties": {f"^x{n}$": {} for n in range(800)}},
        lambda size: {f"k{n}": 1 for n in range(size // 11)},
    ),
    "pattern with many states": ({"pattern": "[ab]*a[ab]{500}c"}, lambda size: "aababbbaab" * ((size - 2) // 10)),
    "pattern in 4 MB": ({"pattern": r"(\p{L}|[ab])*a\p{L}{60}c"}, lambda size: "aababbbaab" * ((size - 2) // 10)),
    "unevaluatedProperties": (unevaluated(8), lambda size: {"a": "x" * (size - 10)}),
    "uniqueItems": ({"uniqueItems": True}, lambda size: [{"x": n} for n in range(size // 14)]),
}


def longest_block(name: str) -> float:
    """Return the CPU seconds for which a thread that validates kept the event loop waiting, at most."""
    schema, answer = COSTLY[name]
    validator = compile_schema({"type": "object", "properties": {"a": schema}})
    size = min(validation.MAX_ANSWER_BYTES, validation.MAX_COST // validator.weight)
    value = {"a": answer(size - 20)}
    return min(asyncio.run(_longest_gap(validator, value)) for _ in range(RUNS))


async def _longest_gap(validator: Validator, value: object) -> float:
    def validate() -> None:
        with suppress(ValidationFailed):
            validator.validate(value)

    working = asyncio.create_task(asyncio.to_thread(validate))
    longest, before = 0.0, process_time()  # CPU, not wall: another process may hold the core
    while not working.done():
        await asyncio.sleep(_TICK)
        now = process_time()
        longest, before = max(longest, now - before), now
    await working
    return longest

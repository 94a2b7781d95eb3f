"""The table of what goes wrong at a provider (providers.toml), read into one case for each protocol and door."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import behaviours as b
from tests.servers.behaviours import Behaviour

TABLE = tomllib.loads((Path(__file__).parent / "providers.toml").read_text("utf-8"))
KINDS = ("openai", "vllm", "ollama", "gemini")
DOORS = ("post", "sse")
MARK = "upstream-words-7f3a"
"""Stands in everything a server says of its own: none of it may be told to a client."""
PAGE = f"<!DOCTYPE html><html><body><h1>{MARK}</h1></body></html>".encode()
GOOD = {"caption": "a cup on a table"}


@dataclass(frozen=True)
class Case:
    """One fault at one protocol through one door, and what has to come of it.

    `replies`: what each call gets, the last for ever. `line`: what is wrong before a call can come. `ends`: the
    code of the problem, "" for a caption. `calls`: how many.
    """

    name: str
    kind: str
    door: str
    replies: tuple[Behaviour, ...] = ()
    line: str = ""
    ends: str = ""
    retryable: bool = False
    retry_after: float | None = None
    calls: int = 1
    timeout: float = 30
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.kind} {self.door}: {self.name}"

    @property
    def status(self) -> int:
        return int(TABLE["status"][self.ends]) if self.ends else 200


def cases() -> Iterator[Case]:
    """Every row for every protocol and door that it is about."""
    for row in TABLE["fault"]:
        for kind in row.get("kinds", KINDS):
            for door in (*row.get("doors", DOORS), *(["socket"] if row.get("socket") else [])):
                yield case(row, kind, door)


def case(row: dict[str, Any], kind: str, door: str) -> Case:
    """The row with what `on` says for this protocol, this door, or both."""
    said = {name: value for name, value in row.items() if name not in ("kinds", "doors", "socket", "on")}
    for which in (kind, door, f"{kind} {door}"):
        said |= row.get("on", {}).get(which, {})
    said["replies"] = tuple(behaviour(one) for one in said.get("replies", [{"Answer": {"content": GOOD}}]))
    return Case(kind=kind, door=door, **said)


def behaviour(said: dict[str, dict[str, Any]]) -> Behaviour:
    """`{Status = {code = 500}}` is Status(500); whatever a server may say holds the mark."""
    ((name, facts),) = said.items()
    facts = {key: behaviour(value) if key in ("of", "then") else value for key, value in facts.items()}
    if name == "Page":
        return b.Status(body=PAGE, **facts)
    if name in ("Status", "ErrorInStream"):
        facts.setdefault("message", f"The server says {MARK}.")
    if name == "Raw":
        facts["body"] = facts["body"].encode()
    made: Behaviour = getattr(b, name)(**facts)
    return made

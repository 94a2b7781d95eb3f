"""Addresses that must not be called: a real bridge in a network namespace where all of them listen."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.hostile.addresses_world import KEY, TABLE
from tests.service import ROOT
from tests.tools import missing, need, need_namespaces

pytestmark = pytest.mark.slow

CONFIGURED = "93.184.216.40"
REACHED = {"provider_error", "provider_unavailable", "provider_auth", "unknown_model"}
SECONDS = 60  # a generous guard: the bridges give an image 2 seconds and a request 8


@dataclass
class Results:
    """Every row that was asked."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any]
    log: str

    def one(self, id: str) -> dict[str, Any]:
        (row,) = (row for row in self.rows if row["id"] == id)
        return row


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Build the world and ask with the whole table."""
    need("ip")
    need_namespaces()
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        missing("the right to make a network namespace (root)")
    folder = tmp_path_factory.mktemp("world")
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.hostile.addresses_world", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Results(**json.loads((folder / "results.json").read_text("utf-8")))


def told(rows: list[dict[str, Any]], wrong: list[str]) -> None:
    """All that is wrong at once: each row is a case of its own."""
    assert rows
    assert not wrong, "\n".join([f"{len(wrong)} of {len(rows)} rows:", *wrong])


def visited(row: dict[str, Any]) -> set[str]:
    own = {CONFIGURED} if " fallback " in row["id"] else set()
    return {one["address"] for one in row["visits"]} - own


def fits(row: dict[str, Any]) -> bool:
    wanted = set(row["verdict"].split("|"))
    if " test " in row["id"] and row["code"] == "failed":  # a connection that fails is an answer of this door
        return True
    if row["id"].startswith("listed") and row["code"] == "address_refused":  # a network is listed, so all are looked up
        wanted |= {"address_refused"} if "provider_not_allowed" in wanted else set()
    return row["code"] in wanted or ("reached" in wanted and row["code"] in REACHED)


def test_every_url_ends_as_it_should(results: Results) -> None:
    wrong = [row for row in results.rows if not fits(row)]
    told(results.rows, [f"{row['id']!r}: {row['code']}, not {row['verdict']}: {row['detail']}" for row in wrong])


def test_nobody_else_is_visited(results: Results) -> None:
    wrong = []
    for row in results.rows:
        if row["reach"] is not None and "*" not in row["reach"]:
            strangers = visited(row) - set(row["reach"])
            wrong += [f"{row['id']!r}: {sorted(strangers)}"] if strangers else []
    told(results.rows, wrong)


def test_whoever_should_be_reached_is(results: Results) -> None:
    """Otherwise the rows above would also pass on a bridge that calls nobody."""
    rows = [row for row in results.rows if row["verdict"] in ("ok", "reached") and row["reach"]]
    told(rows, [row["id"] for row in rows if "*" not in row["reach"] and visited(row) != set(row["reach"])])
    assert len(rows) > 100


def test_nothing_is_a_fault_of_ours_or_slow(results: Results) -> None:
    allowed = {502, 503, 504}
    wrong = [
        f"{row['id']!r}: {row['status']} {row['code']} in {row['seconds']:.1f} s"
        for row in results.rows
        if row["seconds"] > SECONDS
        or (row["status"] >= 500 and (row["status"] not in allowed or " caption " in row["id"]))
    ]
    told(results.rows, wrong)
    assert "Traceback" not in results.log


def test_keys_stay_where_they_belong(results: Results) -> None:
    wrong = []
    for row in results.rows:
        for one in row["visits"]:
            assert not re.search("authorization: basic|cookie:", one["sent"], re.IGNORECASE), row["id"]  # of netrc
            own = (one["address"], one["port"]) == (CONFIGURED, 80)
            fallback_or_own = row.get("keyed") or " fallback " in row["id"] or row["id"] == "public models vllm"
            if KEY in one["sent"] and not (own and fallback_or_own):
                wrong.append(f"{row['id']!r}: the key came to {one['address']}:{one['port']}")
    told(results.rows, wrong)
    keyed = [row for row in results.rows if row.get("keyed") and row["verdict"] == "reached"]
    told(keyed, [row["id"] for row in keyed if not any(KEY in one["sent"] for one in row["visits"])])
    assert KEY not in "".join(row["detail"] for row in results.rows) + results.log


def test_what_is_inside_is_not_told(results: Results) -> None:
    """Whether a port is open, and whether the address is loopback, private or reserved: one sentence."""
    for policy in ("public", "listed"):
        details = {results.one(f"{policy} caption http://10.0.0.9:{port}/")["detail"] for port in (8080, 9)}
        assert len(details) == 1
    sentences = set()
    for group in TABLE["hosts"]:
        if group["public"] == "address_refused":
            for host in group["hosts"]:
                row = results.one(f"public caption http://{host}/a.jpg")
                sentences.add(row["detail"].split(" has ", 1)[1])
                for address in group["hosts"].values():
                    assert not address or address in host or address not in row["detail"]
    assert len(sentences) == 1


def test_a_name_is_looked_up_once_for_one_connection(results: Results) -> None:
    assert results.facts["rebind_asked"] == 1


def test_names_that_hang_keep_nobody_waiting(results: Results) -> None:
    silent = results.facts["silent"]
    assert len(silent["hanging"]) == 16
    assert silent["good"] < 30  # the resolver waits 30 seconds for the name server
    assert silent["own"] < 30

"""Server-side request forgery: send every URL of `addresses.toml` to bridges in a network namespace."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from tests.hostile.address_runner import KEY, TABLE
from tests.service import ROOT
from tests.tools import missing, need, need_namespaces

pytestmark = pytest.mark.slow

CONFIGURED = "93.184.216.40"
REACHED = {"provider_error", "provider_unavailable", "provider_auth", "unknown_model"}
SECONDS = 60  # far above the timeouts of the bridges


@dataclass
class Results:
    """The recorded outcomes of all requests."""

    rows: list[dict[str, Any]]
    facts: dict[str, Any]
    log: str

    def row(self, id: str) -> dict[str, Any]:
        (row,) = (row for row in self.rows if row["id"] == id)
        return row


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run all requests of the table in a network namespace."""
    need("ip")
    need_namespaces()
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        missing("permission to create a network namespace (root)")
    folder = tmp_path_factory.mktemp("network")
    process = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.hostile.address_runner", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return Results(**json.loads((folder / "results.json").read_text("utf-8")))


def check_all(rows: list[dict[str, Any]], wrong: list[str]) -> None:
    """Fail with all mistakes, because each row is a separate case."""
    assert rows
    assert not wrong, "\n".join([f"{len(wrong)} of {len(rows)} rows:", *wrong])


def connected(row: dict[str, Any]) -> set[str]:
    """Return the addresses that the bridge connected to, except the configured target before a fallback."""
    own = {CONFIGURED} if " fallback " in row["id"] else set()
    return {connection["address"] for connection in row["connections"]} - own


def is_expected(row: dict[str, Any]) -> bool:
    verdicts = set(row["verdict"].split("|"))
    if " test connection " in row["id"] and row["code"] == "failed":  # this endpoint reports failures with a 200
        return True
    # If a network is listed, every name is resolved before it is rejected.
    if row["id"].startswith("listed") and row["code"] == "address_refused":
        verdicts |= {"address_refused"} if "provider_not_allowed" in verdicts else set()
    return row["code"] in verdicts or ("reached" in verdicts and row["code"] in REACHED)


def test_every_url_has_the_expected_outcome(results: Results) -> None:
    wrong = [row for row in results.rows if not is_expected(row)]
    check_all(results.rows, [f"{row['id']!r}: {row['code']}, not {row['verdict']}: {row['detail']}" for row in wrong])


def test_only_allowed_addresses_are_connected(results: Results) -> None:
    wrong = []
    for row in results.rows:
        if row["connects"] is not None and "*" not in row["connects"]:
            unexpected = connected(row) - set(row["connects"])
            wrong += [f"{row['id']!r}: {sorted(unexpected)}"] if unexpected else []
    check_all(results.rows, wrong)


def test_allowed_addresses_are_reached(results: Results) -> None:
    """Without this test, the test above would also pass if the bridge opened no connections."""
    rows = [row for row in results.rows if row["verdict"] in ("ok", "reached") and row["connects"]]
    check_all(
        rows, [row["id"] for row in rows if "*" not in row["connects"] and connected(row) != set(row["connects"])]
    )
    assert len(rows) > 100


def test_no_request_is_slow_or_an_internal_error(results: Results) -> None:
    allowed = {502, 503, 504}
    wrong = [
        f"{row['id']!r}: {row['status']} {row['code']} in {row['seconds']:.1f} s"
        for row in results.rows
        if row["seconds"] > SECONDS
        or (row["status"] >= 500 and (row["status"] not in allowed or " caption " in row["id"]))
    ]
    check_all(results.rows, wrong)
    assert "Traceback" not in results.log


def test_keys_are_sent_only_to_their_own_server(results: Results) -> None:
    wrong = []
    for row in results.rows:
        for connection in row["connections"]:
            received = connection["received"]
            assert not re.search("authorization: basic|cookie:", received, re.IGNORECASE), row["id"]  # from netrc
            own = (connection["address"], connection["port"]) == (CONFIGURED, 80)
            fallback_or_own = row.get("sends_key") or " fallback " in row["id"] or row["id"] == "public models vllm"
            if KEY in received and not (own and fallback_or_own):
                wrong.append(f"{row['id']!r}: the key was sent to {connection['address']}:{connection['port']}")
    check_all(results.rows, wrong)
    keyed = [row for row in results.rows if row.get("sends_key") and row["verdict"] == "reached"]
    check_all(
        keyed,
        [row["id"] for row in keyed if not any(KEY in connection["received"] for connection in row["connections"])],
    )
    assert KEY not in "".join(row["detail"] for row in results.rows) + results.log


def test_errors_do_not_reveal_the_network(results: Results) -> None:
    """The error is the same for open and closed ports, and for loopback, private and reserved addresses."""
    for policy in ("public", "listed"):
        details = {results.row(f"{policy} caption http://10.0.0.9:{port}/")["detail"] for port in (8080, 9)}
        assert len(details) == 1
    sentences = set()
    for group in TABLE["hosts"]:
        if group["public"] == "address_refused":
            for host in group["addresses"]:
                row = results.row(f"public caption http://{host}/a.jpg")
                sentences.add(row["detail"].split(" has ", 1)[1])
                for address in group["addresses"].values():
                    assert not address or address in host or address not in row["detail"]
    assert len(sentences) == 1


def test_a_name_is_resolved_once_per_connection(results: Results) -> None:
    assert results.facts["rebind_queries"] == 1


def test_unanswered_dns_queries_do_not_delay_other_requests(results: Results) -> None:
    silent = results.facts["silent"]
    assert len(silent["hanging"]) == 16
    assert silent["good"] < 30  # the resolver's timeout
    assert silent["configured"] < 30

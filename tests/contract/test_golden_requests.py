"""Compare request bodies with the golden files in `tests/wire`. `UPDATE_GOLDEN=1` rewrites them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from providers.base import Turn
from tests.contract.kinds import EVERY_KIND
from tests.contract.schemas import RICH
from tests.contract.target import EVERYTHING, Target
from tests.servers import Call
from tests.servers.call import without_images

WIRE = Path(__file__).parent.parent / "wire"
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "schema": {"schema": RICH, "schema_name": "scene", "system": "Answer in English."},
    "relaxed": {"schema": RICH, "output_mode": "json_schema_relaxed"},
    "json_object": {"schema": RICH, "output_mode": "json_object"},
    "prompt": {"schema": RICH, "output_mode": "prompt"},
    "options": {"options": EVERYTHING},
    "turns": {"turns": (Turn("assistant", "{}"), Turn("user", "caption is missing")), "system": "Be brief."},
}


def compare(call: Call, kind: str, case: str) -> None:
    file = WIRE / kind / f"{case}.json"
    body = without_images(call.body, call.images)
    request = {"method": call.method, "path": call.path, "query": call.query, "body": body}
    actual = json.dumps(request, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(actual, encoding="utf-8")
    assert file.is_file(), f"{kind}/{case}.json is missing: UPDATE_GOLDEN=1 writes it"
    assert actual == file.read_text(encoding="utf-8")


@EVERY_KIND
@pytest.mark.parametrize("case", CASES)
async def test_golden_request(target: Target, case: str) -> None:
    if case == "json_object" and not target.kind.json_object:
        pytest.skip("the server has no json_object")
    await target.complete(**CASES[case])
    compare(target.server.call, target.kind.kind, case)


@EVERY_KIND
async def test_golden_streamed_request(target: Target) -> None:
    await target.stream(schema=RICH, schema_name="scene")
    compare(target.server.call, target.kind.kind, "stream")


@EVERY_KIND
def test_there_are_no_obsolete_golden_files(target: Target) -> None:
    written = {file.stem for file in (WIRE / target.kind.kind).glob("*.json")}
    known = {*CASES, "stream"} - (set() if target.kind.json_object else {"json_object"})
    assert written == known

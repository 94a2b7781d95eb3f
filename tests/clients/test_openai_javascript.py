"""The official JavaScript client of OpenAI against a running bridge."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.bridge import ANSWER, DATA_URI, MODEL, Bridge
from tests.servers import behaviours as b
from tests.tools import need

PROGRAM = Path(__file__).parent / "openai_js"
GUARD = 60
CASES: dict[str, tuple[list[b.Behaviour], int]] = {
    "whole": ([b.Answer(ANSWER)], 1),
    "text": ([b.Answer(ANSWER)], 1),
    "schema": ([b.WrongSchema(), b.Answer({"mood": "calm"})], 2),
    "stream": ([b.WrongSchema({"look": "cold"}), b.Answer(ANSWER)], 2),
    "helper": ([b.Answer(ANSWER)], 1),
    "broken": ([b.Length()], 1),
    "unknown": ([], 0),
    "refused": ([], 0),
    "final": ([b.Length()], 1),
    "models": ([], 0),
}


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (PROGRAM / "package-lock.json").read_text("utf-8")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, with the packages of its lock file installed."""
    need("node")
    folder = tmp_path_factory.mktemp("client") / "openai_js"
    shutil.copytree(PROGRAM, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = [need("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=GUARD * 5, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "check.mjs"


GIVEN = json.dumps({"model": MODEL, "image": DATA_URI, "answer": ANSWER}) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_javascript_client(program: Path, bridge: Bridge, case: str) -> None:
    behaviours, calls = CASES[case]
    bridge.server.reply(*behaviours)
    command = [need("node"), str(program), bridge.url, case]
    done = subprocess.run(command, input=GIVEN, capture_output=True, text=True, timeout=GUARD, check=False)
    assert done.returncode == 0, done.stderr
    assert len(bridge.server.calls) == calls


@pytest.mark.slow
def test_aborting_a_stream_cancels_the_provider_call(program: Path, bridge: Bridge) -> None:
    bridge.server.default = b.Hang()
    command = [need("node"), str(program), bridge.url, "abort"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        node.stdin.write(GIVEN)
        node.stdin.flush()
        bridge.server.wait_for_calls(1, GUARD)
        node.stdin.write("abort\n")
        node.stdin.flush()
        assert node.stdout.readline() == "aborted\n"
        bridge.server.wait_for_hang_ups(1)
        node.stdin.close()
        assert node.wait(GUARD) == 0

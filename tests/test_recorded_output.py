"""The search for keys in the output of the service; conftest.py runs it after all tests."""

from pathlib import Path

from tests import recorded_output

KEY = "sk-a-key-for-the-search-itself"


def test_a_part_of_a_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"harmless\nkey={KEY[7:19]}…\nsk-a-key\n")
    assert recorded_output.leaks(tmp_path, {KEY}) == [f"key={KEY[7:19]}…"]


def test_every_key_of_the_tests_is_searched_for() -> None:
    keys = recorded_output.keys(Path(__file__).parent)
    assert KEY in keys
    assert len(keys) >= 15

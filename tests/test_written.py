"""The search for keys in what the service wrote finds them; it is made when all tests have run (conftest.py)."""

from pathlib import Path

from tests import written

KEY = "sk-a-key-for-the-search-itself"


def test_a_piece_of_a_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"harmless\nkey={KEY[7:19]}…\nsk-a-key\n")
    assert written.leaks(tmp_path, {KEY}) == [f"key={KEY[7:19]}…"]


def test_no_key_of_the_tests_is_forgotten() -> None:
    found = written.keys(Path(__file__).parent)
    assert KEY in found
    assert len(found) >= 15

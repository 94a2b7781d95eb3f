"""The generator of the tables in the documentation."""

from pathlib import Path

import pytest

from docs import generate

TABLES = {"numbers": lambda: generate.table(("n", "name"), lambda: iter([("1", "one | uno")]))}
OLD = "before\n<!-- generated: numbers -->\nold\n<!-- end generated -->\nafter\n"
NEW = OLD.replace("old\n", "| n | name |\n| --- | --- |\n| 1 | one \\| uno |\n")


@pytest.mark.parametrize(
    ("before", "arguments", "after", "problem"),
    [
        (OLD, ["--check"], OLD, "a generated table differs from the code"),
        (OLD, [], NEW, ""),
        (NEW, ["--check"], NEW, ""),
        (OLD.replace("numbers", "letters"), [], None, "unknown table 'letters'; known tables: numbers"),
        (OLD.replace("<!-- end generated -->", ""), [], None, "a marker has no counterpart"),
        (OLD.replace("<!-- generated: numbers -->", ""), [], None, "a marker has no counterpart"),
    ],
)
def test_tables_are_checked_and_written(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: str,
    arguments: list[str],
    after: str | None,
    problem: str,
) -> None:
    page = tmp_path / "README.md"
    page.write_text(before)
    assert generate.main(arguments, tmp_path, TABLES) == (1 if problem else 0)
    assert page.read_text() == (before if after is None else after)
    assert problem in capsys.readouterr().err

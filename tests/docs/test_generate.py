"""The generator of the tables in the documentation."""

from pathlib import Path

import pytest

from docs import generate

TABLES = {"numbers": lambda: generate.table(("n", "name"), lambda: iter([("1", "one | uno")]))}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A README whose one table has drifted."""
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- generated: numbers -->\nold\n<!-- end generated -->\nafter\n")
    return page


def test_a_drifted_table_is_reported_and_left_alone(page, capsys) -> None:
    before = page.read_text()
    assert generate.main(["--check"], page.parent, TABLES) == 1
    assert page.read_text() == before
    assert capsys.readouterr().err.startswith("README.md: a generated table has drifted")


def test_a_table_is_written_once_and_the_rest_stays(page) -> None:
    assert generate.main([], page.parent, TABLES) == 0
    assert page.read_text() == (
        "before\n<!-- generated: numbers -->\n"
        "| n | name |\n| --- | --- |\n| 1 | one \\| uno |\n"
        "<!-- end generated -->\nafter\n"
    )
    assert generate.main(["--check"], page.parent, TABLES) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- generated: letters -->\n<!-- end generated -->\n", "no table is called letters; there are numbers"),
        ("<!-- generated: numbers -->\n", "without its other half"),
        ("<!-- end generated -->\n", "without its other half"),
    ],
)
def test_a_page_that_asks_for_the_impossible_is_named(page, capsys, text, said) -> None:
    page.write_text(text)
    assert generate.main([], page.parent, TABLES) == 1
    assert page.read_text() == text
    assert said in capsys.readouterr().err


def test_the_targets_of_make_are_described() -> None:
    described = dict(generate.make_targets())
    assert described["`make caption`"].startswith("caption a photo")

"""The generator of the tables in the documentation."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docs/generate.py"


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.fixture
def tables(generate: ModuleType) -> dict[str, Callable[[], str]]:
    return {"numbers": lambda: generate.table(("n", "name"), iter([("1", "one | uno")]))}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A README whose one table has drifted."""
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- generated: numbers -->\nold\n<!-- end generated -->\nafter\n")
    return page


def test_a_drifted_table_is_reported_and_left_alone(generate, tables, page, capsys) -> None:
    before = page.read_text()
    assert generate.main(["--check"], page.parent, tables) == 1
    assert page.read_text() == before
    assert capsys.readouterr().err.startswith("README.md: a generated table has drifted")


def test_a_table_is_written_once_and_the_rest_stays(generate, tables, page) -> None:
    assert generate.main([], page.parent, tables) == 0
    assert page.read_text() == (
        "before\n<!-- generated: numbers -->\n"
        "| n | name |\n| --- | --- |\n| 1 | one \\| uno |\n"
        "<!-- end generated -->\nafter\n"
    )
    assert generate.main(["--check"], page.parent, tables) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- generated: letters -->\n<!-- end generated -->\n", "no table is called letters; there are numbers"),
        ("<!-- generated: numbers -->\n", "without its other half"),
        ("<!-- end generated -->\n", "without its other half"),
    ],
)
def test_a_page_that_asks_for_the_impossible_is_named(generate, tables, page, capsys, text, said) -> None:
    page.write_text(text)
    assert generate.main([], page.parent, tables) == 1
    assert page.read_text() == text
    assert said in capsys.readouterr().err


def test_the_targets_of_make_are_described(generate) -> None:
    assert "| `make caption` | caption a photo" in generate.make_targets()

"""Loading, overriding and disabling perspectives in directories, and reports of mistakes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from perspectives import catalog
from perspectives.catalog import LIBRARY, Catalog
from perspectives.errors import UnknownModule, UnknownPerspective
from perspectives.loader import MAX_FILE_BYTES
from tests.perspectives.test_perspective import PLAIN


def put(file: Path, **changes: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    file.write_text(json.dumps(data), encoding="utf-8")
    return file


def reported(loaded: Catalog) -> list[tuple[str, str, str]]:
    return [(problem.file.name, problem.pointer, problem.severity) for problem in loaded.problems]


def test_files_are_loaded_from_any_depth_and_listed_by_priority_then_name(tmp_path: Path) -> None:
    put(tmp_path / "b.json", name="b", priority=20)
    put(tmp_path / "x" / "y" / "a.JSON", name="a", priority=20)
    put(tmp_path / "x" / "z.json", name="z", priority=5)
    put(tmp_path / ".hidden" / "h.json", name="h")
    put(tmp_path / ".h.json", name="h")
    (tmp_path / "README.md").write_text("not a perspective")
    loaded = catalog.load([tmp_path])
    assert [each.name for each in loaded.all()] == ["z", "a", "b"]
    assert loaded.problems == ()


def test_later_directory_overrides(tmp_path: Path) -> None:
    put(tmp_path / "1" / "a.json", module="core")
    put(tmp_path / "2" / "other.json", module="mine", prompt="Mine.")
    loaded = catalog.load([tmp_path / "1", tmp_path / "2"])
    assert loaded.get("mood_notes").prompt == "Mine."
    assert (loaded.files, loaded.replaced) == (2, {"mood_notes"})
    assert [each.name for each in loaded.modules()] == ["mine"]
    assert loaded.problems == ()


BROKEN: dict[str, tuple[bytes, str, str]] = {
    "cut": (b'{"name": "x",\n  "prompt": ', "", "line 2, column 13"),
    "twice": (b'{"schema_fields": [{"name": "a", "name": "b"}]}', "", "'name' is written twice"),
    "deep": (b"[" * 100_000, "", "deeply"),
    "huge": (b" " * (MAX_FILE_BYTES + 1), "", "KiB"),
    "surrogate": (b'{"prompt": "\\ud800"}', "/prompt", "surrogate"),
    "reserved": (json.dumps({**PLAIN, "name": "list"}).encode(), "/name", "path of the API"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_file_is_reported_and_the_rest_loaded(tmp_path: Path, case: str) -> None:
    content, pointer, reason = BROKEN[case]
    put(tmp_path / "good.json")
    (tmp_path / "broken.json").write_bytes(content)
    loaded = catalog.load([tmp_path])
    assert [each.name for each in loaded.all()] == ["mood_notes"]
    problem = loaded.problems[0]
    assert (problem.file.name, problem.pointer, problem.severity) == ("broken.json", pointer, "error")
    assert reason in problem.message
    assert str(tmp_path.parent) not in str(problem)


def test_links_are_followed_once_and_other_files_reported(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "a.json")
    top = tmp_path / "top"
    top.mkdir()
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(top)
    (top / "gone.json").symlink_to(tmp_path / "nowhere.json")
    os.mkfifo(top / "pipe.json")
    loaded = catalog.load([top])
    assert [each.name for each in loaded.all()] == ["mood_notes"]
    assert reported(loaded) == [("gone.json", "", "error"), ("pipe.json", "", "error")]


def test_a_directory_whose_name_is_not_utf8_is_loaded(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    put(folder / "a.json", module=None)
    put(folder / "b.json", name="list")
    loaded = catalog.load([tmp_path])
    perspective, (problem,) = loaded.get("mood_notes"), loaded.problems
    assert json.dumps(perspective.to_wire(), ensure_ascii=False).encode()
    assert (perspective.module, problem.place) == ("caf?", "caf?/b.json")
    assert perspective.source.encode()


def test_module_is_disabled_or_renamed(tmp_path: Path) -> None:
    put(tmp_path / "a.json", name="a", module="core")
    put(tmp_path / "b.json", name="b", module="extra")
    settings = tmp_path / "settings" / "s.json"
    settings.parent.mkdir()
    modules = {"core": {"enabled": True, "display_name": "The Core"}, "extra": {"enabled": False}}
    settings.write_text(json.dumps({"modules": modules, "local_override": True}))
    (tmp_path / "settings").rename(tmp_path / ".settings")
    loaded = catalog.load([tmp_path], tmp_path / ".settings" / "s.json")
    core, extra = loaded.modules()
    assert (core.display_name, core.enabled, core.perspective_count) == ("The Core", True, 1)
    assert (extra.name, extra.enabled, extra.perspective_count) == ("extra", False, 1)
    assert [each.name for each in loaded.all()] == ["a"]
    with pytest.raises(UnknownPerspective, match="its module 'extra' is disabled"):
        loaded.get("b")
    assert loaded.module("extra") == extra
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("content", "pointer", "severity"),
    [
        ("{", "", "error"),
        ('{"modules": {"core": {"enabled": "no"}}}', "/modules/core/enabled", "error"),
        ('{"modules": {"core": {"color": 3}}}', "/modules/core/color", "warning"),
        ('{"modules": {"video": {}}}', "/modules/video", "warning"),
    ],
)
def test_mistakes_in_the_settings_are_reported(tmp_path: Path, content: str, pointer: str, severity: str) -> None:
    put(tmp_path / "p" / "a.json")
    settings = tmp_path / "s.json"
    settings.write_text(content)
    loaded = catalog.load([tmp_path / "p"], settings)
    assert reported(loaded) == [("s.json", pointer, severity)]
    assert loaded.get("mood_notes")


def test_unknown_names_come_with_similar_ones() -> None:
    loaded = catalog.load([LIBRARY], None)
    with pytest.raises(UnknownPerspective) as perspective:
        loaded.get("grph_caption")
    assert "Did you mean 'graph_caption'" in str(perspective.value)
    with pytest.raises(UnknownModule) as module:
        loaded.module("creativ")
    assert str(module.value).endswith(" Did you mean 'creative'?")
    with pytest.raises(UnknownPerspective):
        loaded.get("x" * 100_000)

"""What a run makes of the outputs of earlier runs, and how a preview counts it."""

import json
from pathlib import Path

import pytest

from tests.batch.conftest import Graphcap, at, files, photos, picture
from tests.servers import OpenAIServer
from tests.servers import behaviours as b


def test_each_image_gets_a_sidecar_once(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "2.jpg", "10.jpg", "sub/a.jpg", ".hidden.jpg")
    (tmp_path / "notes.md").write_text("")
    result = batch(tmp_path, *at(vllm_server))
    assert (result.code, files(tmp_path)) == (0, {"2.txt", "10.txt", "sub/a.txt", "notes.md"})
    assert len(vllm_server.calls) == 3
    assert "3 captioned" in result.err
    again = batch(tmp_path, *at(vllm_server))
    assert (again.code, len(vllm_server.calls)) == (0, 3)
    assert "3 skipped" in again.err
    (tmp_path / "2.txt").unlink()
    restored = batch(tmp_path, *at(vllm_server), "--prefix", "ohwx, ")
    assert (restored.code, len(vllm_server.calls)) == (0, 3)
    assert (tmp_path / "2.txt").read_text().startswith("ohwx, ")


@pytest.mark.slow
def test_existing_sidecars(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    sidecar = tmp_path / "a.txt"
    sidecar.write_text("by hand")

    def run(existing: str, *options: str) -> tuple[int, str]:
        """Return the number of calls, and the sidecar."""
        before = len(vllm_server.calls)
        result = batch(tmp_path, *at(vllm_server), "--existing", existing, *options)
        assert result.code == 0, result.err
        return len(vllm_server.calls) - before, sidecar.read_text()

    assert run("stale") == (1, "by hand")
    text = (tmp_path / "b.txt").read_text()
    assert run("append") == (1, f"by hand, {text}")
    assert run("append") == (0, f"by hand, {text}")
    sidecar.write_text("by hand")
    assert run("prepend") == (0, f"{text}, by hand")
    assert run("skip") == (0, f"{text}, by hand")
    assert run("overwrite") == (2, text)
    assert run("stale", "--prefix", "ohwx ") == (0, f"ohwx {text}")
    assert run("stale", "--prefix", "ohwx ", "--temperature", "0.5") == (2, f"ohwx {text}")
    (tmp_path / "a.jpg").write_bytes(picture(9))
    (tmp_path / "b.jpg").touch()
    assert run("stale", "--prefix", "ohwx ", "--temperature", "0.5") == (1, f"ohwx {text}")


def test_words_of_others_survive(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 words")
    (tmp_path / "b.txt").write_bytes(b"old words")
    (tmp_path / "c.txt").write_bytes(b"")
    options = (tmp_path, *at(vllm_server), "--existing")
    assert batch(*options, "append").code == 0
    (tmp_path / "b.txt").write_text("edited")
    result = batch(*options, "stale", "--prefix", "ohwx ")
    assert (result.code, len(vllm_server.calls), "Warning (1 ×)" in result.err) == (0, 3, True), result.err
    assert "2 restored, 1 skipped" in result.err
    assert (tmp_path / "a.txt").read_bytes() == b"caf\xe9 words, ohwx a alt_text"
    assert [(tmp_path / f"{stem}.txt").read_text() for stem in "bc"] == ["edited", "ohwx a alt_text"]
    result = batch(*options, "stale", "--temperature", "0.5")
    assert (len(vllm_server.calls), (tmp_path / "a.txt").read_bytes()) == (5, b"caf\xe9 words, a alt_text")


@pytest.mark.parametrize(
    ("existing", "content", "written"),
    [
        ("append", "a alt_texture", "a alt_texture, a alt_text"),
        ("prepend", "no a alt_text", "a alt_text, no a alt_text"),
        ("append", "by hand, a alt_text, words", "by hand, a alt_text, words"),
        ("append", "a alt_text", "a alt_text"),
    ],
)
def test_a_text_is_added_unless_the_sidecar_has_it(
    batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, existing: str, content: str, written: str
) -> None:
    """A part of other words does not count."""
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server), "--existing", existing)
    assert batch(*options).code == 0
    (tmp_path / "a.txt").write_text(content)
    assert batch(*options).code == 0
    assert (len(vllm_server.calls), (tmp_path / "a.txt").read_text()) == (1, written)


def test_sidecars_of_an_image_agree(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """A missing sidecar is written from the index, also with another request."""
    photos(tmp_path, "a.jpg")
    options = (tmp_path, *at(vllm_server))
    assert batch(*options).code == 0
    result = batch(*options, "--out", "txt", "json", "--temperature", "0.5", "--prefix", "new: ")
    assert (result.code, len(vllm_server.calls), "1 restored" in result.err) == (0, 1, True), result.err
    assert "Warning (1 ×): An image was captioned with other options" in result.err
    caption = json.loads((tmp_path / "a.json").read_text())
    assert (caption["rendered"], (tmp_path / "a.txt").read_text()) == ("a alt_text", "a alt_text")
    assert "Warning (1 ×): An image was captioned" in batch(*options, "--temperature", "0.5").err
    assert "Warning" not in batch(*options).err


def test_another_image_with_the_same_name(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "one/a.jpg", "other/a.jpg")
    options = (*at(vllm_server), "--output-dir", tmp_path / "out")
    assert batch(tmp_path / "one", *options).code == 0
    assert "Warning" not in batch(tmp_path / "one", *options).err
    result = batch(tmp_path / "other", *options)
    assert "Warning (1 ×): The file of an image has changed since its caption" in result.err
    (tmp_path / "out/a.txt").unlink()
    assert "1 captioned" in batch(tmp_path / "other", *options).err
    assert len(vllm_server.calls) == 2


@pytest.mark.slow
@pytest.mark.parametrize("out", ["txt", "json"])
def test_another_perspective_makes_sidecars_stale(
    graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path, out: str
) -> None:
    photos(tmp_path, "a.jpg")
    sidecar = tmp_path / f"a.{out}"

    def run(perspective: str, *options: str) -> tuple[str, bool]:
        """Return the counts of the run, and whether it warns about other options."""
        result = graphcap("batch", tmp_path, *at(vllm_server), "--out", out, "-p", perspective, *options)
        assert (result.code, "differs from what this command wrote" in result.err) == (0, False), result.err
        return result.err.splitlines()[0], "An image was captioned with other options" in result.err

    assert run("alt_text") == ("1 captioned", False)
    assert run("training_caption") == ("0 captioned, 1 skipped", True)
    assert run("training_caption", "--existing", "stale") == ("1 captioned", False)
    assert "a caption" in sidecar.read_text()
    assert run("training_caption", "--existing", "stale") == ("0 captioned, 1 skipped", False)
    assert run("alt_text") == ("0 captioned, 1 skipped", True)
    assert run("alt_text", "--existing", "stale") == ("0 captioned, 1 restored", False)
    assert "a alt_text" in sidecar.read_text()


@pytest.mark.slow
def test_stale_makes_sidecars_agree(graphcap: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """The text is of one perspective and the JSON of another one."""
    photos(tmp_path, "a.jpg")
    options, stale = (tmp_path, *at(vllm_server), "--out", "txt", "json"), ("--existing", "stale")
    for perspective, extra in (("alt_text", ()), ("training_caption", stale), ("alt_text", ()), ("alt_text", stale)):
        assert graphcap("batch", *options, "-p", perspective, *extra).code == 0
        caption = json.loads((tmp_path / "a.json").read_text())
        if perspective == "training_caption":
            (tmp_path / "a.txt").unlink()
    assert (caption["perspective"], (tmp_path / "a.txt").read_text()) == ("alt_text", "a alt_text")


@pytest.mark.slow
def test_a_crash_before_the_sidecar_was_written(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, "a.jpg", "b.jpg")
    sidecar, index = tmp_path / "a.txt", tmp_path / ".graphcap.jsonl"
    assert batch(tmp_path, *at(vllm_server)).code == 0
    old = f"by hand, {sidecar.read_text()}", index.read_bytes()
    sidecar.write_text(old[0])
    options = (tmp_path, *at(vllm_server), "--existing", "stale", "--prefix", "new: ")
    assert batch(*options).code == 0
    new = sidecar.read_text()
    sidecar.write_text(old[0])
    index.write_bytes(old[1] + index.read_bytes())
    assert batch(*options).code == 0
    assert (sidecar.read_text(), len(vllm_server.calls)) == (new, 2)
    skipped = batch(tmp_path, *at(vllm_server), "--trigger", "ohwx")
    assert "Warning (2 ×): An image was captioned with other options" in skipped.err
    trigger = (tmp_path, *at(vllm_server), "--out", "txt", "json", "--trigger", "ohwx")
    for existing, text in (("skip", "new: a alt_text"), ("stale", "ohwx, a alt_text")):
        assert batch(*trigger, "--existing", existing).code == 0
        assert (len(vllm_server.calls), (tmp_path / "b.txt").read_text()) == (2, text)


@pytest.mark.slow
def test_a_run_between_two_parts_of_an_overwrite(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """The run between ends early, too: its rows do not count as overwritten. Another request overwrites all."""
    photos(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    options = (tmp_path, *at(vllm_server), "--concurrency", "1")
    overwrite = (*options, "--existing", "overwrite", "--prefix", "new: ")
    assert batch(*options).code == 0
    vllm_server.reply(b.Answer(), b.Answer())
    vllm_server.default = b.Status(401)
    assert batch(*overwrite).code == 4
    old = [path for path in tmp_path.glob("*.txt") if path.read_text() == "a alt_text"]
    assert len(old) == 2
    old[0].unlink()
    photos(tmp_path, "e.jpg")
    assert batch(*options).code == 4  # it may end before the removed sidecar is restored
    vllm_server.default = b.Answer()
    assert "3 captioned, 2 restored" in batch(*overwrite).err
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == {"new: a alt_text"}
    vllm_server.reply(b.Answer(), b.Answer(), b.Status(401))
    assert batch(*overwrite).code == 4
    assert "5 captioned" in batch(*overwrite, "--temperature", "0.5").err
    assert "5 captioned" in batch(*overwrite, "--temperature", "0.5").err


def test_what_would_be_done(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path, *(f"{number}.jpg" for number in range(5)))
    (tmp_path / "0.txt").write_text("by hand")
    (tmp_path / "1.txt").touch()
    result = batch(tmp_path, *at(vllm_server), "--set", "language=Dutch", "--dry-run")
    assert (result.code, vllm_server.requests, files(tmp_path)) == (0, [], {"0.txt", "1.txt"})
    assert result.out.count("Dutch") == 3
    assert "5 images, 4 captions to make with vllm/tiny-vision" in result.out
    assert "price not known" in result.out
    again = batch(tmp_path, *at(vllm_server), "--existing", "overwrite", "--dry-run")
    assert "5 images, 5 captions to make" in again.out
    costly = batch(tmp_path, *at(vllm_server), "--max-cost", "1")
    assert (costly.code, "not known" in costly.err) == (2, True)


@pytest.mark.slow
def test_a_preview_counts_what_a_run_would_do(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    """It changes no file."""
    photos(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg")
    options = (tmp_path / "in", *at(vllm_server), "--output-dir", tmp_path / "out")
    assert "3 captions to make" in batch(*options, "--dry-run").out
    assert not (tmp_path / "out").exists()
    assert batch(*options).code == 0
    (tmp_path / "out/a.txt").unlink()
    (tmp_path / "out/b.txt").write_text("by hand")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    for extra, number in (
        ((), 0),
        (("--out", "csv"), 0),
        (("--existing", "stale"), 0),
        (("--existing", "stale", "--prefix", "x"), 0),
        (("--existing", "stale", "--temperature", "0.5"), 2),
        (("--existing", "overwrite"), 3),
    ):
        preview = batch(*options, *extra, "--dry-run")
        assert (preview.code, f"3 images, {number} captions to make" in preview.out) == (0, True), preview.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    absent = batch(tmp_path / "in", "--output-dir", tmp_path / "in/a.jpg/out", "--dry-run")
    assert (absent.code, "cannot be written" in absent.err) == (2, True)

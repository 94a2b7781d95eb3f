"""The report of a run: complete, harmless whatever names and captions contain, and the same in a browser."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bridge.batch.folder import BatchError
from bridge.batch.models import Captioned, Event, Failed, Failure, Finished, Row, Started, Totals
from bridge.batch.options import Options
from bridge.batch.progress import follow
from bridge.batch.report import Report
from bridge.batch.summary import Summary
from bridge.captioning.services import open_services
from bridge.settings import Settings
from tests.e2e.test_browser import FLAGS, SECONDS
from tests.tools import need

ATTACK = """</p><script>document.title = "hacked"</script><img src=x onerror='document.title="hacked"'>"""
NAMES = (f"{ATTACK}.jpg", "a\nb & 'c'.jpg", "日本 \u202egpj.jpg", "\udcff.jpg", "folder/" + "x" * 200 + ".jpg")


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


async def events(images: int, photo: Path) -> AsyncIterator[Event]:
    """A run with an attack in every place that others fill."""
    yield Started(images, images, (ATTACK,), ATTACK, 1, {ATTACK: 1})
    for number in range(images):
        key = NAMES[number % len(NAMES)]
        failure = Failure(key, ATTACK, ATTACK, 1)
        if number % 10 == 9:
            yield Failed(Row(key, ATTACK, failure=failure), str(photo.with_name("missing.jpg")))
            continue
        caption = {"result": {"tags": [ATTACK, f"tag {number % 3}"]}, "warnings": [ATTACK], "attempts": []}
        yield Captioned(Row(key, "tags", text=f"number {number} {ATTACK}", caption=caption), str(photo))
    yield Finished(Totals(images), reason=ATTACK)


def run(folder: Path, images: int, photo: bytes) -> Summary:
    """Write `report.html` in the folder."""
    image = folder.parent / "photo.jpg"
    image.write_bytes(photo)
    summary = Summary(Options((), (), report=str(folder / "report.html")))

    async def watch() -> None:
        async with open_services(Settings(provider="builtin")) as services:
            await follow(events(images, image), summary, Report(summary, services), stop=sys.exit)

    asyncio.run(watch())
    return summary


@pytest.mark.slow
def test_every_row_is_an_entry_and_no_text_is_markup(tmp_path: Path, photo: bytes) -> None:
    run(tmp_path, 20, photo)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert (page.tags.count("article"), page.tags.count("script")) == (20, 1)
    assert text.count('<article class="failed">') == 2
    thumbnails = [value for name, value in page.attributes if name == "src"]
    assert len(thumbnails) == page.tags.count("img") == 18
    assert all(value.startswith("data:image/jpeg;base64,") for value in thumbnails)
    assert {name for name, _ in page.attributes}.isdisjoint({"href", "style", "onerror", "srcset"})
    assert all(page.text.count(f"number {number} ") == 1 for number in range(20) if number % 10 != 9)
    assert "tag 1" in page.text
    assert not re.search(r"(https?:)?//[\w.]", re.sub(r"data:[^\"]*", "", text))


@pytest.mark.slow
@pytest.mark.parametrize("images", [3, 200])
def test_the_page_in_a_browser(images: int, tmp_path: Path, photo: bytes) -> None:
    """Its script runs, which the policy allows by its hash; the ones in names and captions do not."""
    run(tmp_path, images, photo)
    command = [need("chromium"), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=10000", "--dump-dom", (tmp_path / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert f"<output>{images} of {images}</output>" in done.stdout
    assert "<title>Captions</title>" in done.stdout
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr


@pytest.mark.slow
def test_a_report_that_cannot_be_written(tmp_path: Path, photo: bytes) -> None:
    """A missing folder is a mistake before the run; a failure at the end leaves the run and its summary."""
    with pytest.raises(BatchError, match=r"report.html' cannot be written: No such file or directory \(--report\)"):
        run(tmp_path / "missing", 0, photo)
    (tmp_path / "folder/report.html").mkdir(parents=True)
    with pytest.raises(BatchError, match="is not a report, and is not replaced"):
        run(tmp_path / "folder", 0, photo)
    (tmp_path / ".report.html.tmp").mkdir()
    summary = run(tmp_path, 2, photo)
    assert summary.finished is not None
    assert any("The report is not complete: Is a directory" in line for line in summary.lines())

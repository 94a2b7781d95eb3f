"""The page at `/` in Chromium, and the files that it exports."""

import csv
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.clients.javascript.conftest import run_tests
from tests.deploy.fleet import Nginx
from tests.service import ROOT, Service
from tests.tools import need

pytestmark = pytest.mark.slow
KEY = "our-key-of-the-page"
CAPTION = '=a cup, "red"\nand a spoon'
SCREENSHOTS = {"caption-light": "page.webp", "gallery-dark": "page-gallery.webp", "gallery-phone": "page-phone.webp"}
MAX_SCREENSHOT_BYTES = 80_000


def test_the_page(package: Path, bridge: dict[str, str], tmp_path: Path) -> None:
    """Run the tests of the page, then check the exported files. `UPDATE_SCREENSHOTS=1` updates those of the README."""
    files = package / "page-files"
    files.mkdir()
    with Service(GRAPHCAP_ROOT_PATH="/captions", GRAPHCAP_API_KEYS=KEY) as keyed:
        port = urlsplit(keyed.url).port
        assert port
        with Nginx(tmp_path, [port]) as nginx:
            environment = {
                "CHROMIUM": need("chromium"),
                "NGINX_URL": f"{nginx.url}/captions/",
                "PAGE_FILES": str(files),
                "PAGE_KEY": KEY,
                "PYTHON": sys.executable,
                "ROOTED_URL": f"{keyed.url}/captions/",
            }
            run_tests(package, "page.test.js", **bridge, **environment)
    assert KEY not in keyed.log
    check_exports(files)
    check_screenshots(files)


def check_exports(files: Path) -> None:
    """Check that every export contains the three captions."""
    photos = ["a.jpg", "a.jpg", "b.jpg"]
    for rows in (
        json.loads((files / "captions.json").read_text("utf-8")),
        [json.loads(line) for line in (files / "captions.jsonl").read_text("utf-8").splitlines()],
    ):
        assert sorted(row["photo"] for row in rows) == photos
        assert {row["rendered"] for row in rows} == {CAPTION}
    table = list(csv.DictReader(io.StringIO((files / "captions.csv").read_text("utf-8"), newline="")))
    assert sorted(row["photo"] for row in table) == photos
    assert {row["rendered"] for row in table} == {f"'{CAPTION}"}, "an apostrophe keeps it from being a formula"
    assert {json.loads(row["result"])["caption"] for row in table} == {CAPTION}
    with zipfile.ZipFile(files / "captions.zip") as archive:
        assert archive.testzip() is None
        names = {f"{stem}.custom_caption{number}" for stem, number in (("a", ""), ("a", "-2"), ("b", ""))}
        assert set(archive.namelist()) == {f"{name}{kind}" for name in names for kind in (".txt", ".json")}
        assert archive.read("b.custom_caption.txt").decode() == f"{CAPTION}\n"


def check_screenshots(files: Path) -> None:
    """Check that the screenshots are small once optimised."""
    for name, target in SCREENSHOTS.items():
        screenshot = Image.open(files / f"{name}.png").convert("RGB")
        screenshot.save(files / target, quality=72, method=6)
        assert (files / target).stat().st_size <= MAX_SCREENSHOT_BYTES
        if "UPDATE_SCREENSHOTS" in os.environ:
            (ROOT / "docs/images" / target).write_bytes((files / target).read_bytes())

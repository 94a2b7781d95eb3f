"""`graphcap batch` as its users see it: files, exit codes, calls."""

import json
from pathlib import Path

import pytest

from tests.batch.conftest import Graphcap, at, files, lines, photos, picture
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE


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


def test_every_output(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    photos(tmp_path / "in", "2.jpg", "10.jpg", "sub/a.jpg")
    out = tmp_path / "out"
    formats = ("txt", "json", "jsonl", "csv", "parquet", "hf-metadata")
    result = batch(tmp_path / "in", *at(vllm_server), "--ext", "caption", "--output-dir", out, "--out", *formats)
    assert result.code == 0
    tables = {"captions.jsonl", "captions.csv", "captions.parquet", "metadata.jsonl"}
    stems = ("2", "10", "sub/a")
    assert files(out) == tables | {f"{stem}{ext}" for stem in stems for ext in (".caption", ".json")}
    assert files(tmp_path / "in") == set()
    caption = json.loads((out / "2.json").read_text())
    assert caption["provenance"].keys() == {"perspective_digest", "sha256", "bridge_version", "time"}
    rows = lines(out / "captions.jsonl")
    assert [row["file_name"] for row in rows] == ["2.jpg", "10.jpg", "sub/a.jpg"]
    assert rows[0]["caption"] == caption
    assert lines(out / "metadata.jsonl")[2] == {"file_name": "sub/a.jpg", "text": rows[2]["text"]}
    import pyarrow.parquet as pq

    assert pq.read_table(out / "captions.parquet").column("text").to_pylist() == [row["text"] for row in rows]

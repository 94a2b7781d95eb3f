"""Images and outputs in object stores."""

import json
from pathlib import Path

import fsspec
import pytest

from tests.batch.conftest import Graphcap, at, files, kill_after, picture, started
from tests.local.hub import Hub
from tests.servers import OpenAIServer


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["s3", "gs"])
def test_a_bucket(
    batch: Graphcap,
    vllm_server: OpenAIServer,
    protocol: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in request.getfixturevalue(protocol).items():
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)
    fs.mkdir("photos")
    root = "photos/s[e]t*"  # not a pattern
    for number in range(12):
        fs.pipe_file(f"{root}/{number % 3}/{number}.jpg", picture(number))
    options = (f"{protocol}://{root}", *at(vllm_server), "--out", "txt", "hf-metadata", "--concurrency", "1")
    for extra, calls in ((("--limit", "5"), 5), ((), 12), ((), 12), (("--existing", "stale"), 12)):
        result = batch(*options, *extra)
        assert (result.code, len(vllm_server.calls)) == (0, calls), result.err
    names = {name.removeprefix(f"{root}/") for name in fs.find(root)}
    assert {name for name in names if name.endswith(".txt")} == {f"{n % 3}/{n}.txt" for n in range(12)}
    assert {name for name in names if "/" not in name} == {".graphcap.jsonl", ".graphcap.tables", "metadata.jsonl"}
    assert len(fs.cat_file(f"{root}/metadata.jsonl").splitlines()) == 12
    fs.pipe_file(f"{root}/empty.jpg", b"")
    fs.pipe_file(f"{root}/large.jpg", bytes(20_000))
    monkeypatch.setenv("GRAPHCAP_MAX_IMAGE_BYTES", "19999")
    result = batch(*options)
    assert result.code == 3, result.err
    failures = [json.loads(line) for line in fs.cat_file(f"{root}/failures.jsonl").splitlines()]
    codes = {line["path"]: line["code"] for line in failures}
    assert codes == {"empty.jpg": "invalid_image", "large.jpg": "image_too_large"}
    fs.rm_file(f"{root}/empty.jpg")
    fs.rm_file(f"{root}/large.jpg")
    overwrite = (*options, "--existing", "overwrite", "--prefix", "new: ")
    kill_after(vllm_server, 6, *overwrite)
    assert batch(*overwrite).code == 0
    assert 24 <= len(vllm_server.calls) <= 24 + 3
    assert all(fs.cat_file(f"{root}/{n % 3}/{n}.txt").startswith(b"new: ") for n in range(12))
    for place in ("absent/x", "photos/absent"):
        absent = batch(f"{protocol}://{place}", *at(vllm_server))
        assert (absent.code, f"{protocol}://{place}" in absent.err) == (2, True)


@pytest.mark.slow
def test_a_repository_of_hugging_face(batch: Graphcap, vllm_server: OpenAIServer, tmp_path: Path) -> None:
    with Hub({"acme/photos/set/1.jpg": picture(1), "acme/photos/README.md": b"words"}) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        for code, output in ((0, ("--output-dir", tmp_path / "out")), (2, ())):
            with started("hf://acme/photos", *at(vllm_server), *output, **environment) as process:
                _, err = process.communicate(timeout=60)
            assert (process.returncode, "stores each file as a commit" in err) == (code, code == 2), err
    assert files(tmp_path / "out") == {"set/1.txt"}
    with started("hf://acme/photos", HF_ENDPOINT=hub.url) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "'hf://acme/photos' cannot be read" in err, "Traceback" in err) == (2, True, False), err

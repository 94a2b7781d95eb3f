"""`graphcap serve` with the embedded engine: one child for all workers, /health, /info, and no child left behind."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest

from tests.local.processes import engines_of, wait_for_end
from tests.service import Service, until
from tests.tools import children_of

pytestmark = pytest.mark.slow
GUARD = 120.0
ATTEMPTS = 50
BODY = {"perspective": "custom_caption", "provider": "local", "image": {"path": "datasets/samples/cat.jpg"}}


def ask(service: Service, **fields: object) -> httpx2.Response:
    return httpx2.post(f"{service.url}/api/v1/perspectives/caption", json={**BODY, **fields}, timeout=GUARD)


def health(service: Service) -> list[dict[str, object]]:
    return httpx2.get(f"{service.url}/health", timeout=GUARD).json()["engines"]


@pytest.fixture(scope="module", params=["1", "2"], ids=["one worker", "two workers"])
def service(
    request: pytest.FixtureRequest, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    cache = str(tmp_path_factory.mktemp("hf"))
    with Service("--workers", request.param, workspace=workspace, HF_HOME=cache, HF_HUB_OFFLINE="1") as running:
        yield running
        children = engines_of(running.process.pid)
    assert running.code == 0
    assert "Traceback" not in running.log
    for pid in children:
        wait_for_end(pid)


def test_all_workers_share_one_engine(service: Service, model: Path) -> None:
    assert health(service) == []
    with ThreadPoolExecutor(8) as threads:
        responses = list(threads.map(lambda _: ask(service), range(8)))
    assert [response.status_code for response in responses] == [200] * 8, responses[0].text
    assert len(engines_of(service.process.pid)) == 1
    (engine,) = health(service)
    assert (engine["model"], engine["state"], engine["last_exit"]) == ("tiny", "ready", None)
    info = httpx2.get(f"{service.url}/info", timeout=GUARD).json()
    assert info["engines"] == [{"model": "tiny", "sha256": sha256(model.read_bytes()).hexdigest()}]


def test_the_service_does_not_download_or_open_files_named_by_callers(service: Service, tmp_path: Path) -> None:
    absent = ask(service, model="smolvlm-500m")
    assert (absent.status_code, absent.json()["code"]) == (503, "provider_unavailable")
    assert "Run `graphcap models pull smolvlm-500m`." in absent.json()["detail"]
    for name in (str(tmp_path / "any.gguf"), "/etc/passwd", "acme/tiny:tiny.gguf"):
        refused = ask(service, model=name)
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_model")
    listed = httpx2.get(f"{service.url}/api/v1/providers/local/models", timeout=GUARD)
    assert (listed.status_code, "smolvlm" in listed.text) == (200, False)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_engines_end_with_a_killed_bridge(workspace: Path, workers: str) -> None:
    with Service("--workers", workers, workspace=workspace) as service:
        assert ask(service).status_code == 200
        (pid,) = engines_of(service.process.pid)
        children = children_of(service.process.pid)
        service.process.kill()
        for child in children - {pid}:  # uvicorn's workers outlive their supervisor
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        assert service.process.wait(GUARD) == -signal.SIGKILL
        wait_for_end(pid)


def test_an_idle_engine_ends_and_starts_again(workspace: Path) -> None:
    """Without calls, the engine ends. /health reports loading; a stopped process cannot finish it."""
    with Service("--local-idle", "0", workspace=workspace) as service, ThreadPoolExecutor(1) as thread:
        for _ in range(ATTEMPTS):
            response = thread.submit(ask, service)
            (pid,) = until(lambda: engines_of(service.process.pid))
            os.kill(pid, signal.SIGSTOP)
            loading = health(service)[0]["state"] == "loading"
            os.kill(pid, signal.SIGCONT)
            assert response.result().status_code == 200
            wait_for_end(pid)
            if loading:
                break
        else:
            pytest.fail("every signal arrived after loading had ended")
        assert ask(service).status_code == 200
        (engine,) = health(service)
        assert engine["last_exit"] == 0

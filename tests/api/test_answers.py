"""How an answer leaves: as `Accept` likes it best, and as the OpenAPI document says it may."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request

from bridge.api import answers, document
from bridge.api.answers import EVENTS, JSON, LINE, PROBLEM_JSON
from bridge.app import build
from bridge.settings import Settings
from tests.api.streams import HANG_GUARD, SAMPLE
from tests.service import Service

AXIOS = "application/json, text/plain, */*"

PREFERRED: list[tuple[tuple[str, ...], str]] = [
    ((), JSON),
    (("",), JSON),
    (("*/*",), JSON),
    ((AXIOS,), JSON),
    (("text/plain",), LINE),
    (("Text/Plain; charset=utf-8",), LINE),
    (("text/plain, */*",), LINE),
    (("*/*, text/plain",), JSON),
    (("application/*, text/plain",), JSON),
    (("application/json, text/event-stream",), JSON),
    (("text/event-stream, application/json",), EVENTS),
    (("application/json;q=0.5, text/plain",), LINE),
    (("text/plain; q=0.5, application/json; q=0.9",), JSON),
    (("text/plain;q=0.9, text/event-stream;q=1.0",), EVENTS),
    (("text/plain;Q=0.1, */*;q=0.01",), LINE),
    (("text/plain;q=0",), JSON),
    (("text/html, image/webp",), JSON),
    (("text/html, text/plain",), LINE),
    (("text/*",), JSON),
    (("text/html", "text/plain"), LINE),
    (("text/plain;q=high",), LINE),
]


def asking(*accept: str) -> Request:
    return Request({"type": "http", "headers": [(b"accept", one.encode()) for one in accept]})


@pytest.mark.parametrize(("accept", "media_type"), PREFERRED)
def test_what_is_liked_best(accept: tuple[str, ...], media_type: str) -> None:
    assert answers.preferred(asking(*accept), answers.CAPTION) == media_type


def test_what_is_not_offered_is_not_preferred() -> None:
    assert answers.preferred(asking("text/plain, text/event-stream;q=0.1"), answers.ANALYSIS) == EVENTS


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


BODIES = {
    "/perspectives/caption": {"perspective": "alt_text", "image": {"path": SAMPLE}},
    "/perspectives/{name}/caption": {"image": {"path": SAMPLE}},
    "/perspectives/caption-from-path": {"perspective": "alt_text", "image_path": f"/workspace/{SAMPLE}"},
    "/perspectives/analyze": {"perspectives": ["alt_text"], "image": {"path": SAMPLE}},
}


def ask(service: Service, path: str, accept: str) -> httpx.Response:
    return httpx.post(
        service.url + path.format(name="alt_text"),
        json=BODIES[path],
        headers={"Accept": accept},
        timeout=HANG_GUARD,
        trust_env=False,
    )


@pytest.mark.parametrize("path", BODIES)
def test_the_document_tells_what_each_route_answers(service: Service, path: str) -> None:
    documented = document.build(build(Settings(_env_file=None)))  # type: ignore[call-arg]
    content = documented["paths"][f"/api/v1{path}"]["post"]["responses"]["200"]["content"]
    for media_type in (JSON, LINE, EVENTS):
        answer = ask(service, path, media_type)
        given = answer.headers["content-type"].partition(";")[0]
        assert (answer.status_code, given) == (200, media_type if media_type in content else JSON)
    assert ask(service, path, AXIOS).headers["content-type"] == JSON


def test_a_caption_from_a_path_is_streamed_too(service: Service) -> None:
    told = ask(service, "/perspectives/caption-from-path", EVENTS).text
    assert [line for line in told.splitlines() if line.startswith("event: ")][-2:] == ["event: result", "event: done"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [(AXIOS, JSON), (f"{PROBLEM_JSON}, {JSON}", PROBLEM_JSON), (f"{JSON}, {PROBLEM_JSON}", JSON), (LINE, JSON)],
)
def test_how_a_problem_is_told(service: Service, accept: str, media_type: str) -> None:
    answer = httpx.get(service.url + "/perspectives/none", headers={"Accept": accept}, trust_env=False)
    assert (answer.status_code, answer.headers["content-type"]) == (404, media_type)

"""The page of the API: complete without any other host, and closed to whoever would frame or script it."""

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.service import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--root-path", "/bridge") as running:
        yield running


def get(service: Service, path: str) -> httpx.Response:
    return httpx.get(service.url + path, trust_env=False)


@pytest.mark.parametrize("prefix", ["", "/bridge"])
def test_all_that_the_page_loads_is_ours(service: Service, prefix: str) -> None:
    page = get(service, f"{prefix}/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 4
    for one in loaded:
        assert not one.startswith(("http", "/")), one
        if not one.startswith("data:"):
            assert get(service, f"{prefix}/{one}").status_code == 200, one


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"])
def test_a_page_runs_nothing_of_others_and_is_framed_nowhere(service: Service, path: str) -> None:
    headers = get(service, path).headers
    policy = dict(one.strip().split(" ", 1) for one in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert (headers["referrer-policy"], headers["cross-origin-opener-policy"]) == ("no-referrer", "same-origin")


@pytest.mark.parametrize("path", ["/info", "/openapi.json", "/nothing", "/docs/redoc.standalone.js", "/docs/..%2fx"])
def test_what_is_no_page_is_not_run_as_one(service: Service, path: str) -> None:
    answer = get(service, path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_address_alone_leads_to_the_page(service: Service) -> None:
    answer = get(service, "/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/bridge/docs")

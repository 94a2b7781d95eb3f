"""The documentation page: complete without another host, safe from foreign scripts and frames."""

import re

import httpx
import pytest

from tests.service import Service


def get(service: Service, path: str) -> httpx.Response:
    return httpx.get(service.url + path, trust_env=False)


@pytest.mark.parametrize("prefix", ["", "/bridge"])
def test_the_page_loads_only_local_files(keyed: Service, prefix: str) -> None:
    page = get(keyed, f"{prefix}/docs")
    assert page.headers["content-type"].startswith("text/html")
    files = [file for file in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not file.startswith("data:")]
    assert len(files) >= 3
    assert not [file for file in files if file.startswith(("http", "/"))]
    assert [get(keyed, f"{prefix}/{file}").status_code for file in files] == [200] * len(files)


def test_pages_have_a_strict_content_policy(keyed: Service) -> None:
    for path in ("/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"):
        headers = get(keyed, path).headers
        policy = dict(item.strip().split(" ", 1) for item in headers["content-security-policy"].split(";"))
        assert {policy[name] for name in ("default-src", "frame-ancestors", "base-uri", "form-action")} == {"'none'"}
        assert {policy[name] for name in ("script-src", "connect-src")} == {"'self'"}
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
        assert (headers["referrer-policy"], headers["cross-origin-opener-policy"]) == ("no-referrer", "same-origin")


@pytest.mark.slow
def test_the_pages_can_be_turned_off() -> None:
    with Service(GRAPHCAP_DOCS="off", GRAPHCAP_API_KEYS="our-key-1234567") as off:
        absent = [get(off, path) for path in ("/", "/docs", "/docs/docs.js", "/openapi.json")]
        assert {response.status_code for response in absent} == {404}
        assert "/docs" not in absent[0].text


def test_the_document_tells_the_page_where_a_proxy_publishes_the_api(keyed: Service) -> None:
    assert get(keyed, "/bridge/openapi.json").json()["servers"] == [{"url": "/bridge"}]


def test_other_responses_are_no_pages(keyed: Service) -> None:
    for path in ("/info", "/openapi.json", "/nothing", "/docs/redoc.standalone.js", "/docs/..%2fx"):
        headers = get(keyed, path).headers
        assert headers["content-type"] == "application/json"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
    root = get(keyed, "/")
    assert (root.status_code, root.headers["location"]) == (307, "/bridge/docs")

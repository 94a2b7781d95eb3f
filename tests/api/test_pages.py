"""The pages: without files from other hosts, and protected from scripts and frames."""

import re

import pytest

from tests.service import ROOT, Service


@pytest.mark.parametrize("prefix", ["", "/bridge"])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_only_local_files(keyed: Service, prefix: str, path: str) -> None:
    page = keyed.get(prefix + path)
    assert page.headers["content-type"].startswith("text/html")
    files = [file for file in re.findall(r'(?:src|href)="([^"]+)"', page.text) if not file.startswith(("data:", "#"))]
    assert len(files) >= 3
    assert not [file for file in files if file.startswith(("http", "/"))]
    assert [keyed.get(f"{prefix}/{file}").status_code for file in files] == [200] * len(files)


@pytest.mark.parametrize(
    ("path", "camera"),
    [
        ("/", "(self)"),
        *((f"/page/{name}", "(self)") for name in ("app.js", "bridge.js", "page.css", "icon.svg", "sample.jpg")),
        *((path, "()") for path in ("/docs", "/docs/docs.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js")),
    ],
)
def test_pages_have_a_strict_content_policy(keyed: Service, path: str, camera: str) -> None:
    headers = keyed.get(path).headers
    policy = dict(item.strip().split(" ", 1) for item in headers["content-security-policy"].split(";"))
    assert {policy[name] for name in ("default-src", "frame-ancestors", "base-uri", "form-action")} == {"'none'"}
    assert {policy[name] for name in ("script-src", "connect-src")} == {"'self'"}
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    assert (headers["referrer-policy"], headers["cross-origin-opener-policy"]) == ("no-referrer", "same-origin")
    assert f"camera={camera}," in headers["permissions-policy"]
    if camera == "(self)":
        assert (policy["style-src"], policy["trusted-types"]) == ("'self'", "'none'")


def test_the_page_contains_the_javascript_client(keyed: Service) -> None:
    assert keyed.get("/page/bridge.js").content == (ROOT / "clients/javascript/bridge.js").read_bytes()


@pytest.mark.slow
def test_the_pages_can_be_turned_off() -> None:
    with Service(GRAPHCAP_PAGE="off", GRAPHCAP_API_KEYS="our-key-1234567") as off:
        assert (off.get("/").status_code, off.get("/").headers["location"]) == (307, "/docs")
        assert (off.get("/page/app.js").status_code, off.get("/docs").status_code) == (404, 200)
    with Service(GRAPHCAP_DOCS="off", GRAPHCAP_API_KEYS="our-key-1234567") as off:
        absent = [off.get(path) for path in ("/docs", "/docs/docs.js", "/openapi.json")]
        assert {response.status_code for response in absent} == {404}
        assert "/docs" not in absent[0].text
        assert off.get("/").status_code == 200


def test_the_root_path_redirects_to_the_page(keyed: Service) -> None:
    response = keyed.get("/bridge")
    assert (response.status_code, response.headers["location"]) == (307, "/bridge/")


def test_the_document_contains_the_root_path(keyed: Service) -> None:
    assert keyed.get("/bridge/openapi.json").json()["servers"] == [{"url": "/bridge"}]


def test_other_responses_have_a_strict_policy(keyed: Service) -> None:
    files = ("docs/redoc.standalone.js", "docs/..%2fx", "page/index.html", "page/..%2fx")
    for path in ("info", "openapi.json", "nothing", *files):
        headers = keyed.get(f"/{path}").headers
        assert headers["content-type"] == "application/json"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"

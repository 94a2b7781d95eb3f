"""GRAPHCAP_ALLOWED_HOSTS and the default protection against DNS rebinding."""

from collections.abc import Iterator

import httpx
import pytest

from bridge.api.middleware.auth import AccessControl
from bridge.api.middleware.rate_limit import RateLimiter
from bridge.settings import Settings
from tests.api.sockets import rejection
from tests.service import Service

KEY = "our-first-key-12345"
LOOPBACK = ("localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:99", "[::1]:5", "app.localhost", "")
FOREIGN = ("evil.test", "evil.test:80", "169.254.169.254", "localhost.evil.test", "[", "[::2]", "a:b:c")
ALLOWED = ("bridge", "BRIDGE:8080", "a.example.org", "a.b.example.org:443", "bridge.", "[::1]:32100", "10.0.0.7:1")
OTHERS = ("example.org", "badexample.org", "bridge.evil.test", "localhost", "127.0.0.1", "", "[", "xbridge")
LISTED = ("bridge:1", "*.Example.org", "[::1]", "10.0.0.7")

CASES = [
    ({}, LOOPBACK, True),
    ({}, FOREIGN, False),
    ({"cors_origins": ("https://page.example",)}, ("page.example", "page.example:443"), True),
    ({"api_keys": (KEY,)}, FOREIGN, True),
    ({"host": "0.0.0.0"}, FOREIGN, True),
    ({"allowed_hosts": LISTED}, ALLOWED, True),
    ({"allowed_hosts": LISTED}, OTHERS, False),
    ({"allowed_hosts": LISTED, "api_keys": (KEY,), "host": "0.0.0.0"}, ALLOWED, True),
    ({"allowed_hosts": LISTED, "api_keys": (KEY,), "host": "0.0.0.0"}, OTHERS, False),
    ({"allowed_hosts": ("*",)}, (*ALLOWED, *OTHERS, *FOREIGN), True),
]


@pytest.mark.parametrize(("settings", "hosts", "allowed"), CASES)
def test_allowed_hosts(settings: dict[str, object], hosts: tuple[str, ...], allowed: bool) -> None:
    loaded = Settings(_env_file=None, **settings)  # type: ignore[arg-type]
    access = AccessControl(loaded, RateLimiter(loaded))
    assert [host for host in hosts if access.allow_host(host) != allowed] == []


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_ALLOWED_HOSTS="bridge,*.example.org", GRAPHCAP_API_KEYS=KEY) as running:
        yield running


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return service.get(path, **{"X-API-Key": KEY, **headers})


@pytest.mark.slow
def test_other_hosts_are_rejected_with_name_and_setting(service: Service) -> None:
    assert get(service, "/info", Host="a.example.org:8080").status_code == 200
    rejected = get(service, "/info", Host="upstream:8080", **{"X-Forwarded-Host": "bridge"})
    assert (rejected.status_code, rejected.json()["code"]) == (403, "origin_refused")
    assert "'upstream:8080'" in rejected.json()["detail"]
    assert "GRAPHCAP_ALLOWED_HOSTS" in rejected.json()["detail"]
    assert rejection(service).status_code == 403


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/livez", "/readyz"])
def test_probes_are_exempt(service: Service, path: str) -> None:
    assert get(service, path, Host="10.1.2.3:32100").status_code == 200

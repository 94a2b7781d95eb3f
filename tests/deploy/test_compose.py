"""deploy/compose.yaml matches the service, the Dockerfile and deploy/nginx. The tests do not need Docker."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from bridge.server import CLOSE_SECONDS, FIRST_REQUEST_SECONDS
from bridge.settings import SECRETS, Settings
from deploy.nginx.generate import render
from providers import registry
from tests.deploy.fleet import CONFIG
from tests.e2e.image import instructions
from tests.service import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BRIDGES = sorted(name for name in SERVICES if name.startswith("bridge-"))
NGINX = CONFIG.read_text(encoding="utf-8")
ENDING = 5.0 + FIRST_REQUEST_SECONDS + CLOSE_SECONDS
"""Seconds that a bridge may need after its grace period: to report cancelled work, answer connections, and close."""


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def directive(name: str) -> list[str]:
    """Return every value of a directive in balancer.conf."""
    return re.findall(rf"^\s*{name} ([^;]+);", NGINX, re.MULTILINE)


def known_names() -> set[str]:
    """Return the names of all environment variables that are read."""
    of_service = {f"GRAPHCAP_{name.upper()}" for name in Settings.model_fields}
    of_service |= {f"GRAPHCAP_{name.upper()}_FILE" for name in SECRETS}
    of_providers = {name for spec in registry.specs() for name in (*spec.url_env, *spec.key_env)}
    return of_service | of_providers | {f"{name}_FILE" for name in of_providers} | {"FORWARDED_ALLOW_IPS"}


@pytest.mark.parametrize("name", ["nginx", *BRIDGES, "redis"])
def test_containers_are_read_only_and_unprivileged(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(item.endswith(":ro") for item in service.get("volumes", []))
    assert "privileged" not in service
    assert service.get("user", "10001") != "0"


def test_every_setting_exists() -> None:
    for name in BRIDGES:
        assert set(SERVICES[name]["environment"]) <= known_names()
    assert SERVICES["bridge-1"]["environment"]["GRAPHCAP_REQUEST_PROVIDERS"] == "any"


def test_image_port_addresses_and_workspace_match() -> None:
    assert (ROOT / "deploy" / SERVICES["bridge-1"]["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    (port,) = [value for name, value in instructions((ROOT / "Dockerfile").read_text()) if name == "EXPOSE"]
    addresses = [f"{SERVICES[name]['networks']['bridges']['ipv4_address']}:{port}" for name in BRIDGES]
    written = CONFIG.with_name("bridges.conf").read_text(encoding="utf-8")
    assert written == render(addresses), "write it again with the command in its first line"
    source, target, _ = SERVICES["bridge-1"]["volumes"][0].split(":")
    assert (ROOT / "deploy" / source).resolve() == ROOT / "workspace"
    assert target == "/workspace"


def test_addresses_are_in_the_network_and_only_nginx_is_trusted() -> None:
    (config,) = COMPOSE["networks"]["bridges"]["ipam"]["config"]
    fixed = [ip_address(SERVICES[name]["networks"]["bridges"]["ipv4_address"]) for name in ("nginx", *BRIDGES)]
    assert all(item in ip_network(config["subnet"]) for item in fixed)
    assert not any(item in ip_network(config["ip_range"]) for item in fixed)  # the range of automatic addresses
    assert SERVICES["bridge-1"]["environment"]["FORWARDED_ALLOW_IPS"] == str(fixed[0])


def test_nginx_is_published_on_loopback_only() -> None:
    (listens,) = [item for item in directive("listen") if item.isdigit()]
    assert SERVICES["nginx"]["ports"] == [f"127.0.0.1:{Settings().port}:{listens}"]
    assert "./nginx:/etc/nginx/graphcap:ro" in SERVICES["nginx"]["volumes"]
    assert not any("ports" in item for name, item in SERVICES.items() if name != "nginx")
    assert f"http://127.0.0.1:{listens}/health" in SERVICES["nginx"]["healthcheck"]["test"]


def test_timeouts_are_consistent() -> None:
    settings = Settings()
    (_, patience) = map(seconds, directive("proxy_read_timeout"))
    assert patience > settings.timeout + 10
    for name in BRIDGES:
        grace = float(SERVICES[name]["environment"]["GRAPHCAP_GRACE"])
        assert seconds(SERVICES[name]["stop_grace_period"]) > grace + ENDING
    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > patience
    assert SERVICES["nginx"]["stop_signal"] == "SIGQUIT"

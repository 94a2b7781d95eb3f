"""deploy/compose.yaml, which no test can run: what it says fits the service, the Dockerfile and nginx.conf."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from bridge.server import CLOSE_SECONDS, FIRST_REQUEST_SECONDS
from bridge.settings import SECRETS, Settings
from providers import factory
from tests.deploy.fleet import CONFIG
from tests.e2e.dockerfile import instructions
from tests.service import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BRIDGES = sorted(name for name in SERVICES if name.startswith("bridge-"))
NGINX = CONFIG.read_text(encoding="utf-8")
ENDING = 5.0 + FIRST_REQUEST_SECONDS + CLOSE_SECONDS
"""What a bridge may take after its grace: to tell who is cut off, to hear the last, to close."""


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def directive(name: str) -> list[str]:
    """Every value of a directive of nginx.conf."""
    return re.findall(rf"^\s*{name} ([^;]+);", NGINX, re.MULTILINE)


def environment(name: str) -> dict[str, Any]:
    found: dict[str, Any] = SERVICES[name]["environment"]
    return found


def known_names() -> set[str]:
    """Every name that something reads."""
    ours = {f"GRAPHCAP_{name.upper()}" for name in Settings.model_fields}
    ours |= {f"GRAPHCAP_{name.upper()}_FILE" for name in SECRETS}
    theirs = {name for spec in factory.specs() for name in (*spec.url_env, *spec.key_env)}
    return ours | theirs | {f"{name}_FILE" for name in theirs} | {"FORWARDED_ALLOW_IPS"}


def test_three_bridges_that_are_alike() -> None:
    assert BRIDGES == ["bridge-1", "bridge-2", "bridge-3"]
    rest = [{name: value for name, value in SERVICES[one].items() if name != "networks"} for one in BRIDGES]
    assert rest[0] == rest[1] == rest[2]


@pytest.mark.parametrize("name", ["nginx", *BRIDGES, "redis"])
def test_nothing_can_be_written_and_nothing_gained(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(one.endswith(":ro") for one in service.get("volumes", []))
    assert "privileged" not in service
    assert service.get("user", "10001") != "0"


def test_the_start_is_gated_by_health() -> None:
    assert SERVICES["nginx"]["depends_on"] == {name: {"condition": "service_healthy"} for name in BRIDGES}
    for name in BRIDGES:
        assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "graphcap", "healthcheck"]
    assert all("healthcheck" in one for one in SERVICES.values())


def test_profiles_are_what_one_asks_for() -> None:
    asked = {name: one["profiles"] for name, one in SERVICES.items() if "profiles" in one}
    assert asked == {"redis": ["redis"], "ollama": ["ollama"], "vllm": ["vllm"]}


def test_every_setting_exists() -> None:
    for name in BRIDGES:
        assert set(environment(name)) <= known_names()
    assert environment("bridge-1")["GRAPHCAP_REQUEST_PROVIDERS"] == "any"


def test_the_image_is_built_from_the_dockerfile_and_listens_where_nginx_asks() -> None:
    assert (ROOT / "deploy" / SERVICES["bridge-1"]["build"]["context"] / "Dockerfile").resolve() == ROOT / "Dockerfile"
    (port,) = [one.value for one in instructions((ROOT / "Dockerfile").read_text()) if one.name == "EXPOSE"]
    places = [SERVICES[name]["networks"]["bridges"]["ipv4_address"] for name in BRIDGES]
    for place in places:
        assert f"{place}:{port}" in NGINX
    assert {one.split(":")[0] for one in re.findall(r"server (\S+:\d+) ", NGINX)} == set(places)
    source, target, _ = SERVICES["bridge-1"]["volumes"][0].split(":")
    assert (ROOT / "deploy" / source).resolve() == ROOT / "workspace"
    assert target == "/workspace"


def test_addresses_fit_their_network_and_nginx_alone_is_believed() -> None:
    (config,) = COMPOSE["networks"]["bridges"]["ipam"]["config"]
    fixed = [ip_address(SERVICES[name]["networks"]["bridges"]["ipv4_address"]) for name in ("nginx", *BRIDGES)]
    assert all(one in ip_network(config["subnet"]) for one in fixed)
    assert not any(one in ip_network(config["ip_range"]) for one in fixed)  # what others get without asking
    assert environment("bridge-1")["FORWARDED_ALLOW_IPS"] == str(fixed[0])


def test_nginx_is_published_on_this_machine_where_it_listens() -> None:
    (listens,) = [one for one in directive("listen") if one.isdigit()]
    assert SERVICES["nginx"]["ports"] == [f"127.0.0.1:{Settings().port}:{listens}"]
    assert "./nginx.conf:/etc/nginx/nginx.conf:ro" in SERVICES["nginx"]["volumes"]
    assert not any("ports" in one for name, one in SERVICES.items() if name != "nginx")
    assert f"http://127.0.0.1:{listens}/health" in SERVICES["nginx"]["healthcheck"]["test"]


def test_nginx_writes_to_memory_alone() -> None:
    (tmp,) = SERVICES["nginx"]["tmpfs"]
    assert tmp.startswith("/tmp:")
    written = [*directive("pid"), *(value for kind in TEMPORARY for value in directive(f"{kind}_temp_path"))]
    written += [one.removeprefix("unix:") for one in directive("listen") if one.startswith("unix:")]
    assert len(written) == 7
    assert all(one.startswith("/tmp/") for one in written)


TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def test_nginx_takes_bodies_as_large_as_a_bridge() -> None:
    assert directive("client_max_body_size") == [str(Settings().body_limit), "0"]


def test_times_add_up() -> None:
    settings = Settings()
    (_, patience) = map(seconds, directive("proxy_read_timeout"))
    assert patience > settings.timeout + 10
    for name in BRIDGES:
        grace = float(environment(name)["GRAPHCAP_GRACE"])
        assert seconds(SERVICES[name]["stop_grace_period"]) > grace + ENDING
    assert seconds(SERVICES["nginx"]["stop_grace_period"]) > patience
    assert SERVICES["nginx"]["stop_signal"] == "SIGQUIT"


def test_a_post_that_was_written_is_never_sent_again() -> None:
    assert directive("proxy_next_upstream") == ["off", "error timeout"]
    assert "proxy_buffering off;" in NGINX

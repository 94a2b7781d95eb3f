"""A key that the service was configured with never travels to an address that came with a request."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from providers import registry
from tests.contract.kinds import KINDS, Kind
from tests.contract.schemas import PLAIN
from tests.servers import TrapServer
from tests.service import Service

# Beside the variables of our kinds: what the SDKs read on their own.
MORE_NAMES = (
    "ANTHROPIC_AUTH_TOKEN",
    "OPENAI_ADMIN_KEY",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "GOOGLE_API_KEY",
    "OPENAI_WEBHOOK_SECRET",
)
NAMES = sorted({*MORE_NAMES, *(name for spec in registry.specs() for name in spec.key_env)})
SECRETS = {name: f"secret-{number}-of-the-deployment" for number, name in enumerate(NAMES)}
NO_KEY: dict[str, dict[str, Any]] = {"absent": {}, "empty": {"api_key": ""}, "null": {"api_key": None}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG_LEVEL="debug", GRAPHCAP_PROVIDER_KEY="secret-of-the-command-line", **SECRETS) as running:
        yield running


def post(service: Service, path: str, body: dict[str, Any]) -> str:
    answer = httpx.post(f"{service.url}/api/v1/{path}", json=body, timeout=20, trust_env=False)
    return f"{answer.text}{answer.headers}"


def caption(config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    perspective = {"name": "mine", "prompt": "Describe the picture.", "json_schema": PLAIN}
    image = {"path": "datasets/samples/coffee.jpg"}
    return {"perspective": perspective, "image": image, "model": "any", "provider_config": config, **fields}


def told(service: Service, kind: Kind, config: dict[str, Any]) -> str:
    """Everything a caller is told who brings `config` to every door."""
    stand_in = {"model": "any", "provider_config": config}
    nested = {"perspective": "alt_text", "image_path": "/workspace/datasets/samples/coffee.jpg", "model": "any"}
    return "".join(
        (
            post(service, "perspectives/caption", caption(config)),
            post(service, "perspectives/caption", caption(config, provider=kind.kind)),
            post(service, "perspectives/caption", caption(config, fallbacks=[stand_in])),
            post(service, "perspectives/caption-from-path", {**nested, "provider_config": config}),
            post(service, f"providers/{kind.kind}/models", config),
            post(service, f"providers/{kind.kind}/test-connection", {**config, "default_model": "any"}),
        )
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
@pytest.mark.parametrize("key", NO_KEY)
def test_no_configured_key_reaches_a_callers_address(service: Service, trap: TrapServer, kind: Kind, key: str) -> None:
    answers = told(service, kind, {"kind": kind.kind, "base_url": trap.url, **NO_KEY[key]})
    assert len(trap.requests) >= 8
    for secret in [*SECRETS.values(), "secret-of-the-command-line", "-of-the-deployment"]:
        assert not trap.carries(secret)
        assert secret not in answers
        assert secret not in service.log


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_the_callers_own_key_is_the_only_one(service: Service, trap: TrapServer, kind: Kind) -> None:
    answers = told(service, kind, {"kind": kind.kind, "base_url": trap.url, "api_key": "the-callers-own"})
    assert len(trap.requests) >= 8
    for request in trap.requests:
        assert "the-callers-own" in f"{request.headers}"
    assert not trap.carries("-of-the-deployment")
    assert "the-callers-own" not in answers + service.log


def test_a_configured_key_is_used_where_it_belongs() -> None:
    """Otherwise the tests above would also pass on a service that reads no key at all."""
    with TrapServer() as trap, Service(OPENAI_API_KEY="key-of-openai", OPENAI_BASE_URL=trap.url) as service:
        config = {"kind": "openai", "base_url": f"{trap.url}/v1", "api_key": ""}
        for body in (caption(config), {**caption({}), "provider_config": None, "provider": "openai"}):
            post(service, "perspectives/caption", body)
        assert [one.headers["authorization"] for one in trap.requests] == ["Bearer key-of-openai"] * 2
        config["base_url"] = trap.url.replace("127.0.0.1", "localhost")
        post(service, "perspectives/caption", caption(config))
        assert "authorization" not in trap.requests[2].headers


def test_what_is_listed_tells_no_key(service: Service) -> None:
    listed = httpx.get(f"{service.url}/api/v1/providers/list", trust_env=False)
    assert all(one["has_key"] for one in listed.json()["providers"] if one["kind"] != "builtin")
    for path in ("providers/list", "health", "info"):
        assert "-of-the-deployment" not in httpx.get(f"{service.url}/api/v1/{path}", trust_env=False).text

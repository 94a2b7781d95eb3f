"""A key that the service was configured with never travels to an address that came with a request."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from providers import registry
from tests.contract.kinds import KINDS, OF_KIND, Kind
from tests.contract.schemas import PLAIN
from tests.contract.test_secrets import AMBIENT, VARIABLES
from tests.servers import RecordingServer
from tests.service import Service

READ_BY_SDKS = [name for name, value in VARIABLES.items() if value == AMBIENT]
NAMES = sorted({*READ_BY_SDKS, *(name for spec in registry.specs() for name in spec.key_env)})
SECRETS = {name: f"secret-{number}-of-the-deployment" for number, name in enumerate(NAMES)}


# The other kinds are slow: their SDKs are imported first.
QUICK = ("vllm", "gemini")
BY_KIND = [pytest.param(kind, marks=[] if kind.kind in QUICK else pytest.mark.slow) for kind in KINDS]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG_LEVEL="debug", GRAPHCAP_PROVIDER_KEY="secret-of-the-command-line", **SECRETS) as running:
        yield running


def post(service: Service, path: str, body: dict[str, Any]) -> str:
    response = httpx.post(f"{service.url}/api/v1/{path}", json=body, timeout=60, trust_env=False)
    return f"{response.text}{response.headers}"


def caption(config: dict[str, Any], **fields: Any) -> dict[str, Any]:
    perspective = {"name": "mine", "prompt": "Describe the image.", "json_schema": PLAIN}
    image = {"path": "datasets/samples/coffee.jpg"}
    return {"perspective": perspective, "image": image, "model": "any", "provider_config": config, **fields}


def ask_everywhere(service: Service, kind: Kind, config: dict[str, Any]) -> str:
    """Send `config` to every endpoint that accepts one, and return all responses."""
    named = {"perspective": "alt_text", "image_path": "/workspace/datasets/samples/coffee.jpg", "model": "any"}
    requests: list[tuple[str, dict[str, Any]]] = [
        ("perspectives/caption", caption(config)),
        ("perspectives/caption", caption({**config, "api_key": config.get("api_key")}, provider=kind.kind)),
        ("perspectives/caption", caption(config, fallbacks=[{"model": "any", "provider_config": config}])),
        ("perspectives/caption-from-path", {**named, "provider_config": {"api_key": "", **config}}),
        (f"providers/{kind.kind}/models", config),
        (f"providers/{kind.kind}/test-connection", {**config, "default_model": "any"}),
    ]
    return "".join(post(service, path, body) for path, body in requests)


@pytest.mark.parametrize("kind", BY_KIND, ids=lambda kind: kind.id)
def test_no_configured_key_reaches_a_callers_address(service: Service, trap: RecordingServer, kind: Kind) -> None:
    """Whether the caller's key is absent, null, empty, or its own."""
    config = {"kind": kind.kind, "base_url": trap.url}
    responses = ask_everywhere(service, kind, config)
    count = len(trap.requests)
    assert count >= 8
    responses += ask_everywhere(service, kind, {**config, "api_key": "the-callers-own"})
    assert len(trap.requests) >= 2 * count
    assert all("the-callers-own" in f"{request.headers}" for request in trap.requests[count:])
    assert "the-callers-own" not in responses + service.log
    for secret in [*SECRETS.values(), "secret-of-the-command-line", "-of-the-deployment"]:
        assert not trap.carries(secret)
        assert secret not in responses + service.log


@pytest.mark.slow
def test_a_configured_key_is_used_where_it_belongs() -> None:
    """Otherwise the tests above would also pass on a service that reads no key at all."""
    with RecordingServer() as trap, Service(OPENAI_API_KEY="key-of-openai", OPENAI_BASE_URL=trap.url) as service:
        config = {"kind": "openai", "base_url": f"{trap.url}/v1", "api_key": ""}
        for body in (caption(config), {**caption({}), "provider_config": None, "provider": "openai"}):
            post(service, "perspectives/caption", body)
        assert [request.headers["authorization"] for request in trap.requests] == ["Bearer key-of-openai"] * 2
        config["base_url"] = trap.url.replace("127.0.0.1", "localhost")
        post(service, "perspectives/caption", caption(config))
        assert "authorization" not in trap.requests[2].headers


def test_no_key_is_in_a_listing(service: Service) -> None:
    providers = service.get("/api/v1/providers/list")
    assert all(row["has_key"] for row in providers.json()["providers"] if row["kind"] in OF_KIND)
    for path in ("providers/list", "health", "info"):
        assert "-of-the-deployment" not in service.get(f"/api/v1/{path}").text

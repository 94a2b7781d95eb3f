"""Configured keys are never sent to a base URL from a request."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from providers import registry
from tests.contract.kinds import KIND_BY_NAME, KINDS, Kind
from tests.contract.schemas import PLAIN
from tests.contract.test_secrets import AMBIENT, VARIABLES
from tests.servers import RecordingServer
from tests.service import Service

READ_BY_SDKS = [name for name, value in VARIABLES.items() if value == AMBIENT]
NAMES = sorted({*READ_BY_SDKS, *(name for spec in registry.specs() for name in spec.key_env)})
SECRETS = {name: f"secret-{number}-of-the-deployment" for number, name in enumerate(NAMES)}

# The tests of the other kinds are slow: they import an SDK.
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
    from_path = {"perspective": "alt_text", "image_path": "/workspace/datasets/samples/coffee.jpg", "model": "any"}
    requests: list[tuple[str, dict[str, Any]]] = [
        ("perspectives/caption", caption(config)),
        ("perspectives/caption", caption({**config, "api_key": config.get("api_key")}, provider=kind.kind)),
        ("perspectives/caption", caption(config, fallbacks=[{"model": "any", "provider_config": config}])),
        ("perspectives/caption-from-path", {**from_path, "provider_config": {"api_key": "", **config}}),
        (f"providers/{kind.kind}/models", config),
        (f"providers/{kind.kind}/test-connection", {**config, "default_model": "any"}),
    ]
    return "".join(post(service, path, body) for path, body in requests)


@pytest.mark.parametrize("kind", BY_KIND, ids=lambda kind: kind.id)
def test_configured_keys_are_not_sent_to_addresses_of_callers(
    service: Service, recording_server: RecordingServer, kind: Kind
) -> None:
    """The caller's key is absent, null, empty or set."""
    config = {"kind": kind.kind, "base_url": recording_server.url}
    responses = ask_everywhere(service, kind, config)
    count = len(recording_server.requests)
    assert count >= 8
    responses += ask_everywhere(service, kind, {**config, "api_key": "the-callers-own"})
    assert len(recording_server.requests) >= 2 * count
    assert all("the-callers-own" in f"{request.headers}" for request in recording_server.requests[count:])
    assert "the-callers-own" not in responses + service.log
    for secret in [*SECRETS.values(), "secret-of-the-command-line", "-of-the-deployment"]:
        assert not recording_server.received(secret)
        assert secret not in responses + service.log


@pytest.mark.slow
def test_a_configured_key_is_sent_to_its_own_provider() -> None:
    """Without this test, the tests above would also pass if the service read no keys."""
    with (
        RecordingServer() as recording_server,
        Service(OPENAI_API_KEY="key-of-openai", OPENAI_BASE_URL=recording_server.url) as service,
    ):
        config = {"kind": "openai", "base_url": f"{recording_server.url}/v1", "api_key": ""}
        for body in (caption(config), {**caption({}), "provider_config": None, "provider": "openai"}):
            post(service, "perspectives/caption", body)
        assert [request.headers["authorization"] for request in recording_server.requests] == [
            "Bearer key-of-openai"
        ] * 2
        config["base_url"] = recording_server.url.replace("127.0.0.1", "localhost")
        post(service, "perspectives/caption", caption(config))
        assert "authorization" not in recording_server.requests[2].headers


def test_listings_contain_no_keys(service: Service) -> None:
    providers = service.get("/api/v1/providers/list")
    assert all(row["has_key"] for row in providers.json()["providers"] if row["kind"] in KIND_BY_NAME)
    for path in ("providers/list", "health", "info"):
        assert "-of-the-deployment" not in service.get(f"/api/v1/{path}").text

"""Two running services for all tests of the HTTP API."""

from collections.abc import Iterator

import pytest

from tests.api import streams
from tests.service import Service

API_KEYS = ("our-first-key-12345", "our-second-key-6789")
NAMED_KEY = "our-react-key-246810"


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """Start a service without API keys, for images of at most 3 MB."""
    with Service(GRAPHCAP_LOG="json", GRAPHCAP_MAX_IMAGE_BYTES="3000000") as running:
        yield running
    assert running.code == 0
    assert "Traceback" not in running.log
    assert streams.KEY not in running.log


@pytest.fixture(scope="session")
def keyed() -> Iterator[Service]:
    """Start a service with API keys, below the root path /bridge."""
    keys = {"GRAPHCAP_API_KEYS": ",".join(API_KEYS), "GRAPHCAP_NAMED_API_KEYS": f"react={NAMED_KEY}"}
    with Service("--root-path", "/bridge", GRAPHCAP_LOG="json", GRAPHCAP_RATE_LIMIT="1000/month", **keys) as running:
        yield running
    assert running.code == 0
    assert "Traceback" not in running.log
    assert not [key for key in (*API_KEYS, NAMED_KEY) if key in running.log]

"""One running bridge for every client."""

from collections.abc import Iterator

import pytest

from tests.clients.bridge import Bridge
from tests.clients.bridge import bridge as running


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    settings = {"GRAPHCAP_MAX_IMAGE_BYTES": "3000000", "GRAPHCAP_LOG_LEVEL": "debug"}
    with running(tmp_path_factory.mktemp("workspace"), **settings) as result:
        yield result


@pytest.fixture
def bridge(started: Bridge) -> Bridge:
    started.reset()
    return started

"""One running bridge for all tests of Chat Completions."""

from collections.abc import Iterator

import pytest

from tests.clients.bridge import Bridge
from tests.clients.bridge import bridge as running


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    with running(
        tmp_path_factory.mktemp("workspace"),
        GRAPHCAP_MAX_IMAGE_BYTES="3000000",
        GRAPHCAP_IMAGE_URL_ALLOW="127.0.0.1",
        GRAPHCAP_LOG_LEVEL="debug",
    ) as result:
        yield result


@pytest.fixture
def bridge(started: Bridge) -> Bridge:
    started.forget()
    return started

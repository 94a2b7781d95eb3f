"""One pool of image workers for all tests of a module."""

from collections.abc import AsyncIterator

import pytest

from bridge.images.decoder import DecoderPool
from tests.images.samples import MEMORY, SECONDS


@pytest.fixture(scope="module")
async def decoder() -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(1, MEMORY, SECONDS)
    yield pool
    await pool.aclose()

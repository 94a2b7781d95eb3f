"""The connections that the tests of a module share."""

from collections.abc import AsyncIterator

import pytest

from providers.pool import Pool


@pytest.fixture(scope="module")
async def pool(anyio_backend: str) -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.aclose()

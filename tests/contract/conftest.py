"""Each test of the contract runs against every client class, and with EVERY_KIND against every kind of server."""

from io import BytesIO

import pytest
from PIL import Image as Pillow

from providers.pool import Pool
from tests.contract.kinds import Kind
from tests.contract.target import Target, target
from tests.servers import WireServer


@pytest.fixture(scope="session")
def png(photo: bytes) -> bytes:
    """The same photo as PNG."""
    file = BytesIO()
    with Pillow.open(BytesIO(photo)) as picture:
        picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def to(kind: Kind, server: WireServer, pool: Pool) -> Target:
    return target(kind, server, pool)

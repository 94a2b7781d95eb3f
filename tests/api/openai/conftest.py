"""The bridge that the tests of OpenAI's clients use too."""

from tests.clients.conftest import bridge, started

__all__ = ["bridge", "started"]

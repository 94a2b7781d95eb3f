"""The door for clients that speak OpenAI's chat completions."""

from bridge.api.openai.door import router
from bridge.api.openai.failure import failure, speaks

__all__ = ["failure", "router", "speaks"]

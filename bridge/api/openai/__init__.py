"""The door for clients that speak OpenAI's chat completions."""

from bridge.api.openai.door import router

__all__ = ["router"]

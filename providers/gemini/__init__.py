"""Gemini in its own protocol (`generateContent`), through the official `google-genai` package.

The SDK is kept to building the URL and reading the reply. Key, picture and time are ours: the SDK would take a
key from the environment, send the picture in URL-safe base64 and continue an answer with calls of its own.
"""

from providers.gemini.client import GeminiClient
from providers.gemini.spec import SPEC

__all__ = ["SPEC", "GeminiClient"]

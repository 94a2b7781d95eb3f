"""Model servers on loopback that implement the providers' protocols and reject what the real ones reject."""

from tests.servers.anthropic import AnthropicServer
from tests.servers.base import SENTENCE, WireServer
from tests.servers.call import Call, Picture
from tests.servers.gemini import GeminiServer
from tests.servers.ollama import OllamaServer
from tests.servers.openai import OpenAIServer
from tests.servers.recording import RecordingServer

__all__ = [
    "SENTENCE",
    "AnthropicServer",
    "Call",
    "GeminiServer",
    "OllamaServer",
    "OpenAIServer",
    "Picture",
    "RecordingServer",
    "WireServer",
]

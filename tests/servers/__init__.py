"""Model servers on loopback that speak the providers' protocols and refuse what the real ones refuse."""

from tests.servers.anthropic import AnthropicServer
from tests.servers.base import SENTENCE, WireServer
from tests.servers.call import Call, Picture
from tests.servers.gemini import GeminiServer
from tests.servers.ollama import OllamaServer
from tests.servers.openai import OpenAIServer
from tests.servers.trap import TrapServer

__all__ = [
    "SENTENCE",
    "AnthropicServer",
    "Call",
    "GeminiServer",
    "OllamaServer",
    "OpenAIServer",
    "Picture",
    "TrapServer",
    "WireServer",
]

"""The kinds of provider. To add a kind, add a row to gateways.py, or a client class and a row in this module."""

from importlib import import_module

from providers.anthropic import AnthropicClient
from providers.base import ProviderConfig, Spec
from providers.builtin import BuiltinClient
from providers.client import BaseClient
from providers.errors import UnknownKind
from providers.gemini import GeminiClient
from providers.local import LocalClient
from providers.ollama import OllamaClient
from providers.openai import OpenAIClient
from providers.pool import Pool

_ORDER = ("builtin", "local", "openai", "anthropic", "vllm", "ollama", "gemini")
"""The kinds that come first in the documentation, in this order."""
_CLIENTS = (BuiltinClient, LocalClient, OpenAIClient, AnthropicClient, OllamaClient, GeminiClient)
_KINDS: dict[str, tuple[Spec, type[BaseClient]]] = {
    spec.kind: (spec, client) for client in _CLIENTS for spec in client.specs
}


def specs() -> tuple[Spec, ...]:
    """Return the spec of every kind, in the order of the documentation. No SDK is imported."""
    return tuple(_KINDS[kind][0] for kind in dict.fromkeys((*_ORDER, *_KINDS)))


def spec(kind: str) -> Spec:
    """Return the spec of a kind. Raises UnknownKind."""
    return _entry(kind)[0]


def client(config: ProviderConfig, pool: Pool) -> BaseClient:
    """Create a client. Call this in a thread: the first call for a kind imports an SDK, which takes up to a second.

    Raises UnknownKind, and ValueError for an invalid base URL.
    """
    _, client_class = _entry(config.kind)
    if client_class.sdk:
        import_module(client_class.sdk)
    return client_class(config, pool)


def _entry(kind: str) -> tuple[Spec, type[BaseClient]]:
    try:
        return _KINDS[kind]
    except KeyError:
        raise UnknownKind(kind, tuple(spec.kind for spec in specs())) from None

"""The kinds of provider. A new kind is a row of gateways.py, or a client class and one row here."""

from collections.abc import Mapping
from importlib import import_module

from providers import anthropic, builtin, gateways, gemini, ollama, openai
from providers.anthropic import AnthropicClient
from providers.base import BaseClient, ProviderConfig, Spec
from providers.builtin import BuiltinClient
from providers.errors import UnknownKind
from providers.gateways import GatewayClient
from providers.gemini import GeminiClient
from providers.ollama import OllamaClient
from providers.openai import OpenAIClient
from providers.pool import Pool

_ORDER = ("builtin", "openai", "anthropic", "vllm", "ollama", "gemini")
"""The order in which documentation lists the kinds; the others follow."""
_CLIENTS: Mapping[type[BaseClient], tuple[str, tuple[Spec, ...]]] = {
    BuiltinClient: ("", (builtin.SPEC,)),
    OpenAIClient: ("openai", (openai.SPEC,)),
    AnthropicClient: ("anthropic", (anthropic.SPEC,)),
    GatewayClient: ("openai", gateways.SPECS),
    OllamaClient: ("ollama", (ollama.SPEC,)),
    GeminiClient: ("google.genai", (gemini.SPEC,)),
}
"""The SDK that each client class imports, and the kinds of provider that it serves."""
_KINDS = {spec.kind: (spec, client, sdk) for client, (sdk, specs) in _CLIENTS.items() for spec in specs}


def specs() -> tuple[Spec, ...]:
    """Return every kind, in the order of the documentation. Imports no SDK."""
    return tuple(_KINDS[kind][0] for kind in dict.fromkeys((*_ORDER, *_KINDS)))


def spec(kind: str) -> Spec:
    """Return the description of a kind. Raises UnknownKind."""
    return _entry(kind)[0]


def client(config: ProviderConfig, pool: Pool) -> BaseClient:
    """Create a client for `config`, without its key: that comes with each request.

    The first of its kind imports an SDK (up to a second): do not call this on the event loop. Raises UnknownKind, and
    ValueError for an invalid base URL.
    """
    _, client_class, sdk = _entry(config.kind)
    if sdk:
        import_module(sdk)
    return client_class(config, pool)


def _entry(kind: str) -> tuple[Spec, type[BaseClient], str]:
    try:
        return _KINDS[kind]
    except KeyError:
        raise UnknownKind(kind, tuple(spec.kind for spec in specs())) from None

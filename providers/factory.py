"""From a kind to its client. A new provider is one file and one line here; a gateway is a row of gateways.py."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from providers.base import BaseClient, ProviderConfig, Spec
from providers.errors import UnknownKind
from providers.pool import Pool


@dataclass(frozen=True, slots=True)
class _Line:
    """A module with `SPEC` or `SPECS`, the name of its client, and the SDK that the client will import."""

    module: str
    client: str
    sdk: str = ""


_LINES = (
    _Line("providers.builtin", "BuiltinClient"),
    _Line("providers.openai", "OpenAIClient", sdk="openai"),
    _Line("providers.vllm", "VllmClient", sdk="openai"),
    _Line("providers.ollama", "OllamaClient", sdk="ollama"),
    _Line("providers.gemini", "GeminiClient", sdk="google.genai"),
    _Line("providers.gateways", "GatewayClient", sdk="openai"),
)


def specs() -> tuple[Spec, ...]:
    """Every kind, in the order in which they are told to people. Imports no SDK."""
    return tuple(spec for spec, _ in _table().values())


def spec(kind: str) -> Spec:
    """What is known of a kind. Raises UnknownKind."""
    return _entry(kind)[0]


def client(config: ProviderConfig, pool: Pool) -> BaseClient:
    """A client for `config`, without its key: that comes with each request.

    The first of its kind imports an SDK (up to a second): call it off the event loop. Raises UnknownKind, and
    ValueError for a base URL that is none.
    """
    _, line = _entry(config.kind)
    if not line.sdk:
        return _new(line, config)
    import_module(line.sdk)
    return _new(line, config, pool)


def _new(line: _Line, *arguments: Any) -> BaseClient:
    made: BaseClient = getattr(import_module(line.module), line.client)(*arguments)
    return made


def _entry(kind: str) -> tuple[Spec, _Line]:
    try:
        return _table()[kind]
    except KeyError:
        raise UnknownKind(kind, tuple(_table())) from None


@cache
def _table() -> dict[str, tuple[Spec, _Line]]:
    table: dict[str, tuple[Spec, _Line]] = {}
    for line in _LINES:
        module = import_module(line.module)
        own: tuple[Spec, ...] = module.SPECS if hasattr(module, "SPECS") else (module.SPEC,)
        table.update({one.kind: (one, line) for one in own})
    return table

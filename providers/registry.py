"""The kinds of provider: one row for a provider with a protocol of its own, a row of gateways.py for a gateway."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from providers.base import BaseClient, ProviderConfig, Spec
from providers.errors import UnknownKind
from providers.pool import Pool


@dataclass(frozen=True, slots=True)
class _Row:
    """A module with `SPEC` or `SPECS`, the name of its client class, and the SDK that the client imports."""

    module: str
    client: str
    sdk: str = ""


_ROWS = (
    _Row("providers.builtin", "BuiltinClient"),
    _Row("providers.openai", "OpenAIClient", sdk="openai"),
    _Row("providers.gateways", "GatewayClient", sdk="openai"),
    _Row("providers.ollama", "OllamaClient", sdk="ollama"),
    _Row("providers.gemini", "GeminiClient", sdk="google.genai"),
)
_ORDER = ("builtin", "openai", "vllm", "ollama", "gemini")
"""The order in which documentation lists the kinds; the others follow."""


def specs() -> tuple[Spec, ...]:
    """Return every kind, in the order of the documentation. Imports no SDK."""
    kinds = (*_ORDER, *(kind for kind in _kinds() if kind not in _ORDER))
    return tuple(_kinds()[kind][0] for kind in kinds)


def spec(kind: str) -> Spec:
    """Return the description of a kind. Raises UnknownKind."""
    return _entry(kind)[0]


def client(config: ProviderConfig, pool: Pool) -> BaseClient:
    """Create a client for `config`, without its key: that comes with each request.

    The first of its kind imports an SDK (up to a second): do not call this on the event loop. Raises UnknownKind, and
    ValueError for an invalid base URL.
    """
    _, row = _entry(config.kind)
    if not row.sdk:
        return _create(row, config)
    import_module(row.sdk)
    return _create(row, config, pool)


def _create(row: _Row, *arguments: Any) -> BaseClient:
    client: BaseClient = getattr(import_module(row.module), row.client)(*arguments)
    return client


def _entry(kind: str) -> tuple[Spec, _Row]:
    try:
        return _kinds()[kind]
    except KeyError:
        raise UnknownKind(kind, tuple(spec.kind for spec in specs())) from None


@cache
def _kinds() -> dict[str, tuple[Spec, _Row]]:
    kinds: dict[str, tuple[Spec, _Row]] = {}
    for row in _ROWS:
        module = import_module(row.module)
        specs: tuple[Spec, ...] = module.SPECS if hasattr(module, "SPECS") else (module.SPEC,)
        kinds.update({spec.kind: (spec, row) for spec in specs})
    return kinds

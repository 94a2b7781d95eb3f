"""Connections to untrusted addresses: address classes, the policy, and a transport that checks addresses."""

from typing import TYPE_CHECKING

from bridge.errors import AddressRefused
from bridge.network.addresses import classify
from bridge.network.names import Resolve
from bridge.network.policy import AddressPolicy

if TYPE_CHECKING:
    import httpx2

__all__ = ["AddressPolicy", "AddressRefused", "classify", "guarded_transport"]


def guarded_transport(
    policy: AddressPolicy, max_connections: int = 100, *, keepalive: float = 4.0, look_up: Resolve | None = None
) -> "httpx2.AsyncBaseTransport":
    """Create a transport that connects only to allowed addresses. The first call imports httpx2 (0.15 s).

    `keepalive`: seconds to keep an idle connection (0: a new one for each request). `look_up`: for tests.
    """
    from bridge.network.transport import GuardedTransport

    return GuardedTransport(policy, max_connections, keepalive, look_up)

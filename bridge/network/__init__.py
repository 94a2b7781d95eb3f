"""Connections to untrusted addresses: address classes, the policy, and a transport that checks addresses.

`bridge.network.transport` imports httpx2 (0.15 s), so it is imported where a connection pool is opened.
"""

from bridge.errors import AddressRefused
from bridge.network.addresses import classify
from bridge.network.policy import AddressPolicy

__all__ = ["AddressPolicy", "AddressRefused", "classify"]

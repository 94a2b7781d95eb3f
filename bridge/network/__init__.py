"""Connections, and which network addresses may be dialled, checked on the address that is dialled."""

from bridge.errors import AddressRefused
from bridge.network.addresses import classify
from bridge.network.policy import AddressPolicy
from bridge.network.transport import guarded_httpx, guarded_httpx2, plain_httpx, plain_httpx2

__all__ = [
    "AddressPolicy",
    "AddressRefused",
    "classify",
    "guarded_httpx",
    "guarded_httpx2",
    "plain_httpx",
    "plain_httpx2",
]

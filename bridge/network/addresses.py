"""Classify network addresses with Python's `ipaddress`, corrected by a list of networks that it misjudges."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

Address = IPv4Address | IPv6Address
AddressClass = Literal["metadata", "link-local", "loopback", "private", "public"]

_METADATA = [
    ip_network(network)
    for network in (
        *("169.254.169.254/32", "fe80::a9fe:a9fe/128"),  # most clouds
        *("169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::/32"),  # AWS, its containers and pods
        *("169.254.169.252/32", "fd20:ce::254/128"),  # Google
        "169.254.0.23/32",  # Tencent
        *("169.254.42.42/32", "fd00:42::42/128"),  # Scaleway
        "100.100.100.200/32",  # Alibaba
        *("192.0.0.192/32", "fd00:c1::a9fe:a9fe/128"),  # Oracle
        "168.63.129.16/32",  # Azure: a public address that only its virtual machines reach
    )
]
# Not public, but `is_global` in at least one release of Python 3.11 to 3.14.
_NOT_PUBLIC = [
    ip_network(network)
    for network in (
        *("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"),
        "3ffe::/16",  # the former 6bone
        *("192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2620:4f:8000::/48"),  # AS112, AMT
    )
]
_ASSIGNED = IPv6Network("2000::/3")  # all global addresses that IANA has assigned
# Prefixes for embedded IPv4 addresses. The embedded address alone gives the class.
_CARRIERS = [IPv6Network(network) for network in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")]
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP, _ISATAP_BITS = 0x00005EFE, 0xFCFFFFFF  # RFC 5214: the universal and group bits are ignored
_WORST_FIRST: tuple[AddressClass, ...] = ("metadata", "link-local", "loopback", "private", "public")


def classify(address: str) -> AddressClass:
    """Return the class of an address. "private": not public, and in no other class.

    If an IPv6 address contains IPv4 addresses, the most restricted class among all of them is returned.
    """
    parsed = ip_address(address)
    classes = [_class_of(embedded) for embedded in _embedded(parsed)] if isinstance(parsed, IPv6Address) else []
    if not _is_carrier(parsed):
        classes.append(_class_of(parsed))
    return min(classes, key=_WORST_FIRST.index)


def _class_of(address: Address) -> AddressClass:
    if any(address in network for network in _METADATA):
        return "metadata"
    if address.is_link_local:
        return "link-local"
    if address.is_loopback:
        return "loopback"
    unassigned = isinstance(address, IPv6Address) and address not in _ASSIGNED
    if unassigned or not address.is_global or address.is_multicast or address.is_reserved:
        return "private"
    return "private" if any(address in network for network in _NOT_PUBLIC) else "public"


def _is_carrier(address: Address) -> bool:
    return any(address in network for network in _CARRIERS)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that a translator or tunnel would derive from this IPv6 address."""
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if _is_carrier(address) or address in _NAT64_LOCAL or (address in _COMPATIBLE and number > 1):
        yield low
    if address in _NAT64_LOCAL:  # RFC 6052: IPv4 follows a /48, /56 or /64 prefix and skips octet 8
        octets = address.packed
        for start in (6, 7, 9):
            yield IPv4Address(bytes([octets[i] for i in range(start, 16) if i != 8][:4]))
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if (number >> 32) & _ISATAP_BITS == _ISATAP:
        yield low

"""Classify network addresses: public, private, cloud metadata, or IPv4 inside IPv6.

The table is our own: Python 3.11's `ipaddress` calls 192.0.0.192 and 168.63.129.16, where clouds serve metadata,
public.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The first match wins, so exceptions are listed before the blocks that contain them.
_TABLE: tuple[tuple[str, str], ...] = (
    ("169.254.169.254/32", "metadata"),
    ("169.254.170.2/32", "metadata"),  # AWS: credentials of a container, of a pod
    ("169.254.170.23/32", "metadata"),
    ("169.254.169.252/32", "metadata"),  # GKE
    ("169.254.0.23/32", "metadata"),  # Tencent
    ("169.254.42.42/32", "metadata"),  # Scaleway
    ("100.100.100.200/32", "metadata"),  # Alibaba
    ("192.0.0.192/32", "metadata"),  # Oracle
    ("168.63.129.16/32", "metadata"),  # Azure: a public address that only a virtual machine reaches
    ("0.0.0.0/32", "unspecified"),
    ("0.0.0.0/8", "reserved"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "reserved"),  # AS112, AMT: anycast, perhaps to a node of the own network
    ("192.52.193.0/24", "reserved"),
    ("192.88.99.0/24", "reserved"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "reserved"),  # AS112
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("0.0.0.0/0", "public"),
    ("fd00:ec2::/32", "metadata"),  # AWS
    ("fd20:ce::254/128", "metadata"),  # Google
    ("fd00:42::42/128", "metadata"),  # Scaleway
    ("fd00:c1::a9fe:a9fe/128", "metadata"),  # Oracle
    ("fe80::a9fe:a9fe/128", "metadata"),  # OpenStack, DigitalOcean
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "private"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "private"),
    ("ff00::/8", "multicast"),
    ("2001:2::/48", "benchmarking"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("2001::/23", "reserved"),
    ("2002::/16", "reserved"),
    ("2620:4f:8000::/48", "reserved"),  # AS112
    ("3ffe::/16", "reserved"),  # the former 6bone
    ("2000::/3", "public"),  # all that IANA has assigned; Teredo, ORCHID and others are in blocks above
    ("::/0", "reserved"),
)
_ROWS: tuple[tuple[Network, str], ...] = tuple((ip_network(block), word) for block, word in _TABLE)
# Prefixes that carry IPv4 and mean nothing themselves: the embedded address decides alone.
_CARRIERS = tuple(IPv6Network(block) for block in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP, _ISATAP_BITS = 0x00005EFE, 0xFCFFFFFF  # RFC 5214: its universal and group bits may be anything
# The first of these decides: the first two are refused even where private addresses are allowed.
_WORST = ("metadata", "link-local", "loopback")


def classify(address: str | Address) -> str:
    """Return the class of an address: "public", "private", "loopback", "link-local", "metadata", "reserved" …

    An IPv6 address that embeds an IPv4 address gets the worse class of the two.
    """
    parsed = ip_address(address) if isinstance(address, str) else address
    if isinstance(parsed, IPv4Address):
        return _look_up(parsed)
    inner = [_look_up(each) for each in _embedded(parsed)]
    if any(parsed in carrier for carrier in _CARRIERS):
        return inner[0]
    words = [_look_up(parsed), *inner]
    for worst in _WORST:
        if worst in words:
            return worst
    return next((word for word in words if word != "public"), "public")


def _look_up(address: Address) -> str:
    return next(word for network, word in _ROWS if address in network)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield every IPv4 address that a translator or tunnel would derive from this IPv6 address."""
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if any(address in carrier for carrier in _CARRIERS) or (address in _COMPATIBLE and number > 1):
        yield low
    if address in _NAT64_LOCAL:  # RFC 6052: after a /48, /56, /64 or /96 prefix, around the empty octet 8
        yield low
        octets = address.packed
        for start in (6, 7, 9):
            inside = [octets[i] for i in range(start, 16) if i != 8][:4]
            yield IPv4Address(bytes(inside))
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if (number >> 32) & _ISATAP_BITS == _ISATAP:
        yield low

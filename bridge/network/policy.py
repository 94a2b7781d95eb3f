"""Whether an address may be dialled."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal

from bridge.errors import AddressRefused
from bridge.network.addresses import Address, classify
from bridge.network.names import Resolve

_MOST_ADDRESSES = 64  # a name that has more is nobody's: an answer over TCP holds four thousand

_NEVER = ("metadata",)
_NOT_BY_NAME = ("metadata", "link-local")


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be dialled.

    `mode`: "public" is the open internet, "any_but_metadata" everything save link-local and metadata
    addresses, "listed" nothing but the lists. `allow_hosts` (`host`, `host:port`, `*.domain`) and
    `allow_networks` (CIDR) add to each mode; a metadata address is refused in all of them, and a listed name
    does not open link-local addresses. `ports`: the only ports, if given.
    """

    mode: Literal["public", "any_but_metadata", "listed"] = "public"
    allow_hosts: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    ports: frozenset[int] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a network that is none."""
        for network in self.allow_networks:
            ip_network(network, strict=False)

    def check(self, host: str, ip: str, port: int) -> None:
        """Raise `AddressRefused` unless `ip`, which `host` resolved to, may be dialled on `port`."""
        self.check_name(host, port)
        word = classify(ip)
        by_name = self.mode == "any_but_metadata" or self._lists_name(host, port)
        open_to_all = self.mode == "public" and word == "public"
        if open_to_all or (by_name and word not in _NOT_BY_NAME) or (word not in _NEVER and self._lists_address(ip)):
            return
        raise _refusal(host, "name" if self.mode == "listed" and not by_name else word, told=by_name)

    def check_name(self, host: str, port: int) -> None:
        """Raise `AddressRefused` for what needs no look-up: the port, a name that no list can admit."""
        if self.ports is not None and port not in self.ports:
            raise _refusal(host, "port")
        if self.mode == "listed" and not self.allow_networks and not self._lists_name(host, port):
            raise _refusal(host, "name")

    def _lists_name(self, host: str, port: int) -> bool:
        name = host.lower().rstrip(".")
        spellings = (name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}")
        return any(_matches(entry.lower(), spellings) for entry in self.allow_hosts)

    def _lists_address(self, ip: str) -> bool:
        address = _plain(ip_address(ip))
        return any(address in ip_network(network, strict=False) for network in self.allow_networks)


def _plain(address: Address) -> Address:
    """Take a mapped IPv4 address out of its IPv6 dress."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _matches(entry: str, spellings: tuple[str, ...]) -> bool:
    if entry.startswith("*."):
        return any(spelling.endswith(entry[1:]) for spelling in spellings[:2])
    return entry in spellings


_SENTENCES = {
    "name": "The host {host} is not on the list of hosts that this server may call.",
    "port": "The port asked for on {host} is not one that this server may call.",
}
_NOT_PUBLIC = "The host {host} is not at a public address, and this server calls no other for you."
_NEVER_CALLED = "The host {host} is at a link-local or metadata address, which this server does not call."


def _refusal(host: str, kind: str, *, told: bool = False) -> AddressRefused:
    """Whoever may not call private addresses is told nothing of them: one sentence for every kind."""
    sentence = _SENTENCES.get(kind, _NEVER_CALLED if told else _NOT_PUBLIC)
    return AddressRefused(sentence.format(host=host), host=host, kind=kind)


async def admitted(policy: AddressPolicy, host: str, port: int, look_up: Resolve) -> Sequence[str]:
    """Return the addresses of `host`, all of them checked. Raises `AddressRefused` and OSError."""
    policy.check_name(host, port)
    try:
        addresses: Sequence[str] = (str(ip_address(host)),)
    except ValueError:
        addresses = await look_up(host, port)
    if not 0 < len(addresses) <= _MOST_ADDRESSES:
        raise OSError("no address, or too many")
    for address in addresses:
        policy.check(host, address, port)
    return addresses

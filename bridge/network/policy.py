"""The policy for outgoing connections: allowed hosts, addresses and ports."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

from bridge.errors import AddressRefused
from bridge.network.addresses import classify

Mode = Literal["public", "any_but_metadata", "listed"]


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The addresses that connections may use.

    `mode`: "public" allows the public internet. "any_but_metadata" allows all addresses except link-local addresses and
    cloud metadata services. "listed" allows only the lists. `allow_hosts` (`host`, `host:port`, `*.domain`) and
    `allow_networks` (CIDR): allowed in every mode, except metadata services. A name in `allow_hosts` does not allow
    link-local addresses. `ports`: the allowed ports (None: all).
    """

    mode: Mode = "public"
    allow_hosts: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    ports: frozenset[int] | None = None

    def check(self, host: str, ip: str, port: int) -> None:
        """Raise `AddressRefused` unless connections to `port` of `ip`, an address of `host`, are allowed."""
        self.check_name(host, port)
        kind = classify(ip)
        by_name = self.mode == "any_but_metadata" or self._lists_name(host, port)
        allowed = (
            (self.mode == "public" and kind == "public")
            or (by_name and kind not in ("metadata", "link-local"))
            or (self._lists_address(ip) and kind != "metadata")
        )
        if allowed:
            return
        if by_name:
            raise AddressRefused(
                f"The host {host} has a link-local or metadata address, which this service does not call."
            )
        if self.mode == "listed":
            raise _not_listed(host)
        # The message is the same for all private addresses, so that callers cannot map the network.
        raise AddressRefused(
            f"The host {host} has no public address, and this service calls no other address for a request."
        )

    def check_name(self, host: str, port: int) -> None:
        """Raise `AddressRefused` if the port or the name is not allowed. The name is not resolved."""
        if self.ports is not None and port not in self.ports:
            raise AddressRefused(f"This service may not call that port of {host}.")
        if self.mode == "listed" and not self.allow_networks and not self._lists_name(host, port):
            raise _not_listed(host)

    def _lists_name(self, host: str, port: int) -> bool:
        name = host.lower().rstrip(".")
        spellings = (name, f"{name}:{port}", f"[{name}]", f"[{name}]:{port}")
        entries = [entry.lower() for entry in self.allow_hosts]
        domains = tuple(entry[1:] for entry in entries if entry.startswith("*."))
        return not set(entries).isdisjoint(spellings) or any(text.endswith(domains) for text in spellings[:2])

    def _lists_address(self, ip: str) -> bool:
        address = ip_address(ip)
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in ip_network(network, strict=False) for network in self.allow_networks)


def _not_listed(host: str) -> AddressRefused:
    return AddressRefused(f"The host {host} is not on the list of hosts that this service may call.")

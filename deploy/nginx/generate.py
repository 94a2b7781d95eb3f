"""Write bridges.conf, the part of the balancer that lists the bridges.

    python3 deploy/nginx/generate.py 10.0.0.11:32100 10.0.0.12:32100 > deploy/nginx/bridges.conf

Each address is an IP address with a port: nginx resolves names only at start, and identifies a bridge by its address.
"""

import re
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import permutations

EMPTY = '""'


def render(addresses: Iterable[str]) -> str:
    """Return bridges.conf. Raises ValueError for an invalid or repeated address."""
    servers = {number: _parse(text) for number, text in enumerate(addresses, 1)}
    if not servers or len(set(servers.values())) < len(servers):
        raise ValueError("Pass the address of each bridge once.")
    seconds = list(permutations(servers, 1)) if len(servers) > 1 else []
    thirds = list(permutations(servers, 2)) if len(servers) > 2 else []
    ends = {number: rf"{re.escape(server)}$" for number, server in servers.items()}
    blocks = [
        f"# Generated: python3 deploy/nginx/generate.py {' '.join(servers.values())}\n"
        "# The bridges of an attempt are those that have not refused the request. A bridge that does not accept\n"
        "# connections gets no requests for two seconds.\n"
    ]
    for refused in dict.fromkeys(tuple(sorted(numbers)) for numbers in ((), *seconds, *thirds)):
        rest = [f"server {server} fail_timeout=2s" for number, server in servers.items() if number not in refused]
        blocks.append(_block(f"upstream {_name(*refused)}", f"zone {_name(*refused)} 128k", "least_conn", *rest))
    second = [f'"~(^| ){ends[a]}" {_name(a)}' for (a,) in seconds]
    third = [f'"~^{_name(a)} (.* )?{ends[b]}" {_name(a, b)}' for a, b in thirds]
    blocks += [
        _block("map $refused_by $second", *second, "default bridges"),
        _block('map "$second $refused_again_by" $third', *third, "default bridges"),
        _block('map "" $after_first', f"default {'@second' if second else EMPTY}"),
        _block('map "" $after_second', f"default {'@third' if third else EMPTY}"),
    ]
    return "".join(blocks)


def _parse(text: str) -> str:
    """Return the address as nginx writes it."""
    host, _, port = text.rpartition(":")
    try:
        ip, number = ip_address(host.strip("[]")), int(port)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address with a port, such as 10.0.0.11:32100.") from None
    return f"[{ip}]:{number}" if ip.version == 6 else f"{ip}:{number}"


def _name(*refused: int) -> str:
    return "_".join(["without", *map(str, sorted(refused))]) if refused else "bridges"


def _block(head: str, *directives: str) -> str:
    return f"{head} {{\n" + "".join(f"    {directive};\n" for directive in directives) + "}\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(render(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"{error}\n\n{__doc__}")

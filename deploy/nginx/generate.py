"""Write bridges.conf, the part of the balancer that lists the bridges.

    python3 deploy/nginx/generate.py 10.0.0.11:32100 10.0.0.12:32100 > deploy/nginx/bridges.conf

Each address is an IP address with a port: nginx resolves names only at start, and identifies a bridge by its address.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from itertools import permutations


def render(addresses: Iterable[str]) -> str:
    """Return bridges.conf. Raises ValueError for an invalid or repeated address."""
    servers = [_parse(text) for text in addresses]
    if not servers or len(set(servers)) < len(servers):
        raise ValueError("Pass the address of each bridge once.")
    numbers, attempts = range(1, len(servers) + 1), min(len(servers), 3)
    seconds = [(number,) for number in numbers] if attempts > 1 else []
    thirds = list(permutations(numbers, 2)) if attempts > 2 else []
    ends = {number: rf"{re.escape(server)}$" for number, server in zip(numbers, servers, strict=True)}
    upstreams = dict.fromkeys(tuple(sorted(refused)) for refused in ((), *seconds, *thirds))
    lines = [
        f"# Generated: python3 deploy/nginx/generate.py {' '.join(servers)}",
        "# The bridges of an attempt are those that have not refused the request. A bridge that does not accept",
        "# connections gets no requests for two seconds.",
        *(line for refused in upstreams for line in _upstream(refused, servers)),
        *_map("$refused_by", "$second", {f"(^| ){ends[n]}": _name((n,)) for (n,) in seconds}),
        *_map(
            '"$second $refused_again_by"',
            "$third",
            {f"^{_name((a,))} (.* )?{ends[b]}": _name((a, b)) for a, b in thirds},
        ),
        *_map('""', "$after_first", {}, "@second" if attempts > 1 else '""'),
        *_map('""', "$after_second", {}, "@third" if attempts > 2 else '""'),
    ]
    return "\n".join(lines) + "\n"


def _parse(text: str) -> str:
    """Return the address as nginx writes it."""
    host, _, port = text.rpartition(":")
    try:
        ip = ip_address(host.strip("[]"))
        if not 0 < int(port) < 65536:
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address with a port, such as 10.0.0.11:32100.") from None
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


def _name(refused: tuple[int, ...]) -> str:
    return "_".join(["without", *map(str, sorted(refused))]) if refused else "bridges"


def _upstream(refused: tuple[int, ...], servers: list[str]) -> Iterator[str]:
    yield f"upstream {_name(refused)} {{"
    yield f"    zone {_name(refused)} 128k;"
    yield "    least_conn;"
    yield from (
        f"    server {item} fail_timeout=2s;" for number, item in enumerate(servers, 1) if number not in refused
    )
    yield "}"


def _map(source: str, name: str, rows: dict[str, str], default: str = "bridges") -> Iterator[str]:
    yield f"map {source} {name} {{"
    yield from (f'    "~{pattern}" {value};' for pattern, value in rows.items())
    yield f"    default {default};"
    yield "}"


if __name__ == "__main__":
    try:
        sys.stdout.write(render(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"{error}\n\n{__doc__}")

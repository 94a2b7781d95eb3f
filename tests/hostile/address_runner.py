"""Send every URL of `addresses.toml` to bridges with different policies, in a network namespace.

In the namespace, every address accepts connections, and a DNS server answers from the table. Run as
`unshare --net --mount python -m tests.hostile.address_runner <folder>`; writes `results.json` to the folder.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.hostile.address_listener import AddressListener
from tests.hostile.address_requests import BridgeClient
from tests.hostile.dns_server import A, DnsServer
from tests.servers.tls import FILE, self_signed
from tests.service import Service

HERE = Path(__file__).parent
TABLE = tomllib.loads((HERE / "addresses.toml").read_text("utf-8"))
KINDS = ("openai", "vllm", "ollama", "gemini")
# The kinds whose clients are tested for a verdict: at least one kind per HTTP client library.
_KINDS_OF_VERDICT = {"address_refused": KINDS, "reached": ("openai", "ollama")}
KEY = "key-of-the-deployment"
_NETWORK = (
    "ip link set lo up",
    "ip -6 addr add 2606:4700::1/128 dev lo nodad",  # source address for connections to public addresses
    "ip route add local 0.0.0.0/0 dev lo",
    "ip -6 route add local ::/0 dev lo",
)
_FILES = {
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
    "nsswitch.conf": "hosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


def set_up_namespace(folder: Path) -> None:
    """Add the routes and mount the files; both disappear with the namespaces."""
    for command in _NETWORK:
        subprocess.run(command.split(), check=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
        if Path("/etc", name).exists():
            subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)


class Network:
    """The listener and the DNS server, in a thread with its own event loop."""

    def __init__(self, folder: Path, photo: bytes) -> None:
        tls = self_signed(folder, "pictures.test", "configured.test")
        self.certificate = folder / FILE
        self.listener, self.dns = AddressListener(photo, tls), DnsServer(TABLE["names"])
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True).start()
        assert self._ready.wait(60)

    async def _run(self) -> None:
        await self.dns.start()
        await self.listener.start()
        self._ready.set()
        await asyncio.Event().wait()


def environment(network: Network, folder: Path) -> dict[str, str]:
    """Return proxies and a netrc, which must be ignored, and keys, which must be sent only to their own server."""
    (folder / ".netrc").write_text("default login someone password netrc-secret\n")
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://10.9.9.9:8080")
    addresses = {f"{kind.upper()}_BASE_URL": "http://configured.test/v1" for kind in ("openai", "vllm")}
    return {
        **proxies,
        **addresses,
        "NO_PROXY": "configured.test",
        "HOME": str(folder),
        "NETRC": str(folder / ".netrc"),
        "SSL_CERT_FILE": str(network.certificate),
        "OLLAMA_HOST": "http://configured.test",
        "GOOGLE_GEMINI_BASE_URL": "http://configured.test",
        **{f"{kind.upper()}_API_KEY": KEY for kind in KINDS},
        "GRAPHCAP_IMAGE_URL_TIMEOUT": "10",
        "GRAPHCAP_TIMEOUT": "60",
    }


class Session:
    """Send requests to the bridges, and record the responses and the connections that they open."""

    def __init__(self, network: Network, bridges: dict[str, BridgeClient]) -> None:
        self.network, self.bridges = network, bridges
        self.rows: list[dict[str, Any]] = []

    def send(self, policy: str, endpoint: str, url: str, kind: str = "", **expected: Any) -> dict[str, Any]:
        before, start = len(self.network.listener.connections), time.monotonic()
        status, code, detail = self.bridges[policy].send(endpoint, url, kind)
        # None: concurrent requests open connections too.
        connections = [] if expected["connects"] is None else self.network.listener.connections[before:]
        row = {
            "id": " ".join(filter(None, (policy, endpoint, kind, url))),
            "status": status,
            "code": code,
            "detail": detail,
            "seconds": time.monotonic() - start,
            "connections": [asdict(item) | {"received": item.received.decode("latin-1")} for item in connections],
            **expected,
        }
        self.rows.append(row)
        return row

    def send_all(self) -> dict[str, Any]:
        """Send every image URL and every base URL."""
        for policy, url, expected in image_url_cases():
            self.send(policy, "caption", url, **expected)
        for url in TABLE["other_endpoints"]["image_urls"]:
            for endpoint in ("analyze", "websocket", "chat completions"):
                self.send("public", endpoint, url, verdict="address_refused", connects=[])
        facts = {"silent": self.silent_names(), "rebind_queries": self.network.dns.queries["rebind.test", A]}
        for policy, endpoint, kind, url, expected in base_url_cases():
            self.send(policy, endpoint, url, kind, **expected)
        return facts

    def silent_names(self) -> dict[str, Any]:
        """Measure a resolvable name and a configured provider while many unanswered DNS queries are pending."""
        self.send("public", "models", "", "vllm", verdict="reached", connects=None)  # loads its SDK
        with ThreadPoolExecutor(20) as threads:
            url = "http://silent.test/?{}"
            hanging = [
                threads.submit(
                    self.send, "public", "caption", url.format(n), verdict="image_unreachable", connects=None
                )
                for n in range(16)
            ]
            while self.network.dns.queries["silent.test", A] < 16:
                time.sleep(0.01)
            good = self.send("public", "caption", "http://other.test/a.jpg", verdict="ok", connects=None)
            configured = self.send("public", "models", "", "vllm", verdict="reached", connects=None)
            return {
                "good": good["seconds"],
                "configured": configured["seconds"],
                "hanging": [future.result() for future in hanging],
            }


def image_url_cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield policy, image URL and expected outcome for every image URL with every policy."""
    for group in TABLE["hosts"]:
        for host, address in group["addresses"].items():
            for policy in ("public", "allow", "listed", "off"):
                default = group["public"] if policy in ("public", "allow") else "address_refused"
                yield policy, f"http://{host}/a.jpg", expected_outcome(group.get(policy, default), address)
    for row in TABLE["image_urls"]:
        for policy in ("public", "allow", "listed", "off"):
            if policy in row:
                yield policy, row["url"], {"verdict": row[policy], "connects": row.get("connects", [])}


def expected_outcome(verdict: str, address: str) -> dict[str, Any]:
    """Return the verdict, and the address that is connected to if the verdict allows it."""
    return {"verdict": verdict, "connects": [address] if {"ok", "reached"} & set(verdict.split("|")) else []}


def base_url_cases() -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Yield policy, endpoint, kind, base URL and expected outcome for every base URL with every kind."""
    policies = {"public": "base_any", "listed": "base_listed", "off": "base_none"}
    for group in TABLE["hosts"]:
        for host, address in group["addresses"].items():
            for policy, name in policies.items():
                verdict = "provider_not_allowed" if name == "base_none" else group.get(name, "provider_not_allowed")
                for kind in _KINDS_OF_VERDICT.get(verdict, ("openai",)):
                    yield policy, "provider", kind, f"http://{host}", expected_outcome(verdict, address)
    for row in TABLE["base_urls"]:
        for policy, name in policies.items():
            for kind in KINDS if name in row else ():
                expected = {
                    "verdict": row[name],
                    "connects": row.get("connects", []),
                    "sends_key": row.get("sends_key", False),
                }
                yield policy, "provider", kind, row["url"], expected
    for url, verdicts in TABLE["other_endpoints"]["base_urls"].items():
        for policy, verdict in zip(policies, verdicts, strict=True):
            for kind in KINDS:
                for endpoint in ("models", "test connection", "provider websocket", "fallback"):
                    yield policy, endpoint, kind, url, {"verdict": verdict, "connects": []}


def main(folder: Path) -> None:
    set_up_namespace(folder)
    network = Network(folder, (HERE.parent / "contract" / "photo.jpg").read_bytes())
    shared = environment(network, folder)
    with ExitStack() as stack:
        policies = TABLE["policies"].items()
        started = {name: stack.enter_context(Service(**shared, **settings)) for name, settings in policies}
        session = Session(network, {name: BridgeClient(service.url) for name, service in started.items()})
        facts = session.send_all()
    logs = "".join(service.log for service in started.values())
    results = {"rows": session.rows, "facts": facts, "log": logs}
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    os.environ.pop("PYTHONASYNCIODEBUG", None)
    main(Path(sys.argv[1]))

"""A world of its own: every address listens, a name server lies, and bridges under each policy are asked.

Run as `unshare --net --mount python -m tests.hostile.addresses_world <folder>`; leaves `results.json` in the folder.
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

from tests.hostile.addresses_doors import Bridge
from tests.hostile.addresses_names import A, NameServer
from tests.hostile.addresses_trap import Trap
from tests.servers.tls import FILE, self_signed
from tests.service import Service

HERE = Path(__file__).parent
TABLE = tomllib.loads((HERE / "addresses.toml").read_text("utf-8"))
KINDS = ("openai", "vllm", "ollama", "gemini")
_ASKED = {"address_refused": KINDS, "reached": ("openai", "ollama")}  # one kind for each httpx at least
KEY = "key-of-the-deployment"
_NETWORK = (
    "ip link set lo up",
    "ip -6 addr add 2606:4700::1/128 dev lo nodad",  # a source for what goes to public addresses
    "ip route add local 0.0.0.0/0 dev lo",
    "ip -6 route add local ::/0 dev lo",
)
_FILES = {
    "resolv.conf": "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n",
    "nsswitch.conf": "hosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
}


def build(folder: Path) -> None:
    """Routes and files of this world; both end with the namespaces."""
    for command in _NETWORK:
        subprocess.run(command.split(), check=True)
    for name, text in _FILES.items():
        (folder / name).write_text(text)
        if Path("/etc", name).exists():
            subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)


class World:
    """The trap and the name server, in a thread with a loop of its own."""

    def __init__(self, folder: Path, photo: bytes) -> None:
        tls = self_signed(folder, "pictures.test", "configured.test")
        self.certificate = folder / FILE
        self.trap, self.names = Trap(photo, tls), NameServer(TABLE["names"])
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True).start()
        assert self._ready.wait(60)

    async def _live(self) -> None:
        await self.names.start()
        await self.trap.start()
        self._ready.set()
        await asyncio.Event().wait()


def environment(world: World, folder: Path) -> dict[str, str]:
    """What must not matter: proxies, a netrc; and keys that must stay where they belong."""
    (folder / ".netrc").write_text("default login someone password netrc-secret\n")
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://10.9.9.9:8080")
    addresses = {f"{kind.upper()}_BASE_URL": "http://configured.test/v1" for kind in ("openai", "vllm")}
    return {
        **proxies,
        **addresses,
        "NO_PROXY": "configured.test",
        "HOME": str(folder),
        "NETRC": str(folder / ".netrc"),
        "SSL_CERT_FILE": str(world.certificate),
        "OLLAMA_HOST": "http://configured.test",
        "GOOGLE_GEMINI_BASE_URL": "http://configured.test",
        **{f"{kind.upper()}_API_KEY": KEY for kind in KINDS},
        "GRAPHCAP_IMAGE_URL_TIMEOUT": "10",
        "GRAPHCAP_TIMEOUT": "60",
    }


class Session:
    """Asks the bridges, and writes down what they said and who was visited meanwhile."""

    def __init__(self, world: World, bridges: dict[str, Bridge]) -> None:
        self.world, self.bridges = world, bridges
        self.rows: list[dict[str, Any]] = []

    def ask(self, policy: str, door: str, subject: str, kind: str = "", **expected: Any) -> dict[str, Any]:
        before, began = len(self.world.trap.visits), time.monotonic()
        status, code, detail = self.bridges[policy].send(door, subject, kind)
        visits = [] if expected["reach"] is None else self.world.trap.visits[before:]  # None: others ask meanwhile
        row = {
            "id": " ".join(filter(None, (policy, door, kind, subject))),
            "status": status,
            "code": code,
            "detail": detail,
            "seconds": time.monotonic() - began,
            "visits": [asdict(one) | {"sent": one.sent.decode("latin-1")} for one in visits],
            **expected,
        }
        self.rows.append(row)
        return row

    def ask_all(self) -> dict[str, Any]:
        """Ask with every image URL and every base URL."""
        for policy, url, expected in pictures():
            self.ask(policy, "caption", url, **expected)
        for url in TABLE["telling"]["pictures"]:
            for door in ("analyze", "socket", "openai"):
                self.ask("public", door, url, verdict="address_refused", reach=[])
        facts = {"silent": self.silent_names(), "rebind_asked": self.world.names.asked["rebind.test", A]}
        for policy, door, kind, url, expected in bases():
            self.ask(policy, door, url, kind, **expected)
        return facts

    def silent_names(self) -> dict[str, Any]:
        """How long a good name, and a configured provider, take beside many that nobody answers."""
        self.ask("public", "models", "", "vllm", verdict="reached", reach=None)  # loads its SDK
        with ThreadPoolExecutor(20) as together:
            url = "http://silent.test/?{}"
            hanging = [
                together.submit(self.ask, "public", "caption", url.format(n), verdict="image_unreachable", reach=None)
                for n in range(16)
            ]
            while self.world.names.asked["silent.test", A] < 16:
                time.sleep(0.01)
            good = self.ask("public", "caption", "http://other.test/a.jpg", verdict="ok", reach=None)
            own = self.ask("public", "models", "", "vllm", verdict="reached", reach=None)
            return {"good": good["seconds"], "own": own["seconds"], "hanging": [one.result() for one in hanging]}


def pictures() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every image URL under every policy: (policy, url, what is expected)."""
    for group in TABLE["hosts"]:
        for host, address in group["hosts"].items():
            for policy in ("public", "allow", "listed", "off"):
                default = group["public"] if policy in ("public", "allow") else "address_refused"
                yield policy, f"http://{host}/a.jpg", hoped(group.get(policy, default), address)
    for one in TABLE["urls"]:
        for policy in ("public", "allow", "listed", "off"):
            if policy in one:
                yield policy, one["url"], {"verdict": one[policy], "reach": one.get("reach", [])}


def hoped(verdict: str, address: str) -> dict[str, Any]:
    """What is expected of a host: it is visited only where it may be."""
    return {"verdict": verdict, "reach": [address] if {"ok", "reached"} & set(verdict.split("|")) else []}


def bases() -> Iterator[tuple[str, str, str, str, dict[str, Any]]]:
    """Every base URL for every kind: (policy, door, kind, url, what is expected)."""
    policies = {"public": "any", "listed": "closed", "off": "none"}
    for group in TABLE["hosts"]:
        for host, address in group["hosts"].items():
            for policy, name in policies.items():
                verdict = "provider_not_allowed" if name == "none" else group.get(name, "provider_not_allowed")
                for kind in _ASKED.get(verdict, ("openai",)):
                    yield policy, "chat", kind, f"http://{host}", hoped(verdict, address)
    for one in TABLE["bases"]:
        for policy, name in policies.items():
            for kind in KINDS if name in one else ():
                expected = {"verdict": one[name], "reach": one.get("reach", []), "keyed": one.get("keyed", False)}
                yield policy, "chat", kind, one["url"], expected
    for url, verdicts in TABLE["telling"]["bases"].items():
        for policy, verdict in zip(policies, verdicts, strict=True):
            for kind in KINDS:
                for door in ("models", "test", "chat socket", "fallback"):
                    yield policy, door, kind, url, {"verdict": verdict, "reach": []}


def main(folder: Path) -> None:
    build(folder)
    world = World(folder, (HERE.parent / "contract" / "photo.jpg").read_bytes())
    shared = environment(world, folder)
    with ExitStack() as stack:
        policies = TABLE["policies"].items()
        started = {name: stack.enter_context(Service(**shared, **settings)) for name, settings in policies}
        session = Session(world, {name: Bridge(one.url) for name, one in started.items()})
        facts = session.ask_all()
    logs = "".join(one.log for one in started.values())
    results = {"rows": session.rows, "facts": facts, "log": logs}
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    os.environ.pop("PYTHONASYNCIODEBUG", None)
    main(Path(sys.argv[1]))

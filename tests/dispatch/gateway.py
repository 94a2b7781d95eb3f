"""The service in front of several model servers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers import OpenAIServer
from tests.service import Service

MODEL = "tiny-vision"
GUARD = 60.0
STOPPED = "http://127.0.0.1:9/v1"  # an address where nothing listens: not a free port, which another test may take
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAALUlEQVR4nGM8EaDBQEvA"
    "RFPTRy0YtWDUglELRi0YtWDUglELRi0YtWDUAioCALcwAYDnb9udAAAAAElFTkSuQmCC"
)
Begin = Callable[..., "asyncio.Task[httpx.Response]"]


@contextmanager
def gateway(workspace: Path, toml: str, **environment: Any) -> Iterator[Service]:
    """Start the service with this providers.toml."""
    (workspace / "config").mkdir()
    (workspace / "config" / "providers.toml").write_text(toml)
    with Service(workspace=workspace, **environment) as service:
        yield service


@contextmanager
def servers(count: int, **options: Any) -> Iterator[list[OpenAIServer]]:
    """Start `count` vLLM servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(OpenAIServer("vllm", **options)) for _ in range(count)]


def revived(port: int) -> OpenAIServer:
    """Return a server on a port that another one had before."""
    server = OpenAIServer("vllm")
    server.port = port
    return server


def provider(name: str, *endpoints: str, **keys: str) -> str:
    """Return a table of providers.toml; `endpoints` are inline tables or addresses, `keys` values as TOML."""
    listed = ", ".join(item if item.startswith("{") else f'"{item}"' for item in endpoints)
    values = {"kind": '"vllm"', "default_model": f'"{MODEL}"', "probe_interval": "0", **keys}
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    return f"[providers.{name}]\n{lines}endpoints = [{listed}]\n\n"


def fields(provider: str | None, **more: Any) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": {"base64": PIXEL}, "provider": provider, **more}


def ask(service: Service, provider: str | None, accept: str = "application/json", **more: Any) -> httpx.Response:
    """Request one caption."""
    url = f"{service.url}/perspectives/caption"
    body = fields(provider, **more)
    return httpx.post(url, json=body, headers={"Accept": accept}, timeout=GUARD, trust_env=False)


def tried(answer: httpx.Response) -> list[tuple[str, str]]:
    """Return endpoint and outcome of each attempt."""
    assert answer.status_code == 200, answer.text
    return [(attempt["endpoint"], attempt["outcome"]) for attempt in answer.json()["attempts"]]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error."""
    return answer.status_code, answer.json()["code"]


def health(service: Service, provider: str) -> dict[str, Any]:
    """Return what /health reports of a provider, its endpoints by name."""
    providers = service.get("/health").json()["providers"]
    (entry,) = (entry for entry in providers if entry["name"] == provider)
    return {**entry, "endpoints": {endpoint["name"]: endpoint for endpoint in entry["endpoints"]}}


@asynccontextmanager
async def client(service: Service, address: str = "127.0.0.1") -> AsyncIterator[Begin]:
    """Yield a function that starts a caption without waiting for it; `address`: of the client."""
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_connections=200))
    async with httpx.AsyncClient(base_url=service.url, timeout=GUARD, transport=transport) as http:

        def begin(provider: str, **more: Any) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(http.post("/perspectives/caption", json=fields(provider, **more)))

        yield begin

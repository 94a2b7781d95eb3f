"""A running service with several model servers, and a client for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.guard import GUARD
from tests.servers import OpenAIServer
from tests.service import Service

MODEL = "tiny-vision"
STOPPED = "http://127.0.0.1:9/v1"  # nothing listens on port 9; another test could take a free port
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


def restarted(port: int) -> OpenAIServer:
    """Return a server on the port of a stopped one."""
    server = OpenAIServer("vllm")
    server.port = port
    return server


def provider(name: str, *endpoints: str, **keys: str) -> str:
    """Return a table for providers.toml; `endpoints` are inline tables or base URLs, `keys` have TOML values."""
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


def attempts_of(answer: httpx.Response) -> list[tuple[str, str]]:
    """Return the endpoint and the outcome of each attempt."""
    assert answer.status_code == 200, answer.text
    return [(attempt["endpoint"], attempt["outcome"]) for attempt in answer.json()["attempts"]]


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error."""
    return answer.status_code, answer.json()["code"]


def health(service: Service, provider: str) -> dict[str, Any]:
    """Return the entry of a provider in /health, with its endpoints by name."""
    providers = service.get("/health").json()["providers"]
    (entry,) = (entry for entry in providers if entry["name"] == provider)
    return {**entry, "endpoints": {endpoint["name"]: endpoint for endpoint in entry["endpoints"]}}


@asynccontextmanager
async def client(service: Service, address: str = "127.0.0.1") -> AsyncIterator[Begin]:
    """Yield a function that starts a caption and returns its task; `address`: local address of the client."""
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_connections=200))
    async with httpx.AsyncClient(base_url=service.url, timeout=GUARD, transport=transport) as http:

        def begin(provider: str, **more: Any) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(http.post("/perspectives/caption", json=fields(provider, **more)))

        yield begin

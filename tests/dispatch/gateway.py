"""The real service before several model servers, and what tests ask of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers import OpenAIServer
from tests.service import Service

MODEL = "tiny-vision"
_HANG_GUARD = 20.0
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAALUlEQVR4nGM8EaDBQEvA"
    "RFPTRy0YtWDUglELRi0YtWDUglELRi0YtWDUAioCALcwAYDnb9udAAAAAElFTkSuQmCC"
)


@contextmanager
def gateway(workspace: Path, toml: str, **environment: str) -> Iterator[Service]:
    """The service with this providers.toml."""
    (workspace / "config").mkdir()
    (workspace / "config" / "providers.toml").write_text(toml)
    with Service(workspace=workspace, **environment) as service:
        yield service


@contextmanager
def servers(count: int, **options: Any) -> Iterator[list[OpenAIServer]]:
    """So many vLLM servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(OpenAIServer("vllm", **options)) for _ in range(count)]


def stopped() -> str:
    """An address where nobody listens, nor will: no port that was free once."""
    return "http://127.0.0.1:9/v1"


def revived(port: int) -> OpenAIServer:
    """A server on a port that one had before."""
    server = OpenAIServer("vllm")
    server.port = port
    return server


def provider(name: str, *endpoints: str, **keys: str) -> str:
    """A table of providers.toml; `endpoints` are inline tables or addresses, `keys` values as TOML."""
    listed = ", ".join(one if one.startswith("{") else f'"{one}"' for one in endpoints)
    given = {"kind": '"vllm"', "default_model": f'"{MODEL}"', "probe_interval": "0", **keys}
    lines = "".join(f"{key} = {value}\n" for key, value in given.items())
    return f"[providers.{name}]\n{lines}endpoints = [{listed}]\n\n"


def fields(provider: str, **more: Any) -> dict[str, Any]:
    return {"perspective": "alt_text", "image": {"base64": PIXEL}, "provider": provider, **more}


def ask(service: Service, provider: str, **more: Any) -> httpx.Response:
    """One caption; `headers` among `more` are headers."""
    headers = more.pop("headers", {})
    url = f"{service.url}/perspectives/caption"
    return httpx.post(url, json=fields(provider, **more), headers=headers, timeout=_HANG_GUARD, trust_env=False)


def tried(answer: httpx.Response) -> list[tuple[str, str]]:
    """Endpoint and outcome of each call."""
    assert answer.status_code == 200, answer.text
    return [(one["endpoint"], one["outcome"]) for one in answer.json()["attempts"]]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def health(service: Service, provider: str) -> dict[str, Any]:
    """What /health says of a provider, its endpoints by name."""
    told = httpx.get(f"{service.url}/health", trust_env=False).json()["providers"]
    (found,) = (one for one in told if one["name"] == provider)
    return {**found, "endpoints": {one["name"]: one for one in found["endpoints"]}}


def until(condition: Callable[[], bool], guard: float = _HANG_GUARD) -> None:
    """Ask again and again until it is so, for `guard` seconds."""
    end = time.monotonic() + guard
    while not condition():
        assert time.monotonic() < end, "it never came to that"


@asynccontextmanager
async def client(
    service: Service, guard: float = _HANG_GUARD
) -> AsyncIterator[Callable[..., "asyncio.Task[httpx.Response]"]]:
    """Many captions at once: each call of it begins one."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=service.url, timeout=guard, trust_env=False, limits=limits) as http:

        def begin(provider: str, **more: Any) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(http.post("/perspectives/caption", json=fields(provider, **more)))

        yield begin

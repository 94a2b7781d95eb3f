"""`/health`, `/info`, and for orchestrators `/livez` and `/readyz`."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bridge.api import answers
from bridge.api.drain import Drain
from bridge.api.state import services
from bridge.api.wire import Health
from bridge.captioning.services import Services
from bridge.telemetry import tracing
from bridge.version import __version__

router = APIRouter(tags=["service"])
probes = APIRouter(tags=["service"], include_in_schema=False)


@router.get("/health", response_model=Health)
async def health(request: Request) -> Response:
    """Say that the process serves, and what the last probe of each provider found, of those in `providers.toml`."""
    return answers.json(Health(version=__version__, providers=request.app.state.probes.report()))


@router.get("/info")
async def info(request: Request) -> Response:
    """Tell version, library, modules, limits, settings and what could not be loaded; no secrets."""
    return JSONResponse(describe(services(request)))


@probes.get("/livez")
async def livez() -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@probes.get("/readyz")
async def readyz(request: Request) -> Response:
    """Work is taken: the library is loaded before the service listens, and it is not about to end."""
    drain: Drain = request.scope["state"]["drain"]
    if drain.begun.is_set():
        return JSONResponse({"status": "shutting down"}, 503)
    return JSONResponse({"status": "ok"})


def describe(found: Services) -> dict[str, Any]:
    """What this instance is made of."""
    settings, catalog = found.settings, found.catalog
    return {
        "version": __version__,
        "default_provider": settings.provider,
        "perspectives": [
            {
                "name": one.name,
                "module": one.module,
                "version": one.version,
                "digest": one.digest,
                "source": "/".join(Path(one.source).parts[-2:]),
            }
            for one in catalog.all()
        ],
        "modules": [{"name": one.name, "enabled": one.enabled} for one in catalog.modules()],
        "problems": [
            {"file": one.place, "pointer": one.pointer, "message": one.message, "severity": one.severity}
            for one in catalog.problems
        ],
        "providers": list(found.targets.configured.providers),
        "limits": {
            "image_bytes": settings.max_image_bytes,
            "image_pixels": settings.max_image_pixels,
            "body_bytes": settings.body_limit,
            "timeout_seconds": settings.timeout,
            "provider_timeout_seconds": settings.provider_timeout or None,
            "grace_seconds": settings.grace,
            "in_flight": settings.max_in_flight,
            "rate": settings.rate_limit or None,
            "queue": settings.max_queue,
            "socket_requests": settings.max_socket_requests,
            "request_providers": settings.base_url_policy,
            "image_urls": settings.image_urls,
        },
        "settings": {
            "workers": settings.workers,
            "model": settings.model or None,
            "api_keys": bool(settings.api_keys),
            "cors_origins": list(settings.cors_origins) or None,
            "log": settings.log,
            "log_level": settings.log_level,
            "tracing": tracing.is_on(),
        },
    }

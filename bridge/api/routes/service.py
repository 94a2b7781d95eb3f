"""`/health`, `/info` and `/metrics`, and the probes `/livez` and `/readyz`."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from bridge.api.drain import Drain
from bridge.api.middleware.request_context import services
from bridge.api.responses import json_response
from bridge.api.schemas import EndpointCounts, Health
from bridge.telemetry import metrics, tracing
from bridge.version import __version__
from providers.local_models import digest

router = APIRouter(tags=["service"])
probes = APIRouter(tags=["service"], include_in_schema=False)
_GAUGES_SECONDS = 1.0
_ONE_WORKER = b"# WARNING: metrics of one worker of several; there is no writable directory to share them in.\n"


@router.get("/health", response_model=Health)
async def health(request: Request) -> Response:
    """Report that the service runs, the last probe of each provider of `providers.toml`, and the embedded engines."""
    providers = request.app.state.probes.report()
    counts = count_endpoints([endpoint for provider in providers for endpoint in provider["endpoints"]])
    for provider in providers:
        provider["endpoint_counts"] = count_endpoints(provider["endpoints"]).model_dump()
    engines = await services(request).engines.report()
    body = {"version": __version__, "endpoint_counts": counts, "providers": providers, "engines": engines}
    return json_response(Health.model_validate(body))


def _digest(file: str) -> str | None:
    """Return the sha256 of a model's file, None if the file can no longer be read."""
    try:
        return digest(Path(file))
    except OSError:
        return None


def count_endpoints(endpoints: list[dict[str, Any]]) -> EndpointCounts:
    """Count the endpoints in a report by state: their last probe and their circuit breaker."""
    states = ["down" if endpoint.get("breaker") == "open" else endpoint["status"] for endpoint in endpoints]
    return EndpointCounts(total=len(states), healthy=states.count("up"), unhealthy=states.count("down"))


@probes.get("/livez")
async def livez() -> Response:
    """Report that the process responds."""
    return JSONResponse({"status": "ok"})


@probes.get("/readyz")
async def readyz(request: Request) -> Response:
    """Report whether new work is accepted. The status is 503 from the start of a shutdown."""
    drain: Drain = request.scope["state"]["drain"]
    if drain.begun.is_set():
        return JSONResponse({"status": "shutting down"}, 503)
    return JSONResponse({"status": "ok"})


@probes.get("/metrics")
async def scrape(request: Request) -> Response:
    """Return every metric in Prometheus' text format."""
    update_gauges(request.app)
    text = await asyncio.to_thread(metrics.exposition) if metrics.SHARED else metrics.exposition()
    alone = services(request).settings.workers > 1 and not metrics.SHARED
    return Response(_ONE_WORKER + text if alone else text, media_type=metrics.MEDIA_TYPE)


async def update_shared_gauges(app: FastAPI) -> None:
    """Update this worker's gauges every second, because another worker may answer the scrape."""
    while metrics.SHARED:
        update_gauges(app)
        await asyncio.sleep(_GAUGES_SECONDS)


def update_gauges(app: FastAPI) -> None:
    """Set the state of the providers that are in `providers.toml` or had calls."""
    services = app.state.services
    explicit = services.targets.configured.explicit
    status = {provider["name"]: provider["status"] for provider in app.state.probes.report()}
    for name, queue in services.dispatcher.queues.items():
        if name not in explicit and not any(endpoint.calls for endpoint in queue.endpoints):
            continue
        metrics.QUEUE.labels(name).set(queue.queued)
        for endpoint in queue.endpoints:
            metrics.CALLING.labels(name, endpoint.name).set(endpoint.in_flight)
            metrics.BREAKER.labels(name, endpoint.name).set(metrics.BREAKER_STATES.index(endpoint.breaker.state))
        if status.get(name) in ("up", "down"):
            metrics.UP.labels(name).set(status[name] == "up")


@router.get("/info")
async def info(request: Request) -> Response:
    """Report version, perspectives, modules, limits, settings and unusable perspective files. Contains no secrets."""
    resources = services(request)
    settings, catalog = resources.settings, resources.catalog
    content = {
        "version": __version__,
        "default_provider": settings.provider,
        "perspectives": [
            {
                **{key: getattr(perspective, key) for key in ("name", "module", "version", "digest")},
                "source": "/".join(Path(perspective.source).parts[-2:]),
            }
            for perspective in catalog.all()
        ],
        "modules": [{"name": module.name, "enabled": module.enabled} for module in catalog.modules()],
        "problems": [
            {"file": problem.place, **{key: getattr(problem, key) for key in ("pointer", "message", "severity")}}
            for problem in catalog.problems
        ],
        "providers": list(resources.targets.configured.providers),
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
            "api_keys": bool(settings.keys),
            "allowed_hosts": list(settings.allowed_hosts) or None,
            "cors_origins": list(settings.cors_origins) or None,
            "log": settings.log,
            "log_level": settings.log_level,
            "tracing": tracing.is_on(),
        },
    }
    digests = [
        {"model": engine["model"], "sha256": await asyncio.to_thread(_digest, engine["file"])}
        for engine in await resources.engines.report()
    ]
    return JSONResponse({**content, "engines": digests})

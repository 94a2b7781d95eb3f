"""`/metrics`: the metrics of the service, of all its workers together."""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response

from bridge.telemetry import metrics

router = APIRouter(include_in_schema=False)
_INTERVAL = 1.0
_UP = {"up": True, "down": False}
_ONE_WORKER = b"# WARNING: metrics of one worker of several; there is no writable directory to share them in.\n"


@router.get("/metrics")
async def scrape(request: Request) -> Response:
    """Return every metric in Prometheus' text format."""
    update_gauges(request.app)
    text = await asyncio.to_thread(metrics.exposition) if metrics.SHARED else metrics.exposition()
    alone = request.app.state.services.settings.workers > 1 and not metrics.SHARED
    return Response(_ONE_WORKER + text if alone else text, media_type=metrics.MEDIA_TYPE)


async def update_shared_gauges(app: FastAPI) -> None:
    """Update this worker's gauges every second, for a scrape that another worker answers, until cancelled."""
    while metrics.SHARED:
        update_gauges(app)
        await asyncio.sleep(_INTERVAL)


def update_gauges(app: FastAPI) -> None:
    """Set the state of the providers that `providers.toml` names, or that had calls."""
    services = app.state.services
    explicit = services.targets.configured.explicit
    status = {provider["name"]: _UP.get(provider["status"]) for provider in app.state.probes.report()}
    for report in services.dispatcher.report():
        if report.provider not in explicit and not any(endpoint.calls for endpoint in report.endpoints):
            continue
        metrics.QUEUE.labels(report.provider).set(report.queued)
        for endpoint in report.endpoints:
            names = report.provider, endpoint.endpoint
            metrics.CALLING.labels(*names).set(endpoint.in_flight)
            metrics.BREAKER.labels(*names).set(metrics.BREAKER_STATES.index(endpoint.breaker))
        up = status.get(report.provider)
        if up is not None:
            metrics.UP.labels(report.provider).set(up)

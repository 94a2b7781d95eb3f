"""`/metrics`: the figures of this service, of all its workers together."""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response

from bridge.telemetry import metrics
from bridge.telemetry.metrics import Load

router = APIRouter(include_in_schema=False)
_INTERVAL = 1.0
_UP = {"up": True, "down": False}
_ONE_OF_MANY = b"# WARNING: figures of one worker of several; /dev/shm takes no files, so they cannot be added up.\n"


@router.get("/metrics")
async def scrape(request: Request) -> Response:
    """Tell every figure in Prometheus' text form."""
    gauges(request.app)
    text = await asyncio.to_thread(metrics.exposition) if metrics.SHARED else metrics.exposition()
    alone = request.app.state.services.settings.workers > 1 and not metrics.SHARED
    return Response(_ONE_OF_MANY + text if alone else text, media_type=metrics.MEDIA_TYPE)


async def watch(app: FastAPI) -> None:
    """Keep the gauges of this worker fresh for the others, one of which is asked, until cancelled."""
    while metrics.SHARED:
        gauges(app)
        await asyncio.sleep(_INTERVAL)


def gauges(app: FastAPI) -> None:
    """Set what is measured when it is looked at: of providers that `providers.toml` names, or that had calls."""
    services = app.state.services
    explicit = services.targets.configured.explicit
    up = {one["name"]: _UP.get(one["status"]) for one in app.state.probes.report()}
    metrics.loads(
        Load(one.provider, one.queued, tuple(one.endpoints), up.get(one.provider))
        for one in services.dispatcher.report()
        if one.provider in explicit or any(endpoint.calls for endpoint in one.endpoints)
    )

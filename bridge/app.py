"""The composition root: opens what captions share, mounts the routes, tells every error in one shape."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from bridge import errors
from bridge.api import answers, document, health, metrics, openai, pages, perspectives, providers, stream
from bridge.api.auth import Guard
from bridge.api.drain import Drain
from bridge.api.frame import Frame, LastResort, clean_root
from bridge.api.limits import Limited
from bridge.api.origins import cors
from bridge.api.rates import Rated, Rates
from bridge.api.state import request_id, services
from bridge.captioning import problems
from bridge.captioning.check import name_models
from bridge.captioning.services import Services, open_services
from bridge.dispatch.probes import Probes
from bridge.settings import Settings, load
from bridge.telemetry import quiet_libraries, tracing
from bridge.version import __version__

log = logging.getLogger("graphcap")
API = "/api/v1"


def create_app(settings: Settings | None = None, drain: Drain | None = None) -> ASGIApp:
    """The ASGI application; `drain` is how who runs it ends it. Raises SettingsError when there are mistakes."""
    settings = settings or load()
    quiet_libraries()
    rates = Rates(settings)
    limited = Limited(build(settings), settings.max_in_flight, drain or Drain())
    return Frame(cors(LastResort(Guard(Rated(limited, rates), settings, rates)), settings), settings.root_path)


def build(settings: Settings) -> FastAPI:
    """Routes, problem handlers and the document, without the layers around them."""
    app = FastAPI(
        title="graphcap bridge",
        version=__version__,
        summary="One image, one perspective, one vision model: one caption that fits the schema.",
        lifespan=_lifespan(settings),
        root_path=clean_root(settings.root_path),
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry={"auto_configure": tracing.is_configured(), "logs": False, "operation_spans": False},
    )
    for router in (perspectives.router, stream.router, providers.router, health.router):
        app.include_router(router, prefix=API)
        app.include_router(router, include_in_schema=False)
    app.include_router(health.probes)
    app.include_router(pages.router)
    app.include_router(metrics.router)
    app.include_router(openai.router)
    for error in (*errors.TABLE, Exception):
        app.add_exception_handler(error, _problem)
    app.add_exception_handler(HTTPException, _no_route)
    document.install(app)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings, tells_addresses=settings.loopback) as services:
            for one in services.catalog.problems:
                log.warning("perspective file %s", one)
            app.state.services = services
            app.state.probes = probes = probes_of(services)
            watching = [asyncio.create_task(one) for one in (probes.run(), metrics.watch(app))]
            trace()
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.gather(*watching, return_exceptions=True)

    return lifespan


def trace() -> None:
    """Write spans where OpenTelemetry was set up: by FastAPI just now from OTEL_*, or by whoever started us."""
    if tracing.is_configured() and tracing.is_missing():
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra 'otel' is not installed: nothing is exported.")
    tracing.turn_on(__version__)


def probes_of(services: Services) -> Probes:
    """Probes of what is stated; what the environment implies is told of and not called unasked."""
    named = sorted({"builtin"} | services.targets.configured.stated)
    return Probes(services.dispatcher, tuple(named))


async def _problem(request: Request, error: Exception) -> Response:
    error = await name_models(error, services(request))
    return answers.failure(request, problems.from_error(error, request_id(request)))


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    row = errors.NO_METHOD if error.status_code == 405 else errors.NO_ROUTE
    sentence = (
        f"{request.method} is not offered here; see /docs for what is."
        if error.status_code == 405
        else "There is nothing at this address; see /docs for what there is."
    )
    response = answers.failure(request, problems.from_row(row, sentence, request_id(request)))
    response.headers.update(error.headers or {})
    return response

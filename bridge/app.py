"""Create the ASGI application: open the services, add routes and middleware, and render errors as problems."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from bridge import errors
from bridge.api import openapi, responses
from bridge.api.drain import Drain
from bridge.api.middleware.auth import cors
from bridge.api.middleware.concurrency import AdmissionMiddleware
from bridge.api.middleware.request_context import API, RequestContextMiddleware, record_of, services
from bridge.api.routes import openai, pages, perspectives, providers, service, websocket
from bridge.captioning import problems
from bridge.captioning.check import with_known_models
from bridge.captioning.services import open_services, service_engines
from bridge.dispatch.probes import Probes
from bridge.settings import Settings, load
from bridge.telemetry import tracing
from bridge.telemetry.logging import silence_libraries
from bridge.version import __version__
from providers.local_supervisor import Engines

log = logging.getLogger("graphcap")


def create_app(settings: Settings | None = None, drain: Drain | None = None, engines: Engines | None = None) -> ASGIApp:
    """Create the ASGI application, by default with the settings of the environment. Raises SettingsError.

    `engines`: by default those of this process.
    """
    settings = settings or load()
    silence_libraries()
    app = AdmissionMiddleware(build(settings, engines), settings, drain or Drain())
    return RequestContextMiddleware(cors(app, settings), settings.root_path)


def build(settings: Settings, engines: Engines | None = None) -> FastAPI:
    """Create the application with its routes, exception handlers and OpenAPI document, but without middleware."""
    app = FastAPI(
        title="graphcap bridge",
        version=__version__,
        summary="One image, one perspective, one vision model: one caption that fits the schema.",
        description=openapi.DESCRIPTION,
        lifespan=partial(_lifespan, settings, engines or service_engines(settings)),
        root_path=settings.root_path,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,
        openapi_url="/openapi.json" if settings.docs == "on" else None,
        docs_url=None,
        redoc_url=None,
        exception_handlers={**dict.fromkeys((*errors.TABLE, Exception), _handle_error), HTTPException: _handle_http},
        telemetry={"auto_configure": True, "logs": False, "operation_spans": False},
    )
    for router in (perspectives.router, websocket.router, providers.router, service.router):
        app.include_router(router, include_in_schema=False)
        app.include_router(router, prefix=API)
    for router in (service.probes, openai.router):
        app.include_router(router)
    pages.add_pages(app, settings)
    app.openapi = cache(partial(openapi.build, app))  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, engines: Engines, app: FastAPI) -> AsyncIterator[None]:
    """Open the services. Run the probes and update the gauges until the application ends."""
    async with open_services(settings, shows_addresses=settings.loopback, engines=engines) as services:
        for problem in services.catalog.problems:
            log.warning("perspective file %s", problem)
        names = sorted({"builtin"} | services.targets.configured.stated)
        app.state.services = services
        app.state.probes = probes = Probes(services.dispatcher, tuple(names))
        tasks = [asyncio.create_task(work) for work in (probes.run(), service.update_shared_gauges(app))]
        tracing.turn_on(__version__)
        gc.freeze()  # the objects of the startup stay, so that no collection looks at them
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _handle_error(request: Request, error: Exception) -> Response:
    error = await with_known_models(error, services(request))
    record = record_of(request)
    return responses.problem_response(request, problems.from_error(error, record.run or record.id))


async def _handle_http(request: Request, error: HTTPException) -> Response:
    row, text = errors.NO_ROUTE, "This path does not exist."
    if error.status_code == 405:
        row, text = errors.NO_METHOD, f"This path does not support {request.method}."
    detail = f"{text} /docs describes the API." if request.app.openapi_url else text
    response = responses.problem_response(request, problems.from_row(row, detail, record_of(request).id))
    response.headers.update(error.headers or {})
    return response

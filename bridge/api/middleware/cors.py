"""CORS headers on every response, errors included; never with credentials."""

import logging

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bridge.settings import Settings

log = logging.getLogger("graphcap")
EXPOSED_HEADERS = (
    *("X-Request-ID", "Server-Timing", "Retry-After", "X-Should-Retry", "X-Request-Begun"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"),
)
LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"


def cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return `app` with CORS for the listed origins, or for those of this machine when none is listed."""
    origins = list(settings.cors_origins)
    if "*" in origins:
        log.warning("GRAPHCAP_CORS_ORIGINS is *: every web page can use this service from its visitor's browser.")
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_origin_regex=None if origins else LOCAL_ORIGIN,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[*EXPOSED_HEADERS],
        max_age=600,
    )

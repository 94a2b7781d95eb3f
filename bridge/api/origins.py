"""Which web pages may call: CORS headers on every answer, errors included; never with credentials."""

import logging

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bridge.settings import Settings

log = logging.getLogger("graphcap")
_EXPOSED = (
    *("X-Request-ID", "Server-Timing", "Retry-After", "X-Should-Retry", "X-Request-Begun"),
    *("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy"),
)
LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"


def cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Wrap `app`: the listed origins may call, or those of this machine when none is listed."""
    listed = list(settings.cors_origins)
    if "*" in listed:
        log.warning("GRAPHCAP_CORS_ORIGINS is *: every web page may use this service from its visitor's browser.")
    return CORSMiddleware(
        app,
        allow_origins=listed,
        allow_origin_regex=None if listed else LOCAL,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[*_EXPOSED],
        max_age=600,
    )

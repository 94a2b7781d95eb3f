"""`/docs`: Swagger UI, served from this process so that it works offline."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)
_STATIC = Path(__file__).parent.parent / "static"
_HEADERS = {
    # Swagger UI 5 sets styles on its elements and has images as data URIs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


def _find_files() -> dict[str, Path]:
    """Return the files of the page: Swagger UI from fastapi-offline, and the script that starts it."""
    package = find_spec("fastapi_offline")
    assert package is not None
    assert package.origin is not None
    swagger = Path(package.origin).parent / "static"
    names = ("swagger-ui.css", "swagger-ui-bundle.js")
    return {**{name: swagger / name for name in names}, "docs.js": _STATIC / "docs.js"}


_FILES = _find_files()


@router.get("/")
async def root(request: Request) -> Response:
    """Redirect to the API documentation."""
    return RedirectResponse(f"{request.scope['root_path']}/docs", 307)


@router.get("/docs")
async def docs() -> Response:
    """Show the API documentation."""
    return FileResponse(_STATIC / "docs.html", headers=_HEADERS)


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """Send a file of the page."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_FILES[name], headers=_HEADERS)

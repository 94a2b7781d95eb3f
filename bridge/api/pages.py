"""The pages for people: the API in a browser, without any script from elsewhere."""

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)
_OURS = Path(__file__).parent / "static"
_HEADERS = {
    # Swagger UI 5 sets styles on its elements and shows pictures of its own as data.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}


def _files() -> dict[str, Path]:
    """What the page loads: Swagger UI as fastapi-offline carries it, and our own start of it."""
    package = find_spec("fastapi_offline")
    assert package is not None
    assert package.origin is not None
    theirs = Path(package.origin).parent / "static"
    named = {name: theirs / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")}
    return {**named, "docs.js": _OURS / "docs.js"}


_FILES = _files()


@router.get("/")
async def root(request: Request) -> Response:
    """A browser that opens the address finds the API."""
    return RedirectResponse(f"{request.scope['root_path']}/docs", 307)


@router.get("/docs")
async def docs() -> Response:
    """The API, to read and to try."""
    return FileResponse(_OURS / "docs.html", headers=_HEADERS)


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """One of the files that the page loads."""
    if name not in _FILES:
        raise HTTPException(404)
    return FileResponse(_FILES[name], headers=_HEADERS)

"""The pages for people: `/` captions photos, `/docs` is Swagger UI. Both are served from this process, offline."""

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

from bridge.settings import Settings

_API = Path(__file__).parent.parent
_STATIC = _API / "static"
_PAGE = _API / "page"
_HEADERS = {
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
_PAGE_HEADERS = {
    **_HEADERS,
    # Trusted Types prevent scripts of the page from turning text into markup.
    "Content-Security-Policy": _POLICY + "style-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}
_DOCS_HEADERS = {
    **_HEADERS,
    # Swagger UI 5 needs inline styles and images in data URIs.
    "Content-Security-Policy": _POLICY + "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_PAGE_FILES = {"bridge.js": _API.parents[1] / "clients/javascript/bridge.js"}  # its place in a checkout
_PAGE_FILES |= {path.name: path for path in _PAGE.iterdir() if path.suffix != ".html"}
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"
_DOCS_FILES = {"docs.js": _STATIC / "docs.js"}  # starts Swagger UI
_DOCS_FILES |= {name: _SWAGGER / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")}


async def page(request: Request) -> Response:
    """Show the page. Its addresses are relative, so the path has to end in a slash."""
    root = request.scope["root_path"]
    if root and request.scope["raw_path"] == root.encode():
        return RedirectResponse(f"{root}/", 307)
    return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)


async def page_file(name: str) -> Response:
    """Send a file of the page."""
    return _send(_PAGE_FILES, name, _PAGE_HEADERS)


async def root(request: Request) -> Response:
    """Redirect to the API documentation."""
    return RedirectResponse(f"{request.scope['root_path']}/docs", 307)


async def docs() -> Response:
    """Show the API documentation."""
    return FileResponse(_STATIC / "docs.html", headers=_DOCS_HEADERS)


async def docs_file(name: str) -> Response:
    """Send a file of the documentation."""
    return _send(_DOCS_FILES, name, _DOCS_HEADERS)


def _send(files: dict[str, Path], name: str, headers: dict[str, str]) -> Response:
    if name not in files:
        raise HTTPException(404)
    return FileResponse(files[name], headers=headers)


def add_pages(app: FastAPI, settings: Settings) -> None:
    """Add the pages that the settings enable. `/` shows the first enabled page or redirects to it."""
    if settings.page == "on":
        app.add_api_route("/", page, include_in_schema=False)
        app.add_api_route("/page/{name}", page_file, include_in_schema=False)
    if settings.docs == "on":
        app.add_api_route("/docs", docs, include_in_schema=False)
        app.add_api_route("/docs/{name}", docs_file, include_in_schema=False)
        app.add_api_route("/", root, include_in_schema=False)

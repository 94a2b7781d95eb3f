"""Normalise base URLs as users write them, such as `localhost:8000` or `https://host/v1/chat/completions`."""

import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from providers.base import Spec


class AddressNotAllowed(Exception):
    """The transport refuses to connect to this address. The message is shown to the caller."""


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
# OpenAI, and for "/messages" Anthropic
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages", "/models")
_NATIVE_ENDPOINTS = ("/api/chat", "/api/generate", "/api/tags", "/api", "/openai")
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_LOCAL_NAMES = (".local", ".lan", ".internal", ".home.arpa")
_PORTS = {"http": 80, "https": 443}
# OLLAMA_HOST=0.0.0.0 is often set for the server. Clients read it too, but cannot connect to 0.0.0.0.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def base_url(spec: Spec, url: str) -> str:
    """Normalise the base URL of a provider. Return "" if `url` is empty. Raises ValueError for an invalid URL.

    For Chat Completions and Messages servers, a version segment (`/v1`) is added if the URL has neither a version nor
    an endpoint. For ollama and gemini, the version segment is removed because their SDKs add it.
    """
    url = url.strip()
    if not url:
        return ""
    default = urlsplit(spec.base_url)
    native = bool(default.netloc) and default.path in ("", "/")
    parts = _parts(url, default, native)
    path = re.sub("/{2,}", "/", parts.path).rstrip("/")
    path = _native_path(path) if native else _versioned_path(path, default.path or "/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def origin(url: str) -> str:
    """Return `scheme://host:port` of an absolute URL, "" for an empty one. Raises ValueError without host or port."""
    if not url:
        return ""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        raise ValueError("The base URL must begin with http:// or https:// and name a host.")
    return f"{parts.scheme}://{_bracketed(parts.hostname)}:{port}"


def shown(url: str) -> str:
    """Return `scheme://host`, and the port if the URL contains one, of a normalised base URL. Used in messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _parts(url: str, default: SplitResult, native: bool) -> SplitResult:
    """Split the URL. No message quotes the URL, which may contain a password."""
    try:
        parts = urlsplit(url if _SCHEME.match(url) else f"//{url.lstrip('/')}")
        assert parts.port is None or parts.port >= 0
    except ValueError:
        raise ValueError("The base URL has an invalid host or port.") from None
    parts = parts if parts.scheme else _with_scheme(parts, default, native)
    _check(url, parts)
    host = _bracketed(_ANY.get(parts.hostname or "", parts.hostname or ""))
    standard = parts.port is None or parts.port == _PORTS[parts.scheme]
    return parts._replace(netloc=host if standard else f"{host}:{parts.port}")


def _with_scheme(parts: SplitResult, default: SplitResult, native: bool) -> SplitResult:
    """Add the missing scheme.

    A URL with a port gets https for port 443 and http for any other port. A local host without a port gets http, and
    the default port of the kind if the kind is a local server. Any other host gets https.
    """
    serves_locally = default.scheme == "http"
    if parts.port is not None:
        return parts._replace(scheme="https" if parts.port == 443 else "http")
    host = parts.hostname or ""
    is_local = _is_address(host) or "." not in host or host.endswith(_LOCAL_NAMES)
    if not is_local and not (native and serves_locally):
        return parts._replace(scheme="https")
    netloc = f"{parts.netloc}:{default.port}" if serves_locally and default.port else parts.netloc
    return parts._replace(scheme="http", netloc=netloc)


def _check(url: str, parts: SplitResult) -> None:
    if parts.scheme not in _PORTS:
        raise ValueError("The base URL must begin with http:// or https://.")
    if not _is_host(parts.hostname or "") or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("The base URL has no valid host.")
    if "@" in parts.netloc:
        raise ValueError("The base URL must not contain a user name or a password. Pass the key as api_key.")
    if parts.query or parts.fragment:
        raise ValueError("The base URL must not contain a query or a fragment.")


def _is_host(name: str) -> bool:
    """Return whether httpx accepts the host name or IP address instead of raising InvalidURL."""
    import idna

    if ":" in name or _NUMBERS.fullmatch(name):
        return _is_address(name)
    try:
        return bool(name if name.isascii() else idna.encode(name.lower()))
    except idna.IDNAError:
        return False


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _versioned_path(path: str, default: str) -> str:
    for endpoint in _ENDPOINTS:
        if path.endswith(endpoint):
            return path.removesuffix(endpoint)
    if not path:
        return default.rstrip("/")
    return path if any(map(_VERSION.fullmatch, path.split("/"))) else f"{path}/v1"


def _native_path(path: str) -> str:
    for endpoint in (*_ENDPOINTS, *_NATIVE_ENDPOINTS):
        path = path.removesuffix(endpoint)
    head, _, last = path.rpartition("/")
    return head if _VERSION.fullmatch(last) else path

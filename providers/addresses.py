"""Base URLs as people write them, in the one form that a client wants.

Written are `api.openai.com`, `localhost:8000`, `http://gpu:8000/v1/`, `https://host/v1/chat/completions`; meant is
a scheme, a host, perhaps a port, and the path under which the protocol's endpoints stand.
"""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from providers.base import Spec


class NotDialled(Exception):
    """Whoever owns the transport does not dial this address; its sentence says why, and is told."""


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/models")
_NATIVE_ENDPOINTS = ("/api/chat", "/api/generate", "/api/tags", "/api")
_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_LOCAL_NAMES = (".local", ".lan", ".internal", ".home.arpa")
_PORTS = {"http": 80, "https": 443}
# What a server listens on is not what a client dials: OLLAMA_HOST=0.0.0.0 is widely set for both.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def normalise(kind: str, url: str) -> str:
    """The base URL of a provider of this kind, as its client wants it; "" stays "".

    Kinds that speak Chat Completions get their version segment when there is none (a URL that ends in an
    endpoint is taken at its word), the native ones (ollama, gemini) lose it: their SDKs add it.
    Raises ValueError, with a sentence, for what is no address; UnknownKind.
    """
    from providers.factory import spec

    return base_url(spec(kind), url)


def base_url(spec: Spec, url: str) -> str:
    """The same for a spec at hand."""
    url = url.strip()
    if not url:
        return ""
    default = urlsplit(spec.base_url)
    native = bool(default.netloc) and default.path in ("", "/")
    parts = _parts(url, default, native)
    path = _native_path(parts.path) if native else _versioned_path(parts.path, default.path or "/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def origin(url: str) -> str:
    """`scheme://host:port` of an absolute URL, the port always told; "" for "". Raises ValueError."""
    if not url:
        return ""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        raise ValueError("The base URL must begin with http:// or https:// and name a host.")
    return f"{parts.scheme}://{_bracketed(parts.hostname)}:{port}"


def shown(url: str) -> str:
    """Where a base URL in a client's form leads, for a sentence: its scheme and host, and a port if it is written."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _parts(url: str, default: SplitResult, native: bool) -> SplitResult:
    parts = _split(url if _SCHEME.match(url) else f"//{url.lstrip('/')}")
    parts = parts if parts.scheme else _guessed(parts, default, native)
    _check(url, parts)
    host = _bracketed(_ANY.get(parts.hostname or "", parts.hostname or ""))
    port = parts.port
    netloc = host if port is None or port == _PORTS[parts.scheme] else f"{host}:{port}"
    return parts._replace(netloc=netloc)


def _split(url: str) -> SplitResult:
    """Raises ValueError without what stands there: it may be a password in the place of a port."""
    try:
        parts = urlsplit(url)
        assert parts.port is None or parts.port >= 0
    except ValueError:
        raise ValueError("The base URL names no host and port that there can be.") from None
    return parts


def _guessed(parts: SplitResult, default: SplitResult, native: bool) -> SplitResult:
    """Without a scheme: a local name is plain http, on the kind's own port if none is given."""
    serves_locally = default.scheme == "http"
    if parts.port is not None:
        return parts._replace(scheme="https" if parts.port == 443 else "http")
    if not (_is_local(parts.hostname or "") or (native and serves_locally)):
        return parts._replace(scheme="https")
    netloc = f"{parts.netloc}:{default.port}" if serves_locally and default.port else parts.netloc
    return parts._replace(scheme="http", netloc=netloc)


def _is_local(host: str) -> bool:
    return _is_address(host) or "." not in host or host.endswith(_LOCAL_NAMES)


def _check(url: str, parts: SplitResult) -> None:
    if parts.scheme not in _PORTS:
        raise ValueError("The base URL must begin with http:// or https://.")
    if not _is_host(parts.hostname or "") or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("The base URL names no host.")
    if "@" in parts.netloc:
        raise ValueError("The base URL must not hold a user name or a password; the key goes into api_key.")
    if parts.query or parts.fragment:
        raise ValueError("The base URL must not hold a query or a fragment.")


def _is_host(name: str) -> bool:
    """Whether it has a form that can be dialled: httpx raises InvalidURL for a name or number that has none."""
    if ":" in name or _NUMBERS.fullmatch(name):
        return _is_address(name)
    if name.isascii():
        return bool(name)
    import idna

    try:
        return bool(idna.encode(name.lower()))
    except idna.IDNAError:
        return False


def _is_address(name: str) -> bool:
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _versioned_path(path: str, default: str) -> str:
    path = _tidy(path)
    for endpoint in _ENDPOINTS:
        if path.endswith(endpoint):
            return path.removesuffix(endpoint)
    if not path:
        return default.rstrip("/")
    versioned = any(_VERSION.fullmatch(segment) for segment in path.split("/"))
    return path if versioned else f"{path}/v1"


def _native_path(path: str) -> str:
    path = _tidy(path)
    for endpoint in (*_NATIVE_ENDPOINTS, *_ENDPOINTS):
        path = path.removesuffix(endpoint)
    head, _, last = path.rpartition("/")
    return head if _VERSION.fullmatch(last) else path


def _tidy(path: str) -> str:
    return re.sub("/{2,}", "/", path).rstrip("/")

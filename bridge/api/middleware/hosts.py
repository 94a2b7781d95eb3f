"""The host names that requests may use."""

from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from bridge.settings import Settings


class AllowedHosts:
    """The host names of GRAPHCAP_ALLOWED_HOSTS.

    Without that setting, a service that listens on a loopback address and has no API keys accepts only names of this
    machine and of listed CORS origins: any other name was rebound by a foreign DNS server. Otherwise every name is
    accepted.
    """

    def __init__(self, settings: Settings) -> None:
        self.configured = bool(settings.allowed_hosts)
        self._names = frozenset(map(host_name, settings.allowed_hosts))
        self._suffixes = tuple(name[1:] for name in self._names if name.startswith("*."))
        self._loopback_only = settings.loopback and not settings.keys and not self.configured
        self._origins = frozenset(urlsplit(origin).hostname or "" for origin in settings.cors_origins)

    def allow(self, host: str) -> bool:
        """Return whether a Host header may have this value."""
        name = host_name(host)
        if self.configured:
            return "*" in self._names or name in self._names or name.endswith(self._suffixes)
        return not self._loopback_only or not host or name in self._origins or _is_loopback(name)


def host_name(host: str) -> str:
    """Return the name without port and brackets, in lower case; "" when it is malformed."""
    try:
        parsed = urlsplit(f"//{host if host.count(':') < 2 or host.startswith('[') else f'[{host}]'}")
        parsed.port  # noqa: B018 (raises ValueError when it is malformed)
    except ValueError:
        return ""
    return (parsed.hostname or "").rstrip(".")


@lru_cache(maxsize=64)
def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False

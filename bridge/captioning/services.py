"""What every caption shares: the library, the configured providers, the pools. Opened once, closed at the end."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal
from urllib.request import getproxies

from bridge import config
from bridge.captioning.clients import Clients
from bridge.config import Configured
from bridge.dispatch.endpoints import Registry
from bridge.dispatch.targets import Targets
from bridge.images.decoder import DecoderPool, heif_is_installed
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.network import AddressPolicy, guarded_httpx, guarded_httpx2, plain_httpx, plain_httpx2
from bridge.settings import PREFIX, Settings, SettingsError, environment, is_network
from perspectives import catalog
from perspectives.catalog import Catalog
from providers.pool import MAX_CONNECTIONS, Pool

_DECODE_SECONDS = 20.0


@dataclass(frozen=True)
class Services:
    """Everything a caption needs beside its request."""

    settings: Settings
    catalog: Catalog
    targets: Targets
    clients: Clients
    endpoints: Registry
    fetcher: Fetcher
    limits: ImageLimits
    decoder: DecoderPool


def configured(settings: Settings) -> Configured:
    """The providers of this deployment. Raises SettingsError with every mistake."""
    mistakes: list[str] = []
    if settings.heif and not heif_is_installed():
        mistakes.append(f"{PREFIX}HEIF: HEIC needs a package; run pip install 'graphcap-bridge[heif]'.")
    try:
        found = config.load(settings.workspace / "config" / "providers.toml", environment(), settings.provider)
    except SettingsError as error:
        raise SettingsError((*mistakes, *error.mistakes)) from None
    if mistakes:
        raise SettingsError(tuple(mistakes))
    return found


def library(settings: Settings) -> Catalog:
    """The perspectives of this deployment: those that ship, the workspace's own, then further directories."""
    own = settings.workspace / "perspectives"
    return catalog.load(
        [catalog.LIBRARY, *([own] if own.is_dir() else []), *settings.perspectives_dir],
        settings.workspace / "config" / "perspective_settings.json",
    )


@asynccontextmanager
async def open_services(settings: Settings, *, tells_addresses: bool = True) -> AsyncIterator[Services]:
    """Load the library, read `providers.toml`, open the pools. Raises SettingsError with every mistake.

    `tells_addresses`: whether errors may name the addresses of configured providers.
    """
    providers = configured(settings)
    decoder = DecoderPool(_image_workers(settings), settings.image_worker_memory, _DECODE_SECONDS)
    if settings.provider == "builtin":
        decoder.start()
    guard = _provider_guard(settings)
    own = _pool(tells_addresses)
    brought = Pool(
        httpx_transport_factory=lambda: guarded_httpx(guard, settings.max_in_flight),
        httpx2_transport_factory=lambda: guarded_httpx2(guard, settings.max_in_flight),
    )
    fetcher = Fetcher(
        _image_guard(settings), timeout=settings.image_url_timeout, max_connections=settings.max_in_flight
    )
    try:
        yield Services(
            settings,
            library(settings),
            Targets(providers, settings, guard),
            Clients(own, brought),
            Registry(providers, settings.max_queue),
            fetcher,
            ImageLimits(
                max_bytes=settings.max_image_bytes,
                max_pixels=settings.max_image_pixels,
                frame=settings.image_frame,
                heif=settings.heif,
            ),
            decoder,
        )
    finally:
        await own.aclose()
        await brought.aclose()
        await fetcher.aclose()
        await decoder.aclose()


def _image_workers(settings: Settings) -> int:
    return settings.image_workers or max(1, (os.cpu_count() or 1) // settings.workers)


def _pool(tells_addresses: bool) -> Pool:
    """The configured providers' connections; httpx's own where the environment names a proxy, since they know of it.

    Ours cost less the more of them are idle (docs/performance.md).
    """
    proxies = getproxies()
    ours = not any(proxies.get(scheme) for scheme in ("http", "https", "all"))
    return Pool(
        httpx_transport_factory=partial(plain_httpx, MAX_CONNECTIONS) if ours else None,
        httpx2_transport_factory=partial(plain_httpx2, MAX_CONNECTIONS) if ours else None,
        tells_addresses=tells_addresses,
    )


def _provider_guard(settings: Settings) -> AddressPolicy:
    return _policy("any_but_metadata" if settings.base_url_policy == "any" else "listed", settings.provider_url_allow)


def _image_guard(settings: Settings) -> AddressPolicy:
    """ "off" is a list with nothing on it."""
    if settings.image_urls == "off":
        return AddressPolicy("listed")
    guard = _policy(settings.image_urls, settings.image_url_allow)
    return replace(guard, ports=frozenset(settings.image_url_ports) or None)


def _policy(mode: Literal["public", "any_but_metadata", "listed"], allow: tuple[str, ...]) -> AddressPolicy:
    """A policy from a list of hosts, addresses and networks."""
    networks = tuple(one for one in allow if is_network(one))
    return AddressPolicy(mode, tuple(one for one in allow if one not in networks), networks)

"""What every caption shares: the library, the configured providers, the pools. Opened once, closed at the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from bridge import config
from bridge.captioning.clients import Clients
from bridge.config import Configured
from bridge.dispatch.endpoints import Registry
from bridge.dispatch.targets import Targets
from bridge.images import heif
from bridge.images.fetch import Fetcher
from bridge.images.limits import ImageLimits
from bridge.network import AddressPolicy, guarded_transport
from bridge.settings import PREFIX, Settings, SettingsError, environment, is_network
from perspectives import catalog
from perspectives.catalog import Catalog
from providers.pool import Pool


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


def configured(settings: Settings) -> Configured:
    """The providers of this deployment. Raises SettingsError with every mistake."""
    mistakes: list[str] = []
    if settings.heif and not heif.available():
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
    guard = _provider_guard(settings)
    own = Pool(tells_addresses=tells_addresses)
    brought = Pool(lambda keepalive: guarded_transport(guard, settings.max_in_flight, keepalive=keepalive))
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
        )
    finally:
        await own.aclose()
        await brought.aclose()
        await fetcher.aclose()


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

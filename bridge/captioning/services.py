"""The objects that exist until the process ends: perspectives, configured providers, connections."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.config.load import load as load_providers
from bridge.config.models import Configured
from bridge.dispatch.call import Dispatcher
from bridge.dispatch.targets import Targets
from bridge.images.decoder import DecoderPool
from bridge.images.limits import ImageLimits
from bridge.network.policy import AddressPolicy, Mode
from bridge.settings import Settings, environment, is_network
from perspectives import catalog
from perspectives.catalog import Catalog
from providers.local import SPEC
from providers.local_supervisor import Engines, EngineSettings
from providers.pool import Pool

if TYPE_CHECKING:
    from bridge.images.fetch import Fetcher

_DECODE_SECONDS = 20.0


@dataclass(frozen=True)
class Services:
    """The objects that all requests share."""

    settings: Settings
    catalog: Catalog
    targets: Targets
    dispatcher: Dispatcher
    fetcher: "Fetcher"
    limits: ImageLimits
    decoder: DecoderPool
    engines: Engines


def configured(settings: Settings) -> Configured:
    """Load the configured providers. Raises SettingsError, which lists every mistake."""
    return load_providers(settings.workspace / "config" / "providers.toml", environment(), settings.provider)


def library(settings: Settings) -> Catalog:
    """Load the perspectives: those shipped with graphcap, those of the workspace, then those of PERSPECTIVES_DIR."""
    own = settings.workspace / "perspectives"
    return catalog.load(
        [catalog.LIBRARY, *([own] if own.is_dir() else []), *settings.perspectives_dir],
        settings.workspace / "config" / "perspective_settings.json",
    )


@asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    shows_addresses: bool = True,
    max_concurrency: int | None = None,
    engines: Engines | None = None,
) -> AsyncIterator[Services]:
    """Load the library, read `providers.toml` and open the connection pools.

    `shows_addresses`: whether errors may name the addresses of configured providers. `max_concurrency`: the most
    concurrent calls to one server; a lower configured limit still applies. `engines`: the llama.cpp processes, by
    default new ones that may load any model file. Raises SettingsError, which lists every mistake.
    """
    from bridge.images.fetch import Fetcher  # these import httpx2 (0.15 s)
    from bridge.network.transport import GuardedTransport

    providers = configured(settings)
    engines = engines or Engines(engine_settings(settings))
    image_workers = settings.image_workers or max(1, (os.cpu_count() or 1) // settings.workers)
    decoder = DecoderPool(image_workers, settings.image_worker_memory, _DECODE_SECONDS)
    if settings.provider == "builtin":
        decoder.start()
    policy = _policy("any_but_metadata" if settings.base_url_policy == "any" else "listed", settings.provider_url_allow)
    dispatcher = Dispatcher(
        providers,
        settings,
        configured_pool=Pool(tells_addresses=shows_addresses, engines=engines),
        caller_pool=Pool(lambda keepalive: GuardedTransport(policy, settings.max_in_flight, keepalive)),
        max_concurrency=max_concurrency,
    )
    fetcher = Fetcher(
        _image_policy(settings), timeout=settings.image_url_timeout, max_connections=settings.max_in_flight
    )
    try:
        yield Services(
            settings,
            library(settings),
            Targets(providers, settings, policy),
            dispatcher,
            fetcher,
            ImageLimits(
                max_bytes=settings.max_image_bytes,
                max_pixels=settings.max_image_pixels,
                frame=settings.image_frame,
                heif=settings.heif,
            ),
            decoder,
            engines,
        )
    finally:
        await dispatcher.aclose()
        await fetcher.aclose()
        await decoder.aclose()


def _image_policy(settings: Settings) -> AddressPolicy:
    """Return the policy for the URLs of images."""
    if settings.image_urls == "off":
        return AddressPolicy("listed")  # an empty list allows no address
    return _policy(settings.image_urls, settings.image_url_allow, frozenset(settings.image_url_ports) or None)


def engine_settings(settings: Settings) -> EngineSettings:
    return EngineSettings(settings.local_idle, settings.local_gpu_layers)


def service_engines(settings: Settings, control: socket.socket | None = None) -> Engines:
    """Return the engines of a service, for known and configured models. `control`: the supervisor's socket, if any."""
    providers = configured(settings)
    local = [config for config in providers.providers.values() if config.kind == SPEC.kind]
    named = {settings.model, *(model for config in local for model in (config.default_model, *config.models))}
    named |= {fallback.model or "" for fleet in providers.fleets.values() for fallback in fleet.fallbacks}
    return Engines(engine_settings(settings), control, paths=frozenset(named))


def _policy(mode: Mode, allow: tuple[str, ...], ports: frozenset[int] | None = None) -> AddressPolicy:
    """Create an AddressPolicy. `allow`: host names, addresses and networks."""
    hosts = tuple(item for item in allow if not is_network(item))
    return AddressPolicy(mode, hosts, tuple(filter(is_network, allow)), ports)

"""Compute the cost of provider calls from the prices in the package `genai-prices`, without network access."""

import asyncio
import sys
from collections.abc import Iterable
from importlib import import_module

from bridge.run import Attempt
from providers.base import Usage

_PACKAGE = "genai_prices"


async def load(attempts: Iterable[Attempt]) -> None:
    """Load the prices if any of the calls may have a price. The first time takes 0.5 s."""
    if _PACKAGE not in sys.modules and any(_may_be_priced(call.address) for call in attempts):
        await asyncio.to_thread(import_module, _PACKAGE)


def cost(attempts: Iterable[Attempt]) -> float | None:
    """Return the sum of the known prices of the calls in US dollars, or None if no price is known."""
    prices = [price(call.address, call.response_model or call.model, call.usage) for call in attempts]
    known = [amount for amount in prices if amount is not None]
    return sum(known) if known else None


def price(address: str, model: str, usage: Usage | None) -> float | None:
    """Return the price of one call to the server at `address` in US dollars, or None if it has no known price."""
    if usage is None or usage.input_tokens is None or usage.output_tokens is None or not _may_be_priced(address):
        return None
    import genai_prices

    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens or 0
    )
    try:
        return float(genai_prices.calc_price(counts, model, provider_api_url=address).total_price)
    except (LookupError, ValueError):  # an unknown server or model, or inconsistent counts
        return None


def _may_be_priced(address: str) -> bool:
    return address.startswith("https://")

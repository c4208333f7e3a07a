"""What a call cost. Decimal USD; None where a price that is needed is not known, never a false zero."""

from __future__ import annotations

from decimal import Decimal

from genai_spine.model.card import Price
from genai_spine.model.response import TokenUsage

_PER_TOKEN = Decimal(1) / 1_000_000


def cost_of(usage: TokenUsage, price: Price | None) -> Decimal | None:
    """Cost of one call in USD; None when a needed price is unknown.

    Cached tokens are part of `usage.input_tokens` and are charged at `price.cached_input` (reads) and
    `price.cache_write`; where those are not known, the call's price is not known either.
    """
    if price is None:
        return None
    reads, writes = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    if (reads and price.cached_input is None) or (writes and price.cache_write is None):
        return None
    fresh = max(0, (usage.input_tokens or 0) - reads - writes)
    total = fresh * price.input + (usage.output_tokens or 0) * price.output
    total += reads * (price.cached_input or 0) + writes * (price.cache_write or 0)
    return total * _PER_TOKEN

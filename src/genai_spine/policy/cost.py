"""What a call cost. Decimal USD; None where a price that is needed is not known, never a false zero."""

from __future__ import annotations

from decimal import Decimal

from genai_spine.model.card import Price
from genai_spine.model.response import TokenUsage

_PER_TOKEN = Decimal(1) / 1_000_000


def cost_of(usage: TokenUsage, price: Price | None) -> Decimal | None:
    """Cost of one call in USD; None when a needed price is unknown.

    Cached tokens are part of `usage.input_tokens` and are charged at `cached_input` (reads), `cache_write` and
    `cache_write_1h`; where the rate of what was used is not known, the call's cost is not known either. A price
    that depends on the length of the input is that of this call's, and a fee for the request is in it.
    `rates.second` is charged for `usage.compute_s`.
    """
    if price is None:
        return None
    rates = price.rates(usage.input_tokens or 0)
    reads, writes, long = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0, usage.cache_write_1h_tokens or 0
    fresh = max(0, (usage.input_tokens or 0) - reads - writes)
    charged = (
        (fresh, rates.input),
        (usage.output_tokens or 0, rates.output),
        (reads, rates.cached_input),
        (max(0, writes - long), rates.cache_write),
        (min(long, writes), rates.cache_write_1h),
    )
    if rates.second is None and any(tokens and rate is None for tokens, rate in charged):
        return None
    by_tokens = sum((tokens * rate for tokens, rate in charged if rate is not None), Decimal(0)) * _PER_TOKEN
    by_tokens += (rates.requests_per_1k or 0) / Decimal(1000)
    if rates.second is None:
        return by_tokens
    # Priced by time: tokens that have no rate cost nothing of their own.
    return None if usage.compute_s is None else by_tokens + Decimal(str(usage.compute_s)) * rates.second

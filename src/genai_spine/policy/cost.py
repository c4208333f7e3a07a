"""What a call cost. Decimal USD; None where a price that is needed is not known, never a false zero."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

import msgspec

from genai_spine.model.card import Price, Rates
from genai_spine.model.response import TokenUsage

_PER_TOKEN = Decimal(1) / 1_000_000
_FINEST = 15
_MOST_UNITS = 10**27
"""Decimal sums are exact up to 28 digits; what could come near is left to it."""


def cost_of(usage: TokenUsage, price: Price | None) -> Decimal | None:
    """Cost of one call in USD; None when a needed price is unknown.

    Cached tokens are part of `usage.input_tokens` and are charged at `cached_input` (reads), `cache_write` and
    `cache_write_1h`; where the rate of what was used is not known, the call's cost is not known either. A price
    that depends on the length of the input is that of this call's, and a fee for the request is in it.
    `rates.second` is charged for `usage.compute_s`.
    """
    if price is None:
        return None
    tariff = _tariff_of(price, usage.input_tokens or 0)
    if tariff is None:
        return exact_cost(usage, price)
    fresh, output, reads, writes, long = _charged(usage)
    units = tariff.fee
    for tokens, rate in (
        (fresh, tariff.input),
        (output, tariff.output),
        (reads, tariff.cached_input),
        (writes, tariff.cache_write),
        (long, tariff.cache_write_1h),
    ):
        if tokens:
            if rate is None:
                return None
            units += tokens * rate
    return units * tariff.unit if 0 <= units < _MOST_UNITS else exact_cost(usage, price)


def exact_cost(usage: TokenUsage, price: Price) -> Decimal | None:
    """The same in decimals throughout: what `cost_of` is a short cut to."""
    return _reckoned(usage, price.rates(usage.input_tokens or 0))


def _reckoned(usage: TokenUsage, rates: Rates) -> Decimal | None:
    named = (rates.input, rates.output, rates.cached_input, rates.cache_write, rates.cache_write_1h)
    charged = tuple(zip(_charged(usage), named, strict=True))
    if rates.second is None and any(tokens and rate is None for tokens, rate in charged):
        return None
    by_tokens = sum((tokens * rate for tokens, rate in charged if rate is not None), Decimal(0)) * _PER_TOKEN
    by_tokens += (rates.requests_per_1k or 0) / Decimal(1000)
    if rates.second is None:
        return by_tokens
    # Priced by time: tokens that have no rate cost nothing of their own.
    return None if usage.compute_s is None else by_tokens + Decimal(str(usage.compute_s)) * rates.second


def _charged(usage: TokenUsage) -> tuple[int, int, int, int, int]:
    """Tokens by rate: fresh input, output, cache reads, writes for five minutes, writes for an hour."""
    reads, writes, long = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0, usage.cache_write_1h_tokens or 0
    fresh = (usage.input_tokens or 0) - reads - writes
    if writes or long:
        return max(0, fresh), usage.output_tokens or 0, reads, max(0, writes - long), min(long, writes)
    return max(0, fresh), usage.output_tokens or 0, reads, 0, 0


# ---------------------------------------------------------------- prices as whole numbers


class _Tariff(msgspec.Struct, frozen=True, gc=False):
    """Rates as whole numbers of `unit`, a power of ten of a dollar; those of tokens are for one token."""

    unit: Decimal
    fee: int
    input: int | None
    output: int | None
    cached_input: int | None
    cache_write: int | None
    cache_write_1h: int | None


def _tariff_of(price: Price, input_tokens: int) -> _Tariff | None:
    """The tariff of a call with so many input tokens; None where it is to be reckoned in decimals."""
    found = None
    for above, tariff in _tariffs(price):
        if input_tokens <= above:
            break
        found = tariff
    return found


@lru_cache(maxsize=4096)
def _tariffs(price: Price) -> tuple[tuple[int, _Tariff | None], ...]:
    """The tariffs of a price, and above how many input tokens each holds."""
    bounds = sorted({-1, *(tier.above for tier in price.tiers)})
    return tuple((above, _in_whole_numbers(price.rates(above + 1))) for above in bounds)


def _in_whole_numbers(rates: Rates) -> _Tariff | None:
    """None for a price by time, and for one that is finer than any."""
    nothing = _reckoned(TokenUsage(), rates)
    if rates.second is not None or nothing is None:
        return None
    exponent = nothing.as_tuple().exponent
    if not isinstance(exponent, int) or not -_FINEST <= exponent <= 0:
        return None
    scale = 10**-exponent

    def whole(rate: Decimal | None) -> int | None:
        return None if rate is None else int(rate * _PER_TOKEN * scale)

    return _Tariff(
        unit=Decimal((0, (1,), exponent)),
        fee=int(nothing * scale),
        input=whole(rates.input),
        output=whole(rates.output),
        cached_input=whole(rates.cached_input),
        cache_write=whole(rates.cache_write),
        cache_write_1h=whole(rates.cache_write_1h),
    )

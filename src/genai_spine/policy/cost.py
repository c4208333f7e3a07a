"""What a call cost. Decimal USD; None where a price that is needed is not known, never a false zero.

`cost_of` is the sum, on the way of every call; `priced` says of it which price made it, and `arithmetic` how. What
a call may cost before it is over is in cost_bounds.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Context, Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec

from genai_spine.model.card import Price, Rates
from genai_spine.model.response import TokenUsage, UsageDetails

REPORTED = "reported"
"""The `source` of a cost that the provider itself has named."""

_EXACT = Context(prec=60)
"""Sums are made here: a program that calculates with fewer digits still has exact costs."""
_multiply = _EXACT.multiply

_FINEST = 15
_MOST_UNITS = 10**27
"""Longer sums are left to decimals."""

_PER_1M, _PER_1K = Decimal("0.000001"), Decimal("0.001")
_HOUR_S = 3600
NANO_PER_USD = Decimal(1_000_000_000)
_NOTHING = UsageDetails()


def cost_of(usage: TokenUsage, price: Price | None) -> Decimal | None:
    """Cost of one call in USD; None when a needed price is unknown.

    Cached tokens are part of `usage.input_tokens` and are charged at `cached_input` (reads), `cache_write` and
    `cache_write_1h`; where the rate of what was used is not known, the call's cost is not known either. Audio,
    images, video, reasoning and citations are charged at their own rates, or as input and output where they have
    none. A price that depends on the length of the input is that of this call's, and a fee for the request is in
    it. `rates.second` is charged for `usage.compute_s`. Counts that cannot be (negative, a text) have no cost, and nor
    has a call of which nobody counted the input or the output, where that has a rate.
    """
    if price is None:
        return None
    if usage.input_tokens is None or usage.output_tokens is None:
        return exact_cost(usage, price)
    tokens, output = usage.input_tokens or 0, usage.output_tokens or 0
    reads, writes = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    try:
        tariff = _tariff_of(price, tokens)
        if (
            tariff is None
            or usage.details is not None
            or (tariff.knows_audio and (usage.audio_input_tokens or usage.audio_output_tokens))
            or tokens < 0
            or output < 0
        ):
            return exact_cost(usage, price)
        units = tariff.fee
        fresh = tokens - reads - writes
        if fresh < 0:
            fresh = tokens
        if writes or usage.cache_write_1h_tokens:
            long = min(usage.cache_write_1h_tokens or 0, writes)
            for count, rate in ((writes - long, tariff.cache_write), (long, tariff.cache_write_1h)):
                if count:
                    if rate is None or count < 0:
                        return exact_cost(usage, price)
                    units += count * rate
        if reads:
            if reads < 0:
                return exact_cost(usage, price)
            units += reads * tariff.cached_input  # type: ignore[operator]  # a TypeError, where it is None
        if fresh:
            units += fresh * tariff.input  # type: ignore[operator]  # the same
        if output:
            units += output * tariff.output  # type: ignore[operator]  # the same
        is_short = type(units) is int and units < _MOST_UNITS
        return _multiply(units, tariff.unit) if is_short else exact_cost(usage, price)
    except (
        TypeError,
        ArithmeticError,
    ):  # a rate that is not known, or a provider of somebody's own, which counts otherwise
        return exact_cost(usage, price)


def _uncounted(usage: TokenUsage, price: Price) -> tuple[str, ...]:
    """The tokens that are charged and were not counted."""
    rates = price.rates(usage.input_tokens or 0)
    charged = (("input", usage.input_tokens, rates.input), ("output", usage.output_tokens, rates.output))
    return tuple(name for name, count, rate in charged if count is None and rate)


def exact_cost(usage: TokenUsage, price: Price) -> Decimal | None:
    """The same in decimals throughout: what `cost_of` is a short cut to."""
    if not _can_be(usage) or _uncounted(usage, price):
        return None
    return _sum(terms(usage, price))


def nanousd(cost: Decimal | None) -> int | None:
    """Whole nano-dollars (10⁻⁹ USD), as they are stored; half of one is rounded to the even."""
    return None if cost is None else int(_multiply(cost, NANO_PER_USD).to_integral_value())


# ---------------------------------------------------------------- how it came about


class Term(msgspec.Struct, frozen=True, gc=False):
    """One item of a bill: so many, at a rate (None where it is not known) for so many of them."""

    name: str
    """Of the rate, as in `Rates`."""
    count: int | Decimal
    rate: Decimal | None
    per: int

    @property
    def cost_usd(self) -> Decimal | None:
        if self.rate is None:
            return None
        total = _multiply(self.count, self.rate)
        match self.per:
            case 1_000_000:
                return _multiply(total, _PER_1M)
            case 1_000:
                return _multiply(total, _PER_1K)
            case 1:
                return total
            case _:
                return _EXACT.divide(total, self.per)


class Priced(msgspec.Struct, frozen=True, kw_only=True):
    """A cost, and what made it: a price of `source` that is in force since a day, or the provider's own word."""

    cost_usd: Decimal | None
    price_since: date | None = None
    source: str | None = None
    service: str | None = None

    @property
    def cost_nanousd(self) -> int | None:
        return nanousd(self.cost_usd)


def reported_cost(usage: TokenUsage) -> Decimal | None:
    """What the provider says that the call cost; None where it says nothing, or what cannot be."""
    cost = usage.reported_cost_usd
    return cost if cost is not None and cost.is_finite() and cost >= 0 else None


def priced(usage: TokenUsage | None, price: Price | None) -> Priced:
    """The cost of a call and where it comes from. `price` is that of the service tier (`Standing.price_of`)."""
    if usage is None:
        return Priced(cost_usd=None)
    if (reported := reported_cost(usage)) is not None:
        return Priced(cost_usd=reported, source=REPORTED, service=usage.service_tier)
    if price is None:
        return Priced(cost_usd=None, service=usage.service_tier)
    return Priced(
        cost_usd=cost_of(usage, price), price_since=price.since, source=price.source, service=usage.service_tier
    )


def arithmetic(usage: TokenUsage, price: Price | None) -> str:
    """How the cost came about, for people: "1200 × 2.5 input + 87 × 10 output per 1M = $0.00387"."""
    if (reported := reported_cost(usage)) is not None:
        return f"${_plain(reported)}, as the provider says"
    if price is None:
        return "no price is known"
    if not _can_be(usage):
        return "counts that cannot be"
    if uncounted := _uncounted(usage, price):
        return f"{' and '.join(uncounted)} tokens were not counted"
    used = [term for term in terms(usage, price) if term.count]
    if not used:
        return "nothing was used"
    cost = _sum(iter(used))
    unpriced = usage.details.unpriced if usage.details is not None else ()
    said = []
    for per, word in _WORDS.items():
        some = [term for term in used if term.per == per and term.name not in unpriced]
        if some:
            said.append(" + ".join(f"{_plain(term.count)} × {_rate(term)} {term.name}" for term in some) + word)
    said += [f"{name} is charged beside and has no price" for name in unpriced]
    return " + ".join(said) + (f" = ${_plain(cost)}" if cost is not None else ": not known")


_WORDS = {1_000_000: " per 1M", 1_000: " per 1K", _HOUR_S: " per hour", 1: ""}


def _rate(term: Term) -> str:
    return "?" if term.rate is None else _plain(term.rate)


def _plain(number: int | Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---------------------------------------------------------------- what is charged


def terms(usage: TokenUsage, price: Price) -> Iterator[Term]:
    """The items of the bill. What is ordinary is among them, where it has a rate, though nothing of it was used."""
    yield from _terms(usage, price.rates(usage.input_tokens or 0))
    if usage.details is not None:
        if (apart := usage.details.apart) is not None:
            yield from _terms(apart, price.rates(apart.input_tokens or 0), fee=False)
        for name in usage.details.unpriced:
            yield Term(name, 1, None, 1)


def _terms(usage: TokenUsage, rates: Rates, *, fee: bool = True) -> Iterator[Term]:
    tokens = (
        *_input_terms(usage, usage.details or _NOTHING, rates),
        *_output_terms(usage, usage.details or _NOTHING, rates),
    )
    for name, count, rate in tokens:
        if rate is not None or (count and rates.second is None):
            # Priced by time: tokens that have no rate cost nothing of their own.
            yield Term(name, count, rate, 1_000_000)
    if rates.requests_per_1k is not None and fee:
        yield Term("requests_per_1k", 1, rates.requests_per_1k, 1_000)
    if rates.second is not None:
        is_known = usage.compute_s is not None
        yield Term("second", Decimal(str(usage.compute_s or 0)), rates.second if is_known else None, 1)
        if not is_known:
            yield Term("second", 1, None, 1)
    if (details := usage.details) is not None:
        for name, number in (
            ("searches_per_1k", details.searches),
            ("file_searches_per_1k", details.file_searches),
            ("pages_per_1k", details.pages),
        ):
            if number:
                yield Term(name, number, getattr(rates, name), 1_000)
        if details.audio_input_s:
            hour = rates.audio_input_hour if rates.audio_input_hour is not None else rates.audio_hour
            yield Term("audio_input_hour", Decimal(str(details.audio_input_s)), hour, _HOUR_S)


_Tokens = tuple[str, int, Decimal | None]


def _input_terms(usage: TokenUsage, details: UsageDetails, rates: Rates) -> Iterator[_Tokens]:
    """What has a rate of its own is taken out of what is charged as input, and of the cache's reads."""
    fresh, _, reads, writes, long = _charged(usage)
    cached_audio, cached_image = details.cached_audio_tokens or 0, details.cached_image_tokens or 0
    for name, rate, count in (
        ("cached_audio", rates.cached_audio, cached_audio),
        ("cached_image", rates.cached_image, cached_image),
    ):
        if rate is not None and (own := min(count, reads)):
            reads -= own
            yield name, own, rate
    for name, rate, count in (
        ("audio_input", rates.audio_input, (usage.audio_input_tokens or 0) - cached_audio),
        ("image_input", rates.image_input, (details.image_input_tokens or 0) - cached_image),
        ("video_input", rates.video_input, details.video_input_tokens or 0),
    ):
        if rate is not None and (own := max(0, min(count, fresh))):
            fresh -= own
            yield name, own, rate
    if details.citation_tokens:
        yield "citation", details.citation_tokens, rates.citation
    yield "input", fresh, rates.input
    yield "cached_input", reads, rates.cached_input
    yield "cache_write", writes, rates.cache_write
    yield "cache_write_1h", long, rates.cache_write_1h


def _output_terms(usage: TokenUsage, details: UsageDetails, rates: Rates) -> Iterator[_Tokens]:
    rest = usage.output_tokens or 0
    for name, rate, count in (
        ("reasoning_output", rates.reasoning_output, usage.reasoning_tokens),
        ("audio_output", rates.audio_output, usage.audio_output_tokens),
        ("image_output", rates.image_output, details.image_output_tokens),
        ("video_output", rates.video_output, details.video_output_tokens),
    ):
        if rate is not None and (own := min(count or 0, rest)):
            rest -= own
            yield name, own, rate
    yield "output", rest, rates.output


def _charged(usage: TokenUsage) -> tuple[int, int, int, int, int]:
    """Tokens by rate: fresh input, output, cache reads, writes for five minutes, writes for an hour.

    More cached than there is input was counted beside it (Grok on Azure, recorded 2026: 7 of prompt, 161 cached).
    """
    reads, writes, long = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0, usage.cache_write_1h_tokens or 0
    fresh = (usage.input_tokens or 0) - reads - writes
    if fresh < 0:
        fresh = usage.input_tokens or 0
    if writes or long:
        return fresh, usage.output_tokens or 0, reads, max(0, writes - long), min(long, writes)
    return fresh, usage.output_tokens or 0, reads, 0, 0


def _sum(items: Iterator[Term]) -> Decimal | None:
    total = Decimal(0)
    for term in items:
        if (cost := term.cost_usd) is None:
            return None
        total = _EXACT.add(total, cost)
    return total


def _can_be(usage: TokenUsage | UsageDetails) -> bool:
    """Whether every count is one: whole and not negative, and every number of seconds finite."""
    return all(_is_count(name, getattr(usage, name)) for name in usage.__struct_fields__)


def _is_count(name: str, value: Any) -> bool:
    if value is None or name in ("service_tier", "reported_cost_usd", "estimated", "provider_metadata", "unpriced"):
        return True
    if isinstance(value, TokenUsage | UsageDetails):
        return _can_be(value)
    if name.endswith("_s"):
        return type(value) in (int, float) and isfinite(value) and value >= 0
    return type(value) is int and value >= 0


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
    knows_audio: bool


def _tariff_of(price: Price, input_tokens: int) -> _Tariff | None:
    """The tariff of a call with so many input tokens; None where it is to be reckoned in decimals."""
    tariffs = _tariffs(price)
    found = tariffs[0][1]
    if len(tariffs) > 1:
        for above, tariff in tariffs:
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
    """None for a price by time or with a rate for reasoning, and for one that is finer than any."""
    nothing = _sum(_terms(TokenUsage(), rates))
    if rates.second is not None or rates.reasoning_output is not None or nothing is None:
        return None
    exponent = nothing.as_tuple().exponent
    if not isinstance(exponent, int) or not -_FINEST <= exponent <= 0:
        return None
    scale = 10**-exponent

    def whole(rate: Decimal | None) -> int | None:
        return None if rate is None else int(rate * _PER_1M * scale)

    return _Tariff(
        unit=Decimal((0, (1,), exponent)),
        fee=int(nothing * scale),
        input=whole(rates.input),
        output=whole(rates.output),
        cached_input=whole(rates.cached_input),
        cache_write=whole(rates.cache_write),
        cache_write_1h=whole(rates.cache_write_1h),
        knows_audio=rates.audio_input is not None or rates.audio_output is not None,
    )

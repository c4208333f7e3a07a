"""What a call may cost before it is sent.

The answer's real counts come with its end, or never. `most_cost` is the bound that no call exceeds which keeps to its
`Most`; budgets reckon the same from `dearest_of` (budget_need.py). None is always "not known". Pure: the counts are
estimates of somebody else's, and so are as good as those are.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal

import msgspec

from genai_spine.model.card import ModelCard, Price, Rates
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of

_UP = Context(prec=60, rounding=ROUND_CEILING)
_PER_1M, _PER_1K = Decimal("0.000001"), Decimal("0.001")

_OF_INPUT = ("input", "cached_input", "cache_write", "cache_write_1h")
_OF_MEDIA = ("audio_input", "image_input", "video_input", "cached_audio", "cached_image", "citation")
_OF_OUTPUT = ("output", "reasoning_output", "audio_output", "image_output", "video_output")


class Most(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a request can use. `max_tokens` None is no limit at all, and then there is no bound either."""

    input_tokens: int
    max_tokens: int | None
    writes_cache: bool = True
    """Whether any of the input may be written to a cache, which is dearer than to read it plainly."""
    has_media: bool = False
    """Whether there are images, sound or video in it. What an answer holds is the model's to say: its rates tell."""
    searches: int = 0
    file_searches: int = 0
    seconds: float | None = None
    """How long it may take, where computing is charged by the second."""


def most_cost(most: Most, price: Price | None) -> Decimal | None:
    """The upper bound in USD of one attempt, whatever of its tokens are cached, thought or spoken.

    Every token is taken for one of the dearest kind that the request can have, in the dearest tier that it can
    reach. None where a price is not known, or nothing limits the answer.
    """
    if price is None:
        return None
    costs = [_most(most, rates) for rates in _reachable(price, most.input_tokens)]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None


def limit_of(card: ModelCard | None, asked: int | None, input_tokens: int = 0) -> int | None:
    """The most tokens of an answer: what was asked for, the model's own limit, and what its window leaves."""
    limits = [asked]
    if card is not None:
        limits.append(card.max_output_tokens)
        if card.context_window is not None:
            limits.append(max(0, card.context_window - input_tokens))
    return min((limit for limit in limits if limit is not None), default=None)


def expected_cost(input_tokens: int, output_tokens: int, price: Price | None) -> Decimal | None:
    """Cost in USD of a call whose answer is as long as is to be expected (a p95 that was learned), nothing cached."""
    return cost_of(TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens), price)


def is_free(price: Price | None) -> bool:
    """Whether it is known that calls cost nothing: a model of one's own machine, or one that is given away."""
    if price is None or price.input is None or (price.output is None and price.second is None):
        return False
    return not any(rate for one in (price, *price.tiers) for rate in one.known.values())


def max_tokens_within(left_usd: Decimal, most: Most, price: Price | None) -> int | None:
    """How long an answer may be so that the attempt's upper bound stays within what is left; None: not even its input.

    None as well where a price is not known. A free answer may be as long as `most.max_tokens` says.
    """
    nothing = most_cost(msgspec.structs.replace(most, max_tokens=0), price)
    if price is None or nothing is None or nothing > left_usd:
        return None
    dearest = [_dearest(rates, _OF_OUTPUT) for rates in _reachable(price, most.input_tokens)]
    if any(rate is None for rate in dearest):
        return None
    each = _UP.multiply(max(rate for rate in dearest if rate is not None), _PER_1M)
    if not each:
        return most.max_tokens
    # By the input's dearest tier and the output's: never too many, even where these are two tiers.
    fitting = int(_UP.divide_int(_UP.subtract(left_usd, nothing), each))
    return fitting if most.max_tokens is None else min(fitting, most.max_tokens)


# ---------------------------------------------------------------- the dearest


def dearest_of(
    price: Price, input_tokens: int, *, has_media: bool = False, searches: int = 0, seconds: float | None = None
) -> tuple[Decimal, Decimal | None, Decimal] | None:
    """What bounds any call with up to so many input tokens: USD per million in and out, and USD beside these.

    None where a price that it needs is not known; the second is None where that of an answer is not.
    """
    none = Most(input_tokens=0, max_tokens=0, has_media=has_media, searches=searches, seconds=seconds)
    rates = _reachable(price, input_tokens)
    kinds = (*_OF_INPUT, *_OF_MEDIA) if has_media else _OF_INPUT
    fees = [_most(none, each) for each in rates]
    inputs, outputs = ([_rate(each, names) for each in rates] for names in (kinds, _OF_OUTPUT))
    if None in fees or None in inputs:
        return None
    known_out = [rate for rate in outputs if rate is not None]
    return (
        max(rate for rate in inputs if rate is not None),
        max(known_out) if len(known_out) == len(outputs) else None,
        max(fee for fee in fees if fee is not None),
    )


def _rate(rates: Rates, names: tuple[str, ...]) -> Decimal | None:
    """Priced by time, tokens without a rate cost nothing of their own."""
    found = _dearest(rates, names)
    return Decimal(0) if found is None and rates.second is not None else found


def _reachable(price: Price, input_tokens: int) -> list[Rates]:
    """The rates of every tier that up to so many input tokens may reach."""
    bounds = (-1, *(tier.above for tier in price.tiers if tier.above < input_tokens))
    return [price.rates(above + 1) for above in sorted(set(bounds))]


def _most(most: Most, rates: Rates) -> Decimal | None:
    kinds = tuple(name for name in _OF_INPUT if most.writes_cache or not name.startswith("cache_write"))
    items: list[tuple[int | Decimal | None, Decimal | None, Decimal]] = [
        (most.searches, rates.searches_per_1k, _PER_1K),
        (most.file_searches, rates.file_searches_per_1k, _PER_1K),
        (1, rates.requests_per_1k or Decimal(0), _PER_1K),
    ]
    for count, names in (
        (most.input_tokens, (*kinds, *_OF_MEDIA) if most.has_media else kinds),
        (most.max_tokens, _OF_OUTPUT),
    ):
        rate = _dearest(rates, names)
        if rate is not None or rates.second is None:  # priced by time, tokens without a rate cost nothing
            items.append((count, rate, _PER_1M))
    if rates.second is not None:
        items.append((None if most.seconds is None else Decimal(str(most.seconds)), rates.second, Decimal(1)))
    total = Decimal(0)
    for number, rate, per in items:
        if number == 0:
            continue
        if number is None or rate is None:
            return None
        total = _UP.fma(_UP.multiply(number, per), rate, total)
    return total


def _dearest(rates: Rates, names: tuple[str, ...]) -> Decimal | None:
    """The highest of these rates; None where not even that of the ordinary tokens, which is the first, is known."""
    known = rates.known
    return max(known[name] for name in names if name in known) if names[0] in known else None

"""The short way to a cost gives what decimals give, to the last digit, for every rate, tier and counter."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.catalog.prices import PricedModel, load_prices, rows_with_prices
from genai_spine.model.card import Price, Tier
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of, exact_cost

rates = st.none() | st.decimals(0, 10_000, places=6) | st.sampled_from([Decimal(0), Decimal("1E+1"), Decimal("3.750")])
named = dict.fromkeys(("input", "output", "cached_input", "cache_write", "cache_write_1h", "requests_per_1k"), rates)
some = {**named, "second": st.none() | st.none() | st.decimals(0, 1, places=6)}
bounds = st.integers(0, 300_000)
tiers = st.lists(st.builds(Tier, above=bounds, **named), max_size=3).map(tuple)
counters = st.none() | st.integers(0, 300_005) | st.integers(0, 10**12)
usages = st.builds(
    TokenUsage,
    input_tokens=counters,
    output_tokens=counters,
    cache_read_tokens=counters,
    cache_write_tokens=counters,
    cache_write_1h_tokens=counters,
    compute_s=st.none() | st.floats(0, 1e6),
)


def same(usage: TokenUsage, price: Price) -> None:
    short, exact = cost_of(usage, price), exact_cost(usage, price)
    assert (short is None) == (exact is None)
    if short is not None and exact is not None:
        assert short == exact, "to the last digit"  # equal prices may be written with more or fewer zeros


@settings(max_examples=150)
@given(usages, st.builds(Price, tiers=tiers, **some))
def test_any_usage_at_any_price(usage: TokenUsage, price: Price) -> None:
    same(usage, price)


@given(usages, st.sampled_from([0, 1, 7]))
def test_a_count_at_a_tiers_bound(usage: TokenUsage, beyond: int) -> None:
    price = Price(input=Decimal(3), output=Decimal(15), tiers=(Tier(above=200_000, input=Decimal(6)),))
    same(TokenUsage(input_tokens=199_999 + beyond, output_tokens=usage.output_tokens), price)


def test_every_price_of_the_catalog() -> None:
    used = [
        TokenUsage(),
        TokenUsage(input_tokens=34, output_tokens=41),
        TokenUsage(input_tokens=250_001, output_tokens=7, cache_read_tokens=1000),
        TokenUsage(input_tokens=1_000_000, output_tokens=3, cache_write_tokens=9, cache_write_1h_tokens=4),
        TokenUsage(input_tokens=1, output_tokens=1, compute_s=0.25),
    ]
    prices = [price for row in rows_with_prices() for model in load_prices(row).models for price in _prices(row, model)]
    assert len(prices) > 500
    for price in prices:
        for usage in used:
            same(usage, price)


def _prices(row: str, model: PricedModel) -> tuple[Price, ...]:
    return load_prices(row).dated(model)


def test_what_is_beyond_all_digits_is_left_to_decimals() -> None:
    huge = TokenUsage(input_tokens=10**30, output_tokens=10**29)
    for price in (
        Price(input=Decimal("0.333333"), output=Decimal(7)),
        Price(input=Decimal("1e-20"), output=Decimal(1)),
    ):
        same(huge, price)

"""What a call may cost: the bound holds for every answer that keeps to it, and is None where nothing bounds it."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.catalog.prices import load_prices, rows_with_prices
from genai_spine.model.card import ModelCard, Price, Tier
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.policy.cost import cost_of
from genai_spine.policy.cost_bounds import Most, expected_cost, is_free, limit_of, max_tokens_within, most_cost

PRICE = Price(
    input=D(3),
    output=D(15),
    cached_input=D("0.3"),
    cache_write=D("3.75"),
    cache_write_1h=D(6),
    tiers=(Tier(above=200_000, input=D(6), output=D("22.5"), cache_write_1h=D(12)),),
)
PRICES = [price for row in sorted(rows_with_prices()) for model in load_prices(row).models for price in model.prices]

counts = st.integers(0, 300_000)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Most, TokenUsage]:
    """A bound, and a call that keeps to it."""
    most = Most(
        input_tokens=draw(counts),
        max_tokens=draw(counts),
        writes_cache=draw(st.booleans()),
        has_media=draw(st.booleans()),
        searches=draw(st.integers(0, 5)),
        seconds=60,
    )

    def up_to(number: int) -> int:
        return draw(st.integers(0, number))

    given_in, given_out = up_to(most.input_tokens), up_to(most.max_tokens or 0)
    written = up_to(given_in) if most.writes_cache else 0
    tokens: dict[str, Any] = {
        "input_tokens": given_in,
        "output_tokens": given_out,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": up_to(written),
        "cache_read_tokens": up_to(given_in - written),
        "reasoning_tokens": up_to(given_out),
        "compute_s": float(up_to(60)),
    }
    details: dict[str, Any] = {"searches": up_to(most.searches)}
    if most.has_media:
        tokens |= {"audio_input_tokens": up_to(given_in), "audio_output_tokens": up_to(given_out)}
        details |= {"image_input_tokens": up_to(given_in), "image_output_tokens": up_to(given_out)}
    return most, TokenUsage(**tokens, details=UsageDetails(**details) if any(details.values()) else None)


@settings(max_examples=200)
@given(calls(), st.sampled_from([*PRICES, PRICE, PRICE, Price(second=D("0.001"))]))
def test_no_call_that_keeps_to_its_bound_costs_more(call: tuple[Most, TokenUsage], price: Price) -> None:
    most, usage = call
    bound, cost = most_cost(most, price), cost_of(usage, price)
    if bound is not None and cost is not None:
        assert cost <= bound


def test_the_bound_takes_every_token_for_the_dearest_that_it_can_be() -> None:
    most = Most(input_tokens=1000, max_tokens=100)
    assert most_cost(most, PRICE) == (1000 * D(6) + 100 * D(15)) / 1_000_000
    assert most_cost(Most(input_tokens=1000, max_tokens=100, writes_cache=False), PRICE) == D("0.0045")
    long = Most(input_tokens=200_001, max_tokens=100, writes_cache=False)
    assert most_cost(long, PRICE) == (200_001 * D(6) + 100 * D("22.5")) / 1_000_000


def test_sound_is_in_the_bound_of_a_request_that_has_it_and_pictures_in_that_of_a_model_that_paints() -> None:
    price = Price(input=D(1), output=D(4), audio_input=D(10), image_output=D(30))
    assert most_cost(Most(input_tokens=100, max_tokens=10), price) == D("0.0004")
    assert most_cost(Most(input_tokens=100, max_tokens=10, has_media=True), price) == D("0.0013")


@pytest.mark.parametrize(
    ("most", "price"),
    [
        (Most(input_tokens=1, max_tokens=1), None),
        (Most(input_tokens=1, max_tokens=None), PRICE),
        (Most(input_tokens=1, max_tokens=1), Price(input=D(1))),
        (Most(input_tokens=1, max_tokens=1, searches=1), PRICE),
        (Most(input_tokens=1, max_tokens=1), Price(second=D(1))),
    ],
)
def test_without_a_price_or_a_limit_there_is_no_bound(most: Most, price: Price | None) -> None:
    assert most_cost(most, price) is None


def test_fees_searches_and_seconds_are_in_the_bound() -> None:
    price = Price(input=D(1), output=D(1), requests_per_1k=D(5), searches_per_1k=D(10))
    assert most_cost(Most(input_tokens=0, max_tokens=0, searches=3), price) == D("0.035")
    assert most_cost(Most(input_tokens=9, max_tokens=9, seconds=20), Price(second=D("0.001"))) == D("0.020")


def test_an_answer_is_limited_by_what_was_asked_the_model_and_its_window() -> None:
    card = ModelCard(id="m", context_window=1000, max_output_tokens=800)
    assert limit_of(card, 100) == 100
    assert limit_of(card, None) == 800
    assert limit_of(card, None, input_tokens=900) == 100
    assert limit_of(card, None, input_tokens=2000) == 0
    assert limit_of(ModelCard(id="m"), None) is None
    assert limit_of(None, 7) == 7


def test_what_is_expected_is_less_than_the_bound() -> None:
    assert expected_cost(1000, 100, PRICE) == D("0.0045")
    assert expected_cost(1000, 100, None) is None


def test_free_is_what_is_known_to_cost_nothing() -> None:
    assert is_free(Price(input=D(0), output=D(0)))
    assert not is_free(None)
    assert not is_free(Price())
    assert not is_free(Price(input=D(0)))
    assert not is_free(Price(input=D(0), output=D(0), requests_per_1k=D(1)))
    assert not is_free(Price(input=D(0), output=D(0), tiers=(Tier(above=10, input=D(1)),)))


@given(st.decimals(0, 10, places=6), counts, st.none() | counts)
def test_an_answer_cut_to_fit_fits(left: D, input_tokens: int, asked: int | None) -> None:
    most = Most(input_tokens=input_tokens, max_tokens=asked)
    fitting = max_tokens_within(left, most, PRICE)
    without = most_cost(Most(input_tokens=input_tokens, max_tokens=0), PRICE)
    assert without is not None
    assert (fitting is None) == (without > left)
    if fitting is not None:
        bound = most_cost(Most(input_tokens=input_tokens, max_tokens=fitting), PRICE)
        assert bound is not None
        assert bound <= left
        assert asked is None or fitting <= asked
        if asked is None:
            more = most_cost(Most(input_tokens=input_tokens, max_tokens=fitting + 1), PRICE)
            assert more is not None
            assert more > left, "and not a token shorter than it need be"


def test_a_free_answer_may_be_as_long_as_it_likes() -> None:
    free = Price(input=D(0), output=D(0))
    assert max_tokens_within(D(0), Most(input_tokens=10, max_tokens=500), free) == 500
    assert max_tokens_within(D(0), Most(input_tokens=10, max_tokens=None), free) is None
    assert max_tokens_within(D(1), Most(input_tokens=10, max_tokens=5), None) is None

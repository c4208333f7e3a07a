"""What a call costs, in exact decimals; None where a rate that is needed is not known."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D
from decimal import localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.model.card import Price, Tier
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.policy.cost import Priced, arithmetic, cost_of, exact_cost, nanousd, priced, reported_cost

PRICE = Price(
    input=D(3),
    output=D(15),
    cached_input=D("0.3"),
    cache_write=D("3.75"),
    cache_write_1h=D(6),
    tiers=(Tier(above=200_000, input=D(6), output=D("22.5")),),
)


def usage(**tokens: int) -> TokenUsage:
    return TokenUsage(**tokens)  # type: ignore[arg-type]


def test_cached_tokens_are_part_of_the_input_and_have_their_own_rates() -> None:
    spent = usage(
        input_tokens=1000,
        output_tokens=100,
        cache_read_tokens=400,
        cache_write_tokens=300,
        cache_write_1h_tokens=100,
    )
    wanted = 300 * D(3) + 100 * D(15) + 400 * D("0.3") + 200 * D("3.75") + 100 * D(6)
    assert cost_of(spent, PRICE) == wanted / 1_000_000


def test_a_long_input_is_dearer_from_its_first_token_on() -> None:
    assert cost_of(usage(input_tokens=200_000, output_tokens=1), PRICE) == D("0.600015")
    assert cost_of(usage(input_tokens=200_001, output_tokens=1), PRICE) == D("1.2000285")


def test_a_rate_that_is_needed_and_not_known_makes_the_cost_unknown() -> None:
    plain = Price(input=D(1), output=D(2))
    assert cost_of(usage(input_tokens=10, output_tokens=10), plain) == D("0.00003")
    assert cost_of(usage(input_tokens=10, output_tokens=10, cache_read_tokens=1), plain) is None
    assert cost_of(usage(input_tokens=10, output_tokens=10, cache_write_tokens=1), plain) is None
    assert cost_of(usage(input_tokens=10, output_tokens=10), Price(input=D(1))) is None
    assert cost_of(usage(input_tokens=10), Price(input=D(1))) == D("0.00001")
    assert cost_of(usage(input_tokens=10), None) is None


def test_a_fee_for_the_request_is_part_of_its_cost() -> None:
    sonar = Price(input=D(1), output=D(1), requests_per_1k=D(5))
    assert cost_of(usage(input_tokens=1000, output_tokens=0), sonar) == D("0.006")


# ---------------------------------------------------------------- what has a rate of its own

MULTIMODAL = Price(
    input=D(1),
    output=D(4),
    cached_input=D("0.25"),
    audio_input=D(10),
    cached_audio=D(2),
    audio_output=D(20),
    image_input=D(3),
    image_output=D(30),
    video_input=D(5),
    searches_per_1k=D(10),
    file_searches_per_1k=D("2.5"),
)


def test_sound_is_charged_as_sound_and_not_as_text_too() -> None:
    spent = usage(input_tokens=100, output_tokens=50, audio_input_tokens=30, audio_output_tokens=20)
    assert cost_of(spent, MULTIMODAL) == (70 * D(1) + 30 * D(10) + 30 * D(4) + 20 * D(20)) / 1_000_000
    assert cost_of(spent, PRICE) == (100 * D(3) + 50 * D(15)) / 1_000_000, "without a rate of its own it is input"


def test_cached_sound_is_part_of_the_cache_reads_and_of_the_sound() -> None:
    spent = TokenUsage(
        input_tokens=100,
        output_tokens=0,
        cache_read_tokens=40,
        audio_input_tokens=50,
        details=UsageDetails(cached_audio_tokens=30),
    )
    wanted = 40 * D(1) + 20 * D(10) + 10 * D("0.25") + 30 * D(2)
    assert cost_of(spent, MULTIMODAL) == wanted / 1_000_000


def test_pictures_films_and_searches() -> None:
    details = UsageDetails(
        image_input_tokens=100, image_output_tokens=10, video_input_tokens=200, searches=3, file_searches=2
    )
    spent = TokenUsage(input_tokens=1000, output_tokens=100, details=details)
    wanted = (700 * D(1) + 100 * D(3) + 200 * D(5) + 90 * D(4) + 10 * D(30)) / 1_000_000
    assert cost_of(spent, MULTIMODAL) == wanted + 3 * D("0.01") + 2 * D("0.0025")
    assert cost_of(spent, PRICE) is None, "nobody knows what a search costs there"


def test_reasoning_costs_as_output_unless_it_has_a_rate() -> None:
    spent = usage(input_tokens=10, output_tokens=100, reasoning_tokens=60)
    own = Price(input=D(1), output=D(10), reasoning_output=D(3))
    assert cost_of(spent, own) == (10 * D(1) + 40 * D(10) + 60 * D(3)) / 1_000_000
    assert cost_of(spent, PRICE) == (10 * D(3) + 100 * D(15)) / 1_000_000


def test_citations_are_beside_the_input_and_the_output() -> None:
    spent = TokenUsage(input_tokens=10, output_tokens=5, details=UsageDetails(citation_tokens=100))
    assert cost_of(spent, Price(input=D(1), output=D(1), citation=D(2))) == D("0.000215")
    assert cost_of(spent, Price(input=D(1), output=D(1))) is None


def test_what_was_used_apart_is_added_and_what_has_no_price_makes_the_cost_unknown() -> None:
    apart = TokenUsage(input_tokens=1000, output_tokens=10, cache_read_tokens=900)
    spent = TokenUsage(input_tokens=10, output_tokens=1, details=UsageDetails(apart=apart))
    assert cost_of(spent, PRICE) == (10 * D(3) + 15 + 100 * D(3) + 900 * D("0.3") + 10 * D(15)) / 1_000_000
    assert cost_of(TokenUsage(input_tokens=1, details=UsageDetails(unpriced=("advice",))), PRICE) is None


def test_the_fee_of_a_request_is_charged_once_whatever_was_used_apart() -> None:
    spent = TokenUsage(input_tokens=10, output_tokens=0, details=UsageDetails(apart=TokenUsage(input_tokens=20)))
    assert cost_of(spent, Price(input=D(1), output=D(1), requests_per_1k=D(5))) == D("0.00503")


def test_seconds_of_sound_are_charged_by_the_hour() -> None:
    spent = TokenUsage(input_tokens=10, output_tokens=0, details=UsageDetails(audio_input_s=90))
    assert cost_of(spent, Price(input=D(1), output=D(1), audio_hour=D("0.24"))) == D("0.00601")


def test_more_cached_than_there_is_input_was_counted_beside_it() -> None:
    assert cost_of(usage(input_tokens=7, output_tokens=0, cache_read_tokens=161), PRICE) == D("0.0000693")


# ---------------------------------------------------------------- counts that cannot be (FAULTS 23)

anything = st.none() | st.integers() | st.floats() | st.text(max_size=4) | st.booleans() | st.decimals()
odd_details = st.builds(
    UsageDetails,
    **dict.fromkeys(("cached_audio_tokens", "image_input_tokens", "searches", "citation_tokens"), anything),
    audio_input_s=anything,
)
odd_usages = st.builds(
    TokenUsage,
    **dict.fromkeys(
        (
            *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
            *("reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "compute_s"),
        ),
        anything,
    ),
    details=st.none() | odd_details,
    reported_cost_usd=st.none() | st.decimals(),
)
BY_TIME = Price(second=D("0.001"), input=D(1))


@settings(max_examples=200)
@given(odd_usages, st.sampled_from([PRICE, MULTIMODAL, BY_TIME, Price(reasoning_output=D(1), input=D(1), output=D(2))]))
def test_no_usage_has_a_negative_cost_or_one_that_is_no_number(usage: TokenUsage, price: Price) -> None:
    for cost in (cost_of(usage, price), priced(usage, price).cost_usd, reported_cost(usage)):
        assert cost is None or (cost.is_finite() and cost >= 0)
    assert arithmetic(usage, price)


@pytest.mark.parametrize("count", [-1, "12", 1.5, float("nan"), D(3)])
def test_a_count_that_cannot_be_makes_the_cost_unknown(count: Any) -> None:
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        spent = TokenUsage(**{"input_tokens": 10, "output_tokens": 10, name: count})
        assert cost_of(spent, PRICE) is None, name


def test_a_program_that_calculates_with_few_digits_has_exact_costs() -> None:
    spent = usage(input_tokens=123_456_789, output_tokens=987_654_321, cache_read_tokens=7)
    exact = cost_of(spent, PRICE)
    with localcontext() as context:
        context.prec = 3
        assert cost_of(spent, PRICE) == exact
        assert nanousd(exact) == (123_456_782 * 6000 + 987_654_321 * 22_500 + 7 * 300)


# ---------------------------------------------------------------- where a cost comes from


def test_a_cost_says_which_price_made_it() -> None:
    price = Price(input=D(3), output=D(15), since=date(2026, 1, 1), source="https://example.org/prices")
    found = priced(usage(input_tokens=1000, output_tokens=1), price)
    assert found == Priced(cost_usd=D("0.003015"), price_since=date(2026, 1, 1), source=price.source)


def test_what_the_provider_reports_goes_before_any_price() -> None:
    told = TokenUsage(input_tokens=1000, output_tokens=1, reported_cost_usd=D("0.5"))
    assert priced(told, PRICE) == Priced(cost_usd=D("0.5"), source="reported")
    impossible = TokenUsage(input_tokens=1000, output_tokens=0, reported_cost_usd=D(-1))
    assert priced(impossible, PRICE).cost_usd == D("0.003")


def test_without_counts_or_a_price_nothing_is_known() -> None:
    assert priced(None, PRICE) == Priced(cost_usd=None)
    assert priced(usage(input_tokens=1), None).cost_usd is None


@pytest.mark.parametrize("counts", [{}, {"input_tokens": 5}, {"output_tokens": 5}, {"service_tier": None}])
def test_what_is_charged_and_was_not_counted_makes_a_cost_unknown(counts: dict[str, Any]) -> None:
    """Never a false 0."""
    assert cost_of(TokenUsage(**counts), PRICE) is None
    assert exact_cost(TokenUsage(**counts), PRICE) is None
    free = Price(input=D(0), output=D(0))
    assert cost_of(TokenUsage(**counts), free) == 0


def test_vectors_have_no_output_that_could_be_counted() -> None:
    assert cost_of(TokenUsage(input_tokens=1_000_000), Price(input=D(2))) == D(2)


def test_the_arithmetic_of_a_cost_can_be_read() -> None:
    spent = TokenUsage(input_tokens=1200, output_tokens=87, cache_read_tokens=200, details=UsageDetails(searches=2))
    assert arithmetic(spent, MULTIMODAL) == (
        "1000 × 1 input + 200 × 0.25 cached_input + 87 × 4 output per 1M + 2 × 10 searches_per_1k per 1K = $0.021398"
    )
    assert arithmetic(spent, PRICE).endswith("2 × ? searches_per_1k per 1K: not known")
    assert arithmetic(spent, None) == "no price is known"
    assert arithmetic(TokenUsage(reported_cost_usd=D("0.1250")), PRICE) == "$0.125, as the provider says"
    assert arithmetic(TokenUsage(input_tokens=0, output_tokens=0), PRICE) == "nothing was used"
    assert arithmetic(TokenUsage(input_tokens=5), PRICE) == "output tokens were not counted"
    odd = TokenUsage(input_tokens=1, output_tokens=0, details=UsageDetails(unpriced=("advisor_message",)))
    assert (
        arithmetic(odd, PRICE) == "1 × 3 input per 1M + advisor_message is charged beside and has no price: not known"
    )


def test_nano_dollars_are_whole() -> None:
    assert [nanousd(D(text)) for text in ("1", "0.0000000015", "0.0000000025", "0.0000000026")] == [10**9, 2, 2, 3]
    assert nanousd(None) is None

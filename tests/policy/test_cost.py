"""What a call costs, in exact decimals; None where a rate that is needed is not known."""

from __future__ import annotations

from decimal import Decimal as D

from genai_spine.model.card import Price, Tier
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of

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

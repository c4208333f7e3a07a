"""Models that are priced by the second of computing, as Replicate prices those that count no tokens."""

from __future__ import annotations

from decimal import Decimal

from genai_spine.model.card import Price
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import cost_of

BY_TIME = Price(second=Decimal("0.001400"))


def test_seconds_times_their_rate() -> None:
    usage = TokenUsage(input_tokens=11, output_tokens=4, compute_s=2.811363)
    assert cost_of(usage, BY_TIME) == Decimal("0.0039359082")


def test_an_unknown_time_has_an_unknown_cost() -> None:
    assert cost_of(TokenUsage(input_tokens=11, output_tokens=4), BY_TIME) is None
    assert cost_of(TokenUsage(compute_s=0.0), BY_TIME) == 0


def test_time_and_tokens_where_both_have_a_rate() -> None:
    both = Price(second=Decimal("0.5"), output=Decimal(1_000_000))
    assert cost_of(TokenUsage(input_tokens=7, output_tokens=2, compute_s=1.0), both) == Decimal("2.5")


def test_seconds_alone_do_not_price_tokens() -> None:
    by_tokens = Price(input=Decimal(1), output=Decimal(1))
    assert cost_of(TokenUsage(input_tokens=1_000_000, output_tokens=0, compute_s=9.0), by_tokens) == 1

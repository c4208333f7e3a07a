"""Budgets: windows in any zone, what they are for, and whether a call fits."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.card import Price, Tier
from genai_spine.policy.budget import Budget, Fitting, Span, Subject, Tally, Unfitting, fit, span_of
from genai_spine.policy.budget_need import PRIOR_OUTPUT, UNBOUNDED_OUTPUT, Amount, Asks, Lengths, Need, need_of
from genai_spine.policy.cost_bounds import Most, most_cost

FOREVER = Span(0.0, inf)
PRICE = Price(input=Decimal(1), output=Decimal(10))  # 1,000 and 10,000 nano-dollars a token


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def hours(span: Span) -> float:
    return (span.ends_s - span.starts_s) / 3600


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("window", "starts", "ends"),
    [
        ("day", "2026-11-19", "2026-11-20"),
        ("week", "2026-11-16", "2026-11-23"),  # from Monday on
        ("month", "2026-11-01", "2026-12-01"),
    ],
)
def test_windows_begin_at_midnight_utc(window: Any, starts: str, ends: str) -> None:
    for moment in ("2026-11-19T00:00:00", "2026-11-19T23:59:59.999"):
        assert span_of(window, at(moment)) == (at(starts), at(ends))


def test_a_total_has_no_end() -> None:
    assert span_of("total", at("2026-11-19")) == (0.0, inf)


def test_december_ends_with_the_year_and_a_leap_february_on_its_29th() -> None:
    assert span_of("month", at("2026-12-31T23:00:00")) == (at("2026-12-01"), at("2027-01-01"))
    assert span_of("month", at("2028-02-10")) == (at("2028-02-01"), at("2028-03-01"))
    assert span_of("month", at("2026-01-31")).ends_s == at("2026-02-01")


def test_days_on_which_clocks_are_changed_are_23_and_25_hours_long() -> None:
    spring = span_of("day", at("2026-03-29T12:00:00"), "Europe/Vienna")
    autumn = span_of("day", at("2026-10-25T12:00:00"), "Europe/Vienna")
    assert (hours(spring), hours(autumn)) == (23, 25)
    assert spring.starts_s == at("2026-03-28T23:00:00")
    assert hours(span_of("week", at("2026-10-25T12:00:00"), "Europe/Vienna")) == 7 * 24 + 1


def test_a_day_whose_midnight_there_is_not_begins_an_hour_later() -> None:
    span = span_of("day", at("2026-09-06T12:00:00"), "America/Santiago")  # clocks go from 0:00 to 1:00
    assert hours(span) == 23
    assert span_of("day", span.starts_s - 1, "America/Santiago").ends_s == span.starts_s


@given(
    st.floats(at("2000-01-01"), at("2040-01-01")),
    st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    st.sampled_from(["day", "week", "month"]),
)
def test_windows_follow_one_another_without_a_gap(moment: float, zone: str, window: Any) -> None:
    span = span_of(window, moment, zone)
    assert span.starts_s <= moment < span.ends_s
    assert span_of(window, span.ends_s, zone).starts_s == span.ends_s
    assert span_of(window, span.starts_s - 0.5, zone).ends_s == span.starts_s


# ---------------------------------------------------------------- what a budget is for


SUBJECT = Subject("openai", "gpt-4o-mini", "alice", "writer", ("blue", "team:red"))


@pytest.mark.parametrize(
    ("patterns", "whose"),
    [
        ({}, ("",)),
        ({"provider": "openai"}, ("",)),
        ({"provider": "anthropic"}, ()),
        ({"model": "gpt-4o*"}, ("",)),
        ({"model": "openai/gpt-4o*"}, ("",)),
        ({"model": "groq/gpt-4o*"}, ()),
        ({"key": "al*", "agent": "writer"}, ("",)),
        ({"key": "alice", "agent": "reader"}, ()),
        ({"tag": "team:*"}, ("",)),
        ({"tag": "green"}, ()),
        ({"each": "key"}, ("alice",)),
        ({"each": "model"}, ("openai/gpt-4o-mini",)),
        ({"each": "tag"}, ("blue", "team:red")),
        ({"each": "tag", "tag": "team:*"}, ("team:red",)),
        ({"each": "provider", "key": "bob"}, ()),
    ],
)
def test_patterns_say_what_a_budget_is_for(patterns: dict[str, Any], whose: tuple[str, ...]) -> None:
    assert Budget(name="x", **patterns).whose(SUBJECT) == whose


def test_who_has_no_key_is_in_no_budget_of_keys() -> None:
    nobody = Subject("openai", "gpt-4o")
    assert Budget(name="x", each="key").whose(nobody) == ()
    assert Budget(name="x", key="*").whose(nobody) == ()


# ---------------------------------------------------------------- what a call needs


def test_the_upper_bound_is_that_of_cost_bounds() -> None:
    chance = random.Random(5)
    for _ in range(300):
        rates = [Decimal(chance.randrange(1, 10**6)).scaleb(-4) for _ in range(3)]
        price = Price(
            input=rates[0],
            output=rates[1],
            cache_write=rates[2],
            requests_per_1k=Decimal(chance.randrange(0, 50)),
            tiers=(Tier(above=200_000, input=2 * rates[0], output=2 * rates[1]),),
        )
        asks = Asks(most_input=chance.randrange(400_000), max_tokens=chance.randrange(100_000))
        need = need_of(asks, price, None, None)
        most = most_cost(Most(input_tokens=asks.most_input, max_tokens=asks.max_tokens), price)
        assert most is not None
        bound = need.most(need.most_output).nanousd
        assert most * 10**9 <= bound <= most * 10**9 * Decimal("1.001") + 2


def test_the_answer_is_as_long_as_the_least_of_the_limits_says() -> None:
    assert need_of(Asks(max_tokens=500), PRICE, 4_000, None).most_output == 500
    assert need_of(Asks(), PRICE, 4_000, None).most_output == 4_000
    assert need_of(Asks(max_tokens=500, answers=3), PRICE, None, None).most_output == 1_500
    unbounded = need_of(Asks(), PRICE, None, None)
    assert (unbounded.most_output, unbounded.is_unbounded) == (UNBOUNDED_OUTPUT, True)


def test_the_expected_answer_is_what_was_learned_within_the_limit() -> None:
    assert need_of(Asks(), PRICE, None, None).output == PRIOR_OUTPUT
    assert need_of(Asks(), PRICE, None, 300).output == 300
    assert need_of(Asks(max_tokens=100), PRICE, None, 300).output == 100


def test_an_unknown_price_is_no_free_one() -> None:
    assert need_of(Asks(), None, None, None)[5:7] == (None, False)
    free = need_of(Asks(), Price(input=Decimal(0), output=Decimal(0)), None, None)
    assert free.is_free
    assert need_of(Asks(max_tokens=0), Price(input=Decimal(1)), None, None).tariff is not None  # vectors
    assert need_of(Asks(), Price(input=Decimal(1)), None, None).tariff is None


def test_what_is_learned_is_the_p95_of_bounded_many_models() -> None:
    lengths = Lengths()
    for _ in range(19):
        lengths.add(("a", "m"), 100)
    assert lengths.p95(("a", "m")) is None
    for number in range(400):
        lengths.add(("a", "m"), 100 if number % 50 else 5_000)
    assert 100 <= (lengths.p95(("a", "m")) or 0) <= 115
    for number in range(2_000):
        lengths.add(("a", str(number)), 1)
    assert lengths.p95(("a", "m")) is None


# ---------------------------------------------------------------- whether it fits


def tally(limit: int | None = None, *, tokens: int | None = None, hard: bool = False, **more: Any) -> Tally:
    return Tally(Budget(name="x", limit_nanousd=limit, limit_tokens=tokens, is_hard=hard, **more), "", FOREVER)


def need(max_tokens: int | None = None, *, input: int = 10, most_input: int = 100, price: Price | None = PRICE) -> Need:
    asks = Asks(input_tokens=input, most_input=most_input, max_tokens=max_tokens)
    return need_of(asks, price, None, None)


def fitting(outcome: Fitting | Unfitting) -> Fitting:
    assert isinstance(outcome, Fitting), outcome
    return outcome


def test_a_hard_budget_sets_the_most_aside() -> None:
    found = fitting(fit((tally(10**9, hard=True),), need(50)))
    assert found.amounts == (Amount(100 * 1_000 + 50 * 10_000, 150),)
    assert found.max_tokens is None


def test_an_expected_budget_sets_aside_what_is_likely() -> None:
    found = fitting(fit((tally(10**9),), need(64_000)))
    assert found.amounts == (Amount(10 * 1_000 + PRIOR_OUTPUT * 10_000, 10 + PRIOR_OUTPUT),)


def test_an_answer_is_made_to_fit_what_is_left_of_a_hard_budget() -> None:
    small = tally(1_100_000, hard=True)
    found = fitting(fit((small,), need(64_000)))
    assert (found.max_tokens, found.of) == (100, small)
    assert found.amounts[0].nanousd == 1_100_000
    assert fitting(fit((tally(tokens=300, hard=True),), need(64_000))).max_tokens == 200


def test_each_of_several_answers_must_be_worth_having() -> None:
    ten = need_of(Asks(input_tokens=10, most_input=100, max_tokens=500, answers=10), PRICE, None, None)
    assert fitting(fit((tally(tokens=100 + 160, hard=True),), ten)).max_tokens == 160
    outcome = fit((tally(tokens=100 + 159, hard=True),), ten)
    assert isinstance(outcome, Unfitting) and outcome.why == "exhausted"


def test_where_not_even_the_input_fits_nothing_is_sent() -> None:
    outcome = fit((tally(99_000, hard=True),), need(64_000))
    assert isinstance(outcome, Unfitting) and outcome.why == "exhausted"
    outcome = fit((tally(tokens=110, hard=True),), need(64_000))
    assert isinstance(outcome, Unfitting) and outcome.why == "exhausted"


def test_what_others_have_reserved_is_waited_for_rather_than_a_short_answer_given() -> None:
    held = tally(2_000_000, hard=True)
    held.reserve(900_000, 0)
    outcome = fit((held,), need(64_000))
    assert isinstance(outcome, Unfitting) and outcome.why == "reserved"
    held.settle(Amount(900_000, 0), 900_000, 0)
    assert fitting(fit((held,), need(64_000))).max_tokens == 100  # now nothing is to come back


def test_a_small_expected_budget_can_be_used_up_by_one_call_after_the_other() -> None:
    small = tally(1_000_000)
    found = fitting(fit((small,), need()))
    assert (found.amounts[0].nanousd, found.output) == (1_000_000, 99)
    small.reserve(*found.amounts[0])
    outcome = fit((small,), need())
    assert isinstance(outcome, Unfitting) and outcome.why == "reserved"
    small.settle(found.amounts[0], 999_000, 0)
    outcome = fit((small,), need())
    assert isinstance(outcome, Unfitting) and outcome.why == "exhausted"


def test_all_budgets_or_none() -> None:
    large, spent = tally(10**12), tally(10**6, hard=True)
    spent.spent_nanousd = 10**6
    outcome = fit((large, spent), need(10))
    assert isinstance(outcome, Unfitting) and outcome.tally is spent
    assert large.reserved_nanousd == 0


def test_free_models_pass_a_budget_in_usd_and_not_one_in_tokens() -> None:
    free = Price(input=Decimal(0), output=Decimal(0))
    for hard in (False, True):
        spent = tally(0, hard=hard)
        assert fitting(fit((spent,), need(10, price=free))).amounts[0].nanousd == 0
        assert isinstance(fit((tally(tokens=5, hard=hard),), need(10, price=free)), Unfitting)


def test_an_unknown_price_is_refused_unless_it_is_allowed() -> None:
    outcome = fit((tally(10**9),), need(10, price=None))
    assert isinstance(outcome, Unfitting) and outcome.why == "unknown_price"
    assert fitting(fit((tally(10**9, refuses_unknown=False),), need(10, price=None))).amounts[0].nanousd == 0
    assert fitting(fit((tally(tokens=10**6),), need(10, price=None))).amounts == (Amount(0, 20),)


def test_levels_are_told_once() -> None:
    counted = tally(1_000, tokens=100)
    counted.settle(Amount(0, 0), 799, 10)
    assert not counted.reaches_level and counted.levels_reached() == []
    counted.settle(Amount(0, 0), 1, 0)
    assert counted.levels_reached() == [0.8]
    counted.settle(Amount(0, 0), 0, 95)
    assert (counted.levels_reached(), counted.levels_reached()) == ([1.0], [])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=4),
    st.integers(0, 5_000) | st.none(),
    st.integers(0, 3_000),
)
def test_what_is_given_out_is_within_every_limit(
    limits: list[tuple[bool, int, int, int]], max_tokens: int | None, most_input: int
) -> None:
    tallies = []
    for hard, limit, spent, held in limits:
        tallies.append(tally(limit, hard=hard))
        tallies[-1].spent_nanousd, tallies[-1].reserved_nanousd = spent, held
    wanted = need(max_tokens, input=most_input // 4, most_input=most_input)
    found = fit(tallies, wanted)
    if isinstance(found, Fitting):
        for counted, amount in zip(tallies, found.amounts, strict=True):
            assert 0 <= amount.nanousd <= max(0, counted.left_nanousd)
            cap = wanted.most_output if found.max_tokens is None else found.max_tokens
            if counted.budget.is_hard:
                assert amount == wanted.most(cap)
                assert cap >= min(16, wanted.most_output)


def test_a_free_model_may_answer_at_length_under_a_hard_budget() -> None:
    free = Price(input=Decimal(0), output=Decimal(0))
    assert fitting(fit((tally(10, hard=True),), need(price=free))).max_tokens is None
    assert fitting(fit((tally(10**12, hard=True),), need())).max_tokens == UNBOUNDED_OUTPUT
    overspent = tally(10, tokens=100)
    overspent.spent_nanousd = 20
    assert fitting(fit((overspent,), need(price=free))).amounts == (Amount(0, 100),)

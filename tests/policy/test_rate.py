"""Requests and tokens per minute: what is given out in any time, corrections, waits that are exact."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genai_spine.model.errors import RateLimit
from genai_spine.policy.limits import MINUTE_US, Rate, Told, is_scarce, settle_all, take_all

SECOND_US = 1_000_000


def test_a_minutes_worth_goes_at_once_and_then_one_each_share_of_a_minute() -> None:
    rate = Rate(60, 0)
    for _ in range(60):
        assert rate.wait_us(1, 0) == 0
        rate.take(1, 0)
    assert rate.wait_us(1, 0) == SECOND_US
    assert rate.wait_us(1, SECOND_US - 1) == 1
    assert rate.wait_us(1, SECOND_US) == 0


def test_a_limit_that_does_not_divide_a_minute_loses_nothing() -> None:
    rate, now_us, taken = Rate(7, 0), 0, 0
    while now_us <= 600 * SECOND_US:
        if wait_us := rate.wait_us(1, now_us):
            now_us += wait_us
        else:
            rate.take(1, now_us)
            taken += 1
    assert taken == 7 + 7 * 10


def test_what_was_used_beyond_the_estimate_is_debt_and_paid_before_anything_else() -> None:
    rate = Rate(600, 0)
    end = rate.take(100, 0)
    settle_all([rate], [end], 100, 1200, 0)
    assert rate.left(0) == 0
    assert rate.wait_us(1, 0) == 60 * SECOND_US + SECOND_US // 10
    assert rate.wait_us(600, 0) == 120 * SECOND_US


def test_what_was_set_aside_too_much_is_given_back() -> None:
    rate = Rate(600, 0)
    end = rate.take(600, 0)
    assert rate.left(0) == 0
    settle_all([rate], [end], 600, 10, 0)
    assert rate.left(0) == 590


def test_nothing_is_given_back_that_has_flowed_back_by_itself() -> None:
    rate = Rate(600, 0)
    old = rate.take(600, 0)
    minute_later = 60 * SECOND_US
    rate.take(600, minute_later)
    settle_all([rate], [old], 600, 10, minute_later)
    assert rate.left(minute_later) == 0


def test_what_others_gave_back_is_not_given_back_again() -> None:
    rate = Rate(100, 0)
    first, second = rate.take(50, 0), rate.take(50, 0)
    settle_all([rate], [first], 50, 0, 0)
    half = 30 * SECOND_US
    rate.take(75, half)
    settle_all([rate], [second], 50, 0, half)
    assert rate.left(half) == 25


def test_a_call_larger_than_the_whole_limit_goes_when_nothing_else_is_used() -> None:
    rate = Rate(100, 0)
    assert rate.wait_us(5000, 0) == 0
    rate.take(1, 0)
    assert rate.wait_us(5000, 0) == 600_000
    end = rate.take(5000, 600_000)
    settle_all([rate], [end], 5000, 150, 600_000)
    assert rate.wait_us(1, 600_000) == 31 * SECOND_US - 400_000


def test_a_clock_that_jumps_back_holds_nobody_for_longer_than_the_limit_does() -> None:
    rate = Rate(60, 10_000 * SECOND_US)
    for _ in range(60):
        rate.take(1, 10_000 * SECOND_US)
    assert rate.wait_us(1, 0) == SECOND_US
    assert rate.wait_us(1, SECOND_US) == 0


def test_a_clock_that_jumps_forward_gives_one_minutes_worth_and_no_more() -> None:
    rate = Rate(60, 0)
    rate.take(60, 0)
    assert rate.left(86_400 * SECOND_US) == 60


moves = st.lists(
    st.tuples(
        st.sampled_from(["take", "settle", "wait"]),
        st.integers(1, 120),
        st.integers(0, 200),
        st.integers(0, 40 * 10**6),
    ),
    max_size=60,
)


@given(st.integers(1, 100), moves)
def test_in_any_time_no_more_is_used_than_the_limit_and_what_flows_back_meanwhile(per_min: int, given: list) -> None:
    """Each call's use counts when it was admitted: as estimated while it runs, as used afterwards, whatever is
    given back, and however late. Debt is beyond the limit by nature, and left out here."""
    rate, now_us = Rate(per_min, 0), 0
    open_calls: list[int] = []
    calls: list[list[int]] = []  # moment, amount, end
    for move, amount, used, elapsed_us in given:
        now_us += elapsed_us if move == "wait" else 0
        if move == "take" and rate.wait_us(amount, now_us) == 0:
            amount = min(amount, per_min)
            calls.append([now_us, amount, rate.take(amount, now_us)])
            open_calls.append(len(calls) - 1)
        elif move == "settle" and open_calls:
            call = calls[open_calls.pop(used % len(open_calls))]
            used = min(used, call[1])
            settle_all([rate], [call[2]], call[1], used, now_us)
            call[1] = used
    for first, (begin_us, *_) in enumerate(calls):
        total = 0
        for moment_us, amount, _ in calls[first:]:
            total += amount
            assert total * MINUTE_US <= per_min * (MINUTE_US + moment_us - begin_us)


@given(st.integers(1, 10**7), st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**8)), max_size=20))
def test_a_wait_is_exact_to_the_microsecond(per_min: int, given: list[tuple[int, int]]) -> None:
    rate, now_us = Rate(per_min, 0), 0
    for amount, elapsed_us in given:
        now_us += elapsed_us
        wait_us = rate.wait_us(amount, now_us)
        if wait_us:
            assert rate.wait_us(amount, now_us + wait_us - 1) == 1
        now_us += wait_us
        assert rate.wait_us(amount, now_us) == 0
        rate.take(amount, now_us)


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 10**7)), max_size=40),
)
def test_taken_of_several_at_once_is_taken_of_each_or_of_none(limits: list[int], calls: list[tuple[int, int]]) -> None:
    together, alone, now_us = [Rate(n, 0) for n in limits], [Rate(n, 0) for n in limits], 0
    for amount, elapsed_us in calls:
        now_us += elapsed_us
        has_room = all(rate.wait_us(amount, now_us) == 0 for rate in alone)
        expected = [rate.take(amount, now_us) for rate in alone] if has_room else None
        assert take_all(together, amount, now_us) == expected
        assert [rate.used(now_us) for rate in together] == [rate.used(now_us) for rate in alone]


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 3000)), min_size=1, max_size=20))
def test_tokens_are_conserved_while_time_stands_still(per_min: int, calls: list[tuple[int, int]]) -> None:
    rate = Rate(per_min, 0)
    ends = [rate.take(taken, 0) for taken, _ in calls]
    for (taken, used), end in reversed(list(zip(calls, ends, strict=True))):
        settle_all([rate], [end], taken, used, 0)
    # Settled in the reverse order, some may get back less than they left; more than was left, nobody.
    assert sum(used for _, used in calls) * MINUTE_US <= rate.used(0) <= MINUTE_US * sum(map(max, calls))


# ---------------------------------------------------------------- what a provider told


def test_a_told_limit_gives_out_what_remains_and_waits_for_the_reset() -> None:
    told = Told(RateLimit("requests", 100, 2, 12.0), 0)
    for _ in range(2):
        assert told.wait_us(50, 0) == 0
        told.take(50, 0)
    assert told.wait_us(50, 0) == 12 * SECOND_US
    assert told.wait_us(50, 5 * SECOND_US) == 7 * SECOND_US
    assert told.wait_us(50, 12 * SECOND_US) == 0


def test_a_reset_that_shows_an_even_flow_is_not_waited_out() -> None:
    told = Told(RateLimit("tokens", 6000, 0, 60.0), 0)  # 100 a second
    assert 5 * SECOND_US <= told.wait_us(500, 0) <= 5 * SECOND_US + 1
    assert told.wait_us(500, 5 * SECOND_US + 1) == 0
    told.take(500, 5 * SECOND_US + 1)
    assert told.wait_us(500, 5 * SECOND_US + 1) > 4 * SECOND_US


def test_a_limit_of_requests_a_day_flows_evenly_too() -> None:
    told = Told(RateLimit("requests", 14_400, 0, 86_400.0), 0)  # Groq: one each 6 seconds
    assert 6 * SECOND_US <= told.wait_us(1, 0) <= 6 * SECOND_US + 1


def test_what_is_scarce() -> None:
    assert is_scarce(100, 19)
    assert not is_scarce(100, 20)
    assert is_scarce(None, 10)
    assert not is_scarce(None, 11)

"""Calls at a time: cut by the first refusal of a round, raised by successes while the bound is in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from genai_spine.policy.concurrency import CUT, AdaptivePlaces


def test_there_is_no_bound_until_something_is_refused() -> None:
    places = AdaptivePlaces()
    for _ in range(1000):
        assert places.is_free
        places.take()
    assert places.bound is None


def test_many_refusals_of_one_round_cut_once() -> None:
    places = AdaptivePlaces()
    rounds = [places.take() for _ in range(10)]
    for round in rounds:
        places.refused(round)
        places.give_back()
    assert places.bound == 10 * CUT


def test_the_bound_rises_by_one_for_a_round_of_successes() -> None:
    places = AdaptivePlaces()
    first = [places.take() for _ in range(10)]
    places.refused(first[0])
    for _ in first:
        places.give_back()
    for _ in range(7):
        assert places.is_free
        places.take()
    assert not places.is_free
    for _ in range(7):
        places.succeeded()
    assert places.bound is not None and 7.9 < places.bound < 8.1


def test_a_bound_that_nobody_needs_does_not_rise() -> None:
    places = AdaptivePlaces()
    for round in [places.take() for _ in range(10)]:
        places.refused(round)
        places.give_back()
    for _ in range(1000):
        places.take()
        places.succeeded()
        places.give_back()
    assert places.bound == 10 * CUT


def test_one_call_at_a_time_is_always_allowed() -> None:
    places = AdaptivePlaces()
    for _ in range(50):
        assert places.is_free
        places.refused(places.take())
        places.give_back()
    assert places.bound == 1


@given(st.integers(1, 60), st.integers(2, 20))
def test_a_capacity_that_nobody_told_is_found_and_kept_to(capacity: int, rounds: int) -> None:
    """A target that bears so many calls at a time and refuses the rest: soon it refuses few, and stays in use."""
    places, refused, served = AdaptivePlaces(), 0, 0
    for turn in range(rounds + 30):
        taken = []
        while places.is_free and len(taken) < 100:
            taken.append(places.take())
        for index, round in enumerate(taken):
            if index < capacity:
                places.succeeded()
            else:
                places.refused(round)
            if turn >= 30:
                refused, served = refused + (index >= capacity), served + (index < capacity)
        for _ in taken:
            places.give_back()
        assert places.taken == 0
    assert refused <= 0.1 * served + rounds
    assert served >= 0.6 * capacity * rounds

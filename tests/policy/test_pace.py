"""How fast a target is, from what was measured of it. The clock is a number."""

from __future__ import annotations

import random
import tracemalloc
from math import e

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.policy.pace import EDGES_S, ENOUGH, PEAK_DECAY_S, Pace, Quantile


def paced(*firsts_s: float, now_s: float = 0.0) -> Pace:
    pace = Pace()
    for first_s in firsts_s:
        pace.begun(first_s, now_s)
    return pace


def test_of_a_new_target_nothing_is_known() -> None:
    pace = Pace()
    assert (pace.count, pace.first_s, pace.tokens_per_s, pace.peak_s(0.0), pace.first_p95_s, pace.whole_p95_s) == (
        0, None, None, None, None, None,
    )  # fmt: skip


# ---------------------------------------------------------------- moving averages


def test_the_first_averages_are_plain_means() -> None:
    assert paced(1.0, 2.0, 6.0).first_s == pytest.approx(3.0)


def test_later_the_newest_counts_a_tenth() -> None:
    pace = paced(*[1.0] * 50)
    pace.begun(11.0, 0.0)
    assert pace.first_s == pytest.approx(2.0)
    assert pace.count == 51


def test_tokens_per_second_are_counted_from_the_first_token_on() -> None:
    pace = paced(2.0)
    pace.ended(12.0, 500, 12.0, first_s=2.0)
    assert pace.tokens_per_s == 50


def test_an_answer_that_did_not_count_its_tokens_says_nothing_of_them() -> None:
    pace = paced(2.0)
    pace.ended(12.0, None, 12.0, first_s=2.0)
    pace.ended(12.0, 0, 12.0, first_s=2.0)
    pace.ended(2.0, 10, 2.0, first_s=2.0)
    assert pace.tokens_per_s is None


def test_a_plain_answer_tells_the_least_tokens_per_second_until_a_stream_tells_better() -> None:
    pace = Pace()
    pace.ended(10.0, 100, 10.0)
    assert (pace.tokens_per_s, pace.count) == (10, 1)
    pace.begun(5.0, 15.0)
    pace.ended(10.0, 100, 20.0)
    assert (pace.tokens_per_s, pace.count) == (10, 3)
    pace.ended(10.0, 100, 25.0, first_s=5.0)
    assert pace.tokens_per_s == pytest.approx(15)


def test_plain_answers_say_nothing_of_how_soon_streams_begin() -> None:
    pace = Pace()
    for _ in range(ENOUGH):
        pace.ended(8.0, 100, 0.0)
    assert (pace.first_s, pace.first_p95_s) == (None, None)
    assert pace.whole_p95_s == pytest.approx(8.0, rel=0.1)
    assert pace.peak_s(0.0) == 8.0


def test_what_another_process_measured_holds_until_something_is_measured_here() -> None:
    pace = Pace()
    pace.heard(3.0, 40.0)
    pace.heard(None, None)
    assert (pace.first_s, pace.tokens_per_s, pace.count) == (3.0, 40.0, 0)
    pace.begun(1.0, 0.0)
    pace.heard(9.0, 50.0)
    assert (pace.first_s, pace.tokens_per_s) == (1.0, 50.0)
    pace.ended(11.0, 100, 10.0, first_s=1.0)
    pace.heard(9.0, 90.0)
    assert (pace.first_s, pace.tokens_per_s) == (1.0, 10.0)


def test_streams_after_many_plain_answers_are_averaged_among_themselves() -> None:
    pace = Pace()
    for _ in range(1000):
        pace.ended(8.0, 100, 0.0)
    pace.begun(1.0, 0.0)
    pace.begun(3.0, 0.0)
    assert pace.first_s == pytest.approx(2.0)


def test_times_of_a_clock_that_jumped_count_as_none() -> None:
    pace = paced(-5.0)
    pace.ended(-1.0, 10, 0.0, first_s=-5.0)
    pace.ended(-1.0, 10, 0.0)
    pace.failed(-1.0)
    assert (pace.first_s, pace.peak_s(0.0), pace.tokens_per_s) == (0.0, 0.0, None)


# ---------------------------------------------------------------- the peak


def test_a_peak_rises_at_once() -> None:
    pace = paced(*[1.0] * 20)
    pace.begun(30.0, 0.0)
    assert pace.peak_s(0.0) == 30.0


def test_and_falls_with_time_not_with_calls() -> None:
    pace = paced(30.0, *[1.0] * 1000)
    assert pace.peak_s(0.0) == 30.0, "in the same moment no number of quick ones hides it"
    pace.begun(1.0, PEAK_DECAY_S)
    assert pace.peak_s(PEAK_DECAY_S) == pytest.approx(1 + 29 / e)


def test_a_target_that_nobody_asks_is_worth_a_try_again() -> None:
    pace = paced(30.0)
    assert pace.peak_s(PEAK_DECAY_S) == pytest.approx(30 / e)
    assert pace.peak_s(100 * PEAK_DECAY_S) == pytest.approx(0)


def test_a_clock_set_back_keeps_no_peak_for_ever() -> None:
    pace = paced(30.0, now_s=1e6)
    assert pace.peak_s(0.0) == pytest.approx(0)
    pace.begun(1.0, 0.0)
    assert pace.peak_s(0.0) == pytest.approx(1.0)


def test_a_slow_failure_raises_the_peak_and_a_quick_one_does_not_lower_it() -> None:
    pace = paced(2.0)
    pace.failed(60.0, 0.0)
    assert pace.peak_s(0.0) == 60.0
    pace.failed(0.01, 10.0)
    assert pace.peak_s(10.0) == pytest.approx(60 * e ** (-10 / PEAK_DECAY_S))
    assert pace.first_s == 2.0


# ---------------------------------------------------------------- the slowest twentieth


def test_nothing_is_said_of_the_slowest_before_enough_is_seen() -> None:
    pace = paced(*[1.0] * (ENOUGH - 1))
    assert pace.first_p95_s is None
    pace.begun(1.0, 0.0)
    assert pace.first_p95_s == pytest.approx(1.0, rel=0.1)


@settings(max_examples=60)
@given(st.lists(st.floats(0.002, 900), min_size=20, max_size=400))
def test_the_estimate_is_at_most_a_tenth_above_a_true_95th_percentile(times: list[float]) -> None:
    estimate = Quantile()
    for seconds in times:
        estimate.add(seconds)
    estimate._known_s = None  # else it may be as old as eight answers
    ranked = sorted(times)
    true_s = ranked[len(ranked) - 1 - int(len(ranked) * 0.05)]
    assert estimate.p95_s is not None
    assert true_s * 0.999 <= estimate.p95_s <= true_s * 1.1


def test_the_estimate_forgets_what_a_provider_was_like() -> None:
    estimate, chance = Quantile(), random.Random(4)
    for _ in range(20_000):
        estimate.add(chance.uniform(8.0, 10.0))
    for _ in range(3000):
        estimate.add(chance.uniform(0.8, 1.0))
    assert estimate.p95_s == pytest.approx(1.0, rel=0.1)


def test_the_estimate_is_of_bounded_size_for_any_time() -> None:
    estimate = Quantile()
    for seconds in (0.0, -1.0, 1e-9, 0.001, 1e6, 1e300) * 10:
        estimate.add(seconds)
    assert estimate._counts is not None and len(estimate._counts) == len(EDGES_S) + 1
    assert estimate.p95_s == pytest.approx(1048.6, rel=0.01)


def test_losers_of_hedged_races_keep_the_estimate_from_sinking() -> None:
    """Each answer that is late is cut off at the estimate; what is late stays what it is."""
    pace, chance = Pace(), random.Random(7)
    draw = [chance.lognormvariate(0.0, 0.8) for _ in range(20_000)]
    true_s = sorted(draw)[int(len(draw) * 0.95)]
    hedged = 0
    for first_s in draw:
        late_s = pace.first_p95_s
        if late_s is not None and first_s > late_s:
            hedged += 1
            pace.failed(late_s, 0.0)
        else:
            pace.begun(first_s, 0.0)
    assert pace.first_p95_s == pytest.approx(true_s, rel=0.25)
    assert hedged / len(draw) < 0.07


def test_a_target_that_turned_slow_is_found_out_though_every_race_is_lost() -> None:
    pace = paced(*[1.0] * 500)
    for _ in range(1000):
        late_s = pace.first_p95_s
        assert late_s is not None
        if late_s < 5.0:
            pace.failed(late_s, 0.0)
        else:
            pace.begun(5.0, 0.0)
    assert pace.first_p95_s == pytest.approx(5.0, rel=0.2)


def test_the_timeouts_of_an_outage_are_not_what_late_means_after_it() -> None:
    pace = paced(*[1.0] * 400)
    for _ in range(100):
        pace.failed(120.0, 0.0)
    late_s = pace.first_p95_s
    assert late_s is not None and late_s < 3


def test_quick_failures_do_not_make_a_target_look_quick() -> None:
    pace = paced(*[4.0] * 100)
    for _ in range(1000):
        pace.failed(0.01, 0.0)
    assert pace.first_p95_s == pytest.approx(4.0, rel=0.1)
    assert pace.first_s == 4.0


def test_a_quantile_takes_the_same_memory_however_much_it_has_seen() -> None:
    few, many = ([Quantile() for _ in range(20)] for _ in range(2))

    def fed(quantiles: list[Quantile]) -> None:
        for times in quantiles:
            for number in range(1500):
                times.add(0.001 * (1 + number))

    fed(few)  # where Python has a compiler of its own, it is done with this by then
    tracemalloc.start()
    try:
        fed(many)
        grown_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown_bytes / len(many) < 2000, "its counts are 1.4 KB; as numbers of their own they would be 5.3"

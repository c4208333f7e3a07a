"""What must hold of many callers and failing services, in virtual time: figures of simulations, by seed.

The crowds here are small, so that all of it takes seconds; the services shrink with them. Those of ten thousand
callers are marked `slow`; docs/resilience.md shows their figures.
"""

from __future__ import annotations

import asyncio
from functools import cache

import pytest
from figures import Figures, jain, percentile
from scenarios import STRATEGIES
from simulate import simulate
from virtual_time import NothingHappens, VirtualClock

OUTAGES_END_S = 290


@cache
def weather(strategy: str, callers: int = 250, seed: int = 1) -> Figures:
    return simulate("weather", strategy=strategy, callers=callers, seed=seed, adaptive=True)


# ---------------------------------------------------------------- the clock


def test_an_hour_passes_in_no_time_and_in_order() -> None:
    clock, heard = VirtualClock(), []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds)
        heard.append((seconds, clock.now_s))

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(sleep(1), sleep(3))
        await asyncio.gather(sleep(3600), sleep(60))

    clock.run(main())
    assert heard == [(1, 1), (60, 62), (3600, 3602)]


def test_who_waits_for_what_nobody_brings_is_told() -> None:
    with pytest.raises(NothingHappens):
        VirtualClock().run(asyncio.Event().wait())  # type: ignore[arg-type]


def test_threads_are_refused() -> None:
    with pytest.raises(RuntimeError, match="thread"):
        VirtualClock().run(asyncio.to_thread(print))


@pytest.mark.slow
def test_a_seed_gives_the_same_figures() -> None:
    once, again, other = (simulate("limited", callers=50, seed=seed) for seed in (7, 7, 8))
    assert once == again
    assert once != other


def test_jain_and_percentiles() -> None:
    assert jain([1.0, 1.0, 1.0]) == 1.0
    assert jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 3.0
    assert percentile([], 99) == 0.0


# ---------------------------------------------------------------- what holds whatever the weather


def _holds_always(figures: Figures) -> None:
    assert figures.after_leaving == 0, "no request goes out for a call that is over"
    assert figures.while_open == 0, "nothing is sent past an open breaker but a last resort"
    assert figures.most_probing <= 1, "one probe at a time"
    assert figures.in_flight_left == 0, "what a call held is given back"
    assert figures.attempts == figures.arrivals, "the record tells of every request"


def _comes_through(figures: Figures) -> None:
    """An outage, a brown-out and a silence of one service each, where the others have room for its callers."""
    _holds_always(figures)
    assert figures.goodput >= 0.98
    assert figures.extra_load <= 0.25
    assert figures.fairness >= 0.95
    assert figures.fairness_by_class >= 0.99
    for recovery in figures.recoveries:
        if recovery.kind == "errors":
            assert recovery.back_s is not None and recovery.back_s <= 75
    assert figures.failed_share(OUTAGES_END_S + 60, 400) <= 0.01, "no second collapse"
    assert figures.phases["calm"].attempts_per_call <= 1.1


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "strategy", ["ordered", *(pytest.param(name, marks=SLOW) for name in ("least_busy", "latency"))]
)
@pytest.mark.slow
def test_callers_hardly_notice_when_one_of_five_fails(strategy: str) -> None:
    _comes_through(weather(strategy))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ten_thousand_callers_hardly_notice(strategy: str) -> None:
    _comes_through(weather(strategy, callers=10_000))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 7))
@pytest.mark.parametrize("strategy", ["ordered", "speed", "latency"])
def test_it_is_not_luck(strategy: str, seed: int) -> None:
    _comes_through(weather(strategy, callers=500, seed=seed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["errors", *(pytest.param(kind, marks=SLOW) for kind in ("refused", "silent"))])
def test_when_all_are_down_they_are_not_stormed(kind: str) -> None:
    figures = simulate("blackout", callers=300, kind=kind, lasts_s=150.0)
    _holds_always(figures)
    # Two minutes into it, when all breakers have opened and what was saved up for retries is spent: a fifth of the
    # calls by the budget, and with so few callers a tenth by the retry that is free every ten seconds.
    assert figures.extra_load_of(180, 210) <= 0.35
    assert figures.last_resorts > 0, "and someone is asked all the same"
    assert figures.failed_share(210 + 100, 390) <= 0.01


@pytest.mark.slow
def test_a_long_absence_costs_the_others_callers_nothing() -> None:
    figures = simulate("absence", callers=200, lasts_s=600.0)
    _holds_always(figures)
    assert figures.goodput == 1.0
    assert figures.extra_load <= 0.03
    assert figures.probes <= 30
    (recovery,) = figures.recoveries
    assert recovery.back_s is not None and recovery.back_s <= 75, "twice open_for, and what the probe takes"


@pytest.mark.slow
def test_who_comes_back_weak_is_not_knocked_down_again() -> None:
    figures = simulate("absence", callers=200, lasts_s=60.0, weak=True)
    _holds_always(figures)
    assert figures.failed_share(120, 420) <= 0.01


# ---------------------------------------------------------------- what each part is for


@pytest.mark.slow
def test_without_a_retry_budget_a_hiccup_never_ends() -> None:
    with_budget, without = (simulate("storm", callers=1000, **given) for given in ({}, {"budget": 10.0}))
    _holds_always(with_budget)
    assert with_budget.phases["after"].answered_share >= 0.99
    assert with_budget.extra_load <= 0.25
    assert without.phases["after"].answered_share <= 0.5
    assert without.extra_load >= 1.0


@pytest.mark.slow
def test_without_a_breaker_every_call_waits_for_the_silent_one() -> None:
    with_breaker, without = (
        simulate("absence", callers=120, kind="silent", lasts_s=600.0, breaker=breaker) for breaker in (True, False)
    )
    assert with_breaker.phases["during"].p95_s <= 15
    assert without.phases["during"].p95_s >= 20


@pytest.mark.slow
def test_without_jitter_those_who_failed_together_come_back_together() -> None:
    with_jitter, without = (simulate("wave", jitter=jitter) for jitter in (True, False))
    assert with_jitter.answered >= 1.2 * without.answered


@pytest.mark.slow
def test_a_retry_after_is_kept_to_by_every_call() -> None:
    told, untold = (simulate("limited", callers=800, told=told) for told in (True, False))
    _holds_always(told)
    assert told.refused <= untold.refused / 10
    assert told.goodput >= untold.goodput


@pytest.mark.slow
def test_a_hedge_cuts_the_tail_within_its_budget() -> None:
    hedged, alone = (simulate("tail", callers=300, budget=budget) for budget in (0.1, 0.0))
    _holds_always(hedged)
    assert hedged.first_p99_s <= 0.75 * alone.first_p99_s
    assert hedged.extra_load <= 0.11


@pytest.mark.slow
def test_a_callers_own_limit_keeps_the_greedy_from_the_others_share() -> None:
    limited, free = (simulate("scarce", callers=400, own_limits=own) for own in (True, False))
    for figures in (limited, free):
        _holds_always(figures)
        assert figures.refused <= 0.01 * figures.calls, "our limiter is not more generous than the service"
    assert limited.fairness_of_calls >= free.fairness_of_calls + 0.05
    assert limited.answered_share["0"] > free.answered_share["0"] - 0.05


@pytest.mark.slow
def test_priority_is_let_in_first_and_starves_nobody() -> None:
    figures = simulate("scarce", callers=400, own_limits=False)
    assert figures.answered_share["1"] >= 0.98
    assert figures.p95_by_class["1"] <= figures.p95_by_class["0"] / 2
    assert figures.answered_share["0"] >= 0.75
    assert figures.fairness >= 0.9
    assert figures.fairness_by_class >= 0.9

"""Forecasts of what will be spent: right where days are alike, wide where they are not, silent where none can know."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from math import exp, sqrt

import pytest

from genai_spine.policy.forecast import DAYS_BEFORE, forecast

MONDAY = date(2026, 11, 2)
USD = 1_000_000_000


def test_days_that_are_all_the_same_go_on_so() -> None:
    found = forecast([5 * USD] * 28, 50 * USD, MONDAY, MONDAY + timedelta(10), 0.5)
    assert found.expected == 50 * USD + int(10.5 * 5 * USD)
    assert found.low is not None
    assert found.high is not None
    assert found.spent < found.low < found.expected < found.high < 1.3 * found.expected
    assert found.days == 28


def test_weekends_are_told_from_weekdays() -> None:
    days = [0 if (MONDAY - timedelta(28 - index)).weekday() >= 5 else 10 * USD for index in range(28)]
    week = forecast(days, 0, MONDAY, MONDAY + timedelta(4), 1.0).expected
    weekend = forecast([*days, *[10 * USD] * 5], 0, MONDAY + timedelta(5), MONDAY + timedelta(6), 1.0).expected
    assert week is not None
    assert weekend is not None
    assert 45 * USD < week <= 50 * USD
    assert weekend < 4 * USD


@pytest.mark.parametrize("days", [0, 1, 2])
def test_of_too_few_days_nothing_is_foretold(days: int) -> None:
    found = forecast([USD] * days, 3 * USD, MONDAY, MONDAY + timedelta(20), 0.5, limit=100 * USD)
    assert (found.spent, found.expected, found.low, found.high, found.reached_on) == (3 * USD, None, None, None, None)
    assert found.days == days


def test_of_a_few_days_the_interval_is_wide() -> None:
    chance = random.Random(3)
    days = [int(chance.gammavariate(4, USD)) for _ in range(28)]
    end = MONDAY + timedelta(14)
    few, many = forecast(days[-4:], 0, MONDAY, end, 1.0), forecast(days, 0, MONDAY, end, 1.0)
    assert few.high is not None
    assert few.low is not None
    assert many.high is not None
    assert many.low is not None
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_where_nothing_was_spent_nothing_is_expected() -> None:
    found = forecast([0] * 28, 0, MONDAY, MONDAY + timedelta(20), 0.5, limit=USD)
    assert (found.expected, found.low, found.high, found.reached_on) == (0, 0, 0, None)


def test_days_longer_ago_than_four_weeks_say_nothing() -> None:
    end = MONDAY + timedelta(5)
    assert forecast([999 * USD] * 50 + [USD] * DAYS_BEFORE, 0, MONDAY, end, 1.0) == forecast(
        [USD] * DAYS_BEFORE, 0, MONDAY, end, 1.0
    )


def test_the_day_is_told_on_which_the_limit_is_reached() -> None:
    days = [2 * USD] * 28

    def day_of(limit: int, last: date | None = MONDAY + timedelta(20)) -> date | None:
        return forecast(days, 4 * USD, MONDAY, last, 0.5, limit=limit * USD).reached_on

    assert day_of(3) == MONDAY
    assert day_of(5) == MONDAY
    assert day_of(7) == MONDAY + timedelta(1)
    assert day_of(9) == MONDAY + timedelta(2)
    assert day_of(1000) is None
    assert day_of(104, None) == MONDAY + timedelta(50)
    assert forecast(days, 4 * USD, MONDAY, None, 0.5, limit=104 * USD).expected is None


# ------------------------------------------------------------ how often the interval holds

Series = Callable[[random.Random, int, date], list[float]]


def alike(chance: random.Random, days: int, first: date) -> list[float]:
    return [chance.gammavariate(2, 5) for _ in range(days)]


def working_weeks(chance: random.Random, days: int, first: date) -> list[float]:
    dates = [first + timedelta(index) for index in range(days)]
    return [chance.gammavariate(4, 2.5) * (0.15 if day.weekday() >= 5 else 1) for day in dates]


def heavy_tails(chance: random.Random, days: int, first: date) -> list[float]:
    return [chance.lognormvariate(0, 1) for _ in range(days)]


def now_and_then(chance: random.Random, days: int, first: date) -> list[float]:
    return [chance.expovariate(1) if chance.random() < 0.3 else 0.0 for _ in range(days)]


def in_waves(chance: random.Random, days: int, first: date) -> list[float]:
    level, levels = chance.gauss(0, 0.5 / sqrt(1 - 0.64)), []
    for _ in range(days):
        level = 0.8 * level + chance.gauss(0, 0.5)
        levels.append(exp(level))
    return levels


def wandering(chance: random.Random, days: int, first: date) -> list[float]:
    level, levels = 0.0, []
    for _ in range(days):
        level += chance.gauss(0, 0.08)
        levels.append(exp(level) * chance.gammavariate(10, 0.1))
    return levels


def growing(chance: random.Random, days: int, first: date) -> list[float]:
    return [chance.gammavariate(8, 1) * 1.01**index for index in range(days)]


def coverage(series: Series, days: int, ahead: int, rounds: int) -> float:
    chance = random.Random(f"{series.__name__} {days} {ahead}")
    held = 0
    for _ in range(rounds):
        today = MONDAY + timedelta(chance.randrange(7))
        amounts = [int(USD * each) for each in series(chance, days + ahead, today - timedelta(days))]
        found = forecast(amounts[:days], 0, today, today + timedelta(ahead - 1), 1.0)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= sum(amounts[days:]) <= found.high
    return held / rounds


LEAST: dict[Series, float] = {
    alike: 0.90, working_weeks: 0.90, heavy_tails: 0.85, now_and_then: 0.80,
    in_waves: 0.65, wandering: 0.60, growing: 0.45,
}  # fmt: skip
"""How often the interval of 90 % holds at the least, of 10 days before and 20 to come, and of 28 and 3 or 30: what
docs/costs.md says of it. Where use grows or wanders, nothing before tells how far."""


@pytest.mark.parametrize("rounds", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_interval_holds_as_often_as_is_said(rounds: int) -> None:
    slack = 2.5 * sqrt(0.2 / rounds)  # chance is seeded: it fails always or never
    for series, least in LEAST.items():
        for days, ahead in ((10, 20), (28, 3), (28, 30)):
            held = coverage(series, days, ahead, rounds)
            assert held >= least - slack, f"{series.__name__}, {days} days before, {ahead} ahead: {held:.2f}"


if __name__ == "__main__":
    for each in LEAST:
        figures = [
            f"{coverage(each, days, ahead, 1000):.2f}" for days, ahead in ((10, 20), (28, 3), (28, 15), (28, 30))
        ]
        print(f"{each.__name__:14}", *figures)

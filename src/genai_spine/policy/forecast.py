"""What will have been spent at the end of a window, from what was spent each day until now, and how sure that is.

The method, in words for docs/costs.md: a day to come is expected to be like those before it, the recent ones counting
more (half as much after `HALF_LIFE_DAYS`), and like those of its weekday, as far as there are two weeks of them. The
interval is meant to hold 90 of 100 times. It is made of

    the scatter of single days, in what is to come
    what the scatter makes of the mean, of so few days
    days that follow one another being alike (lag-1 autocorrelation of what is left unexplained)
    use that changes: 3 % a day, a random walk, also over the days that the mean is old

and its ends are the wider ones of a normal and a log-normal distribution, with Student's t for the few days. How often
it held is measured (tests/policy/test_forecast.py). Amounts are of any unit, whole numbers: nano-dollars, tokens.
No clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from math import exp, log, sqrt

import msgspec

FEWEST_DAYS = 3
DAYS_OF_WEEKDAYS = 14
DAYS_BEFORE = 28
"""How far back days count."""
HALF_LIFE_DAYS = 10.0
DRIFT = 0.03
"""How much use changes from one day to the next, as a share of it."""
_SHORT = 7
"""Of fewer days than a week the variance is taken to be twice as high: nothing is known of how days hang together."""
_ALIKE = 1.0
"""Days of the mean that a weekday's own mean is mixed with."""
_MOST_ALIKE = 0.8
_LONGEST_DAYS = 366
"""How far ahead the day is looked for on which a limit without an end is reached."""
_Z = 1.6448536269514722
"""Of the normal distribution, 5 % are beyond it at either side."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`expected`, `low` and `high` are sums at the window's end, with what is spent; None where there are too few
    days before today to tell."""

    spent: int
    expected: int | None = None
    low: int | None = None
    high: int | None = None
    days: int = 0
    """So many it rests on."""
    reached_on: date | None = None
    """The day on which a limit is expected to be reached, where that is in the window."""


def forecast(
    before: Sequence[int],
    spent: int,
    today: date,
    last_day: date | None,
    left_of_today: float,
    limit: int | None = None,
) -> Forecast:
    """`before`: what was spent on each full day, the last one being yesterday; `spent`: in the window, with today.

    `last_day` is the window's; None: it has no end, and nothing is foretold but when the limit is reached.
    `left_of_today` is a share of the day.
    """
    days = list(before[-DAYS_BEFORE:])
    if len(days) < FEWEST_DAYS:
        is_reached = limit is not None and spent >= limit
        return Forecast(spent=spent, days=len(days), reached_on=today if is_reached else None)
    model = _Days(days, today)
    reached_on = model.reaches(limit - spent, last_day, left_of_today) if limit is not None else None
    if last_day is None:
        return Forecast(spent=spent, days=len(days), reached_on=reached_on)
    rest, low, high = model.sum_of(left_of_today, (last_day - today).days)
    return Forecast(
        spent=spent,
        expected=spent + round(rest),
        low=spent + round(low),
        high=spent + round(high),
        days=len(days),
        reached_on=reached_on,
    )


class _Days:
    """The days before, as a model of those to come."""

    def __init__(self, days: Sequence[int], today: date) -> None:
        self._today = today
        count = len(days)
        weights: list[float] = [0.5 ** ((count - 1 - index) / HALF_LIFE_DAYS) for index in range(count)]
        total = sum(weights)
        self._effective = total * total / sum(weight * weight for weight in weights)
        self._age = sum((count - index) * weight for index, weight in enumerate(weights)) / total
        mean = sum(weight * day for weight, day in zip(weights, days, strict=True)) / total
        weekdays = [(today - timedelta(count - index)).weekday() for index in range(count)]
        self._means = [mean] * 7
        parameters = 1.0
        if count >= DAYS_OF_WEEKDAYS:
            mixed = _ALIKE * total / count
            for weekday in range(7):
                own = [
                    (weight, day) for weight, day, each in zip(weights, days, weekdays, strict=True) if each == weekday
                ]
                self._means[weekday] = (sum(weight * day for weight, day in own) + mixed * mean) / (
                    sum(weight for weight, _ in own) + mixed
                )
            parameters += 6 * (count / 7) / (count / 7 + _ALIKE)
        left = [day - self._means[weekday] for day, weekday in zip(days, weekdays, strict=True)]
        self._freedom = max(self._effective - parameters, 2.0)
        scatter = sum(weight * each * each for weight, each in zip(weights, left, strict=True)) / total
        scatter *= self._effective / max(self._effective - parameters, 1.0)
        alike = _alike(left) if count >= _SHORT else 0.0
        self._variance = scatter * (1 + alike) / (1 - alike) * (1 if count >= _SHORT else 2)

    def _of(self, day: date) -> float:
        return self._means[day.weekday()]

    def sum_of(self, left_of_today: float, days_after: int) -> tuple[float, float, float]:
        """What comes: expected, and between which two."""
        days = left_of_today + days_after
        mean = left_of_today * self._of(self._today)
        mean += sum(self._of(self._today + timedelta(number)) for number in range(1, days_after + 1))
        if mean <= 0 or days <= 0:
            return 0.0, 0.0, 0.0
        variance = self._variance * (days + days * days / self._effective)
        variance += mean * mean * DRIFT * DRIFT * (days + self._age) / 3
        width = _student(self._freedom) * sqrt(variance)
        spread = log(1 + variance / (mean * mean))
        middle, factor = mean / exp(spread / 2), exp(_student(self._freedom) * sqrt(spread))
        return mean, max(0.0, min(middle / factor, mean - width)), max(middle * factor, mean + width)

    def reaches(self, left: int, last_day: date | None, left_of_today: float) -> date | None:
        """The day on which so much more will have been spent."""
        day, rest = self._today, left - left_of_today * self._of(self._today)
        if left <= 0:
            return day
        last = self._today + timedelta(_LONGEST_DAYS) if last_day is None else last_day
        while rest >= 0.5 and day < last:  # half a nano-dollar is a rounding
            day += timedelta(1)
            rest -= self._of(day)
        return day if rest < 0.5 else None


def _alike(left: Sequence[float]) -> float:
    """How much a day's deviation says of the next one's, from 0 on; of few days it is found too low, by 1/n."""
    squares = sum(each * each for each in left)
    if squares <= 0:
        return 0.0
    found = sum(one * next for one, next in pairwise(left)) / squares
    return min(max(found + 1 / len(left), 0.0), _MOST_ALIKE)


def _student(freedom: float) -> float:
    """The quantile of Student's t, by its expansion about the normal one: Abramowitz and Stegun 26.7.5."""
    z, v = _Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )

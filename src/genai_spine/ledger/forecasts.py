"""What will have been spent at the end of the month, and of each budget's window, by the days in the ledger.

The method is policy/forecast.py's; here it meets the roll-ups. Days are UTC's: a window in another time zone is
foretold to the end of the day that it ends in. Must not know: HTTP, the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import inf
from typing import Literal

import msgspec

from genai_spine.ledger.days import Days, DaySum, days_by, days_of
from genai_spine.ledger.reading import Reader, usd
from genai_spine.ledger.spent import read_spent
from genai_spine.policy.budget import Budget, span_of
from genai_spine.policy.forecast import DAYS_BEFORE, FEWEST_DAYS, Forecast, forecast

LOOK_BACK_DAYS = 120
"""What spent nothing for so long, and then something, is new: the days before it began do not count."""
_MOST_NAMES = 50
Amount = Callable[[DaySum], int]
Unit = Literal["USD", "tokens"]
_DAY_S = 86_400


class Foretold(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what is `spent` until now, and what will be at the end of `last_day`. None: it is not known; `why` says
    why not. `unit` is of all amounts."""

    kind: str
    """`total`, what is summed by, or `budget`."""
    name: str
    window: str
    last_day: date | None
    unit: Unit
    spent: Decimal
    expected: Decimal | None
    low: Decimal | None
    high: Decimal | None
    days: int
    limit: Decimal | None = None
    reached_on: date | None = None
    """When the limit is expected to be reached; None: not in this window."""
    why: str | None = None


def month_forecasts(
    reader: Reader, now: datetime, by: str | None = None, *, caller: str | None = None
) -> list[Foretold]:
    """Of this month (UTC): the dearest first, the total last. Of one caller, or of all. Raises: the driver's errors."""
    today = now.astimezone(UTC).date()
    since = today - timedelta(LOOK_BACK_DAYS)
    first = today.replace(day=1)
    last = (first + timedelta(32)).replace(day=1) - timedelta(1)

    def line(kind: str, name: str, days: Days) -> Foretold:
        spent = sum(_known(day) for at, day in days.items() if first <= at <= last)
        return _of(kind, name, "month", last, days, spent, now, _known)

    found = []
    if by is not None and by != "day":
        found = [line(by, name, days) for name, days in days_by(reader, by, since, caller).items()]
        found.sort(key=lambda each: (-each.spent, each.name))
    return [*found[:_MOST_NAMES], line("total", "", days_by(reader, None, since, caller).get("", {}))]


def budget_forecasts(reader: Reader, budgets: tuple[Budget, ...], now: datetime) -> Iterator[Foretold]:
    """Of each budget's window, in dollars, in tokens or both; of all who have it each, as far as they spent anything.
    Raises: the driver's errors."""
    today = now.astimezone(UTC).date()
    spent = read_spent(reader, budgets, now.timestamp())
    for budget in budgets:
        span = span_of(budget.window, now.timestamp(), budget.zone)
        last = None if span.ends_s == inf else datetime.fromtimestamp(span.ends_s - 1, UTC).date()
        days = days_of(reader, budget, today - timedelta(LOOK_BACK_DAYS))
        for whose in ("",) if budget.each is None else spent.names(budget)[:_MOST_NAMES]:
            nanousd, tokens = spent.of(budget, whose, span.starts_s) or (0, 0)
            own = None if days is None else days.get(whose, {})
            name = f"{budget.name}[{whose}]" if whose else budget.name
            if (limit := budget.limit_nanousd) is not None:
                yield _of("budget", name, budget.window, last, own, nanousd, now, _counted, limit)
            if (limit := budget.limit_tokens) is not None:
                yield _of("budget", name, budget.window, last, own, tokens, now, _tokens, limit, "tokens")


def _known(day: DaySum) -> int:
    return day.cost_nanousd


def _counted(day: DaySum) -> int:
    """As a budget counts: what is not known, for what it took it."""
    return day.cost_nanousd + day.taken_nanousd


def _tokens(day: DaySum) -> int:
    return day.tokens


def _of(
    kind: str,
    name: str,
    window: str,
    last_day: date | None,
    days: Days | None,
    spent: int,
    now: datetime,
    amount_of: Amount,
    limit: int | None = None,
    unit: Unit = "USD",
) -> Foretold:
    today = now.astimezone(UTC).date()
    before = _before(days or {}, today, amount_of)
    left_of_today = 1 - (now.timestamp() % _DAY_S) / _DAY_S
    told = forecast(before, spent, today, last_day, left_of_today, limit)

    def in_unit(amount: int | None) -> Decimal | None:
        return usd(amount) if unit == "USD" else None if amount is None else Decimal(amount)

    return Foretold(
        kind=kind,
        name=name,
        window=window,
        last_day=last_day,
        unit=unit,
        spent=in_unit(spent) or Decimal(0),
        expected=in_unit(told.expected),
        low=in_unit(told.low),
        high=in_unit(told.high),
        days=told.days,
        limit=in_unit(limit),
        reached_on=told.reached_on,
        why=_why(days, told, last_day),
    )


def _why(days: Days | None, told: Forecast, last: date | None) -> str | None:
    if days is None:
        return "the sums of days do not tell these apart"
    if told.expected is not None:
        return None
    return "its window never ends" if last is None and told.days >= FEWEST_DAYS else f"too few full days: {told.days}"


def _before(days: Days, today: date, amount_of: Amount) -> list[int]:
    """The full days until yesterday, from the first on that anything was spent."""
    known = [at for at in days if at < today]
    if not known:
        return []
    first = max(min(known), today - timedelta(DAYS_BEFORE))
    dates = (first + timedelta(number) for number in range((today - first).days))
    return [amount_of(days[at]) if at in days else 0 for at in dates]

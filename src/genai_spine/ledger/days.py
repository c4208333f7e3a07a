"""What was spent day by day, from the roll-ups: of everything, of one kind, or of what a budget is for.

Days are UTC's. Must not know: HTTP, the terminal, the clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from genai_spine.ledger.reading import BY, Reader, usd
from genai_spine.ledger.spent import KINDS, kind_of, kinds_of, subject_of
from genai_spine.policy.budget import Budget


class DailyCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider has cost on one day."""

    date: date
    provider: str
    cost: Decimal = Decimal(0)
    """USD; without the requests whose cost is not known, which `unpriced` counts."""
    requests: int = 0
    tokens: int = 0
    unpriced: int = 0


class DaySum(NamedTuple):
    """Of one day: known costs, what budgets take those for that are not known, and tokens in and out, as budgets count
    them."""

    cost_nanousd: int
    taken_nanousd: int
    tokens: int


Days = dict[date, DaySum]


def daily_costs(
    reader: Reader, *, since: date | None = None, until: date | None = None, caller: str | None = None
) -> dict[str, DailyCost]:
    """By `provider:YYYY-MM-DD`, the earliest first. Requests are those that were sent: attempts. Raises: the driver's
    errors."""
    rows = reader.query(
        "SELECT name, day, sum(cost_nanousd), sum(attempts), sum(input_tokens + output_tokens), sum(unpriced) "
        "FROM daily WHERE kind = 'provider' AND caller = ? AND day >= ? AND day <= ? GROUP BY name, day "
        "ORDER BY day, name",
        (caller or "", (since or date.min).isoformat(), (until or date.max).isoformat()),
    )
    return {
        f"{name}:{day}": DailyCost(
            date=date.fromisoformat(day),
            provider=name,
            cost=usd(int(cost)) or Decimal(0),
            requests=int(requests),
            tokens=int(tokens),
            unpriced=int(unpriced),
        )
        for name, day, cost, requests, tokens, unpriced in rows
    }


def days_by(reader: Reader, by: str | None, since: date, caller: str | None = None) -> dict[str, Days]:
    """The days of each name of one kind (`reading.BY`), or of everything, under the name "". Raises: the driver's."""
    kind = BY[by] if by is not None else "all"
    if kind == "caller" and caller is not None:
        return {caller: _added(row[2:] for row in _rows(reader, "all", since, caller))}
    named: defaultdict[str, list[tuple[str, DaySum]]] = defaultdict(list)
    for _, name, day, sums in _rows(reader, kind, since, caller or ""):
        named[name].append((day, sums))
    return {name: _added(days) for name, days in named.items()}


def days_of(reader: Reader, budget: Budget, since: date) -> dict[str, Days] | None:
    """The days of what a budget is for, by whose it is: "" where everybody shares it. None where the roll-ups do not
    tell: they know of two things at a time, of which one is the key. What has two tags that a pattern fits is in the
    sums of both, and twice in these. Raises: the driver's errors."""
    kinds = kinds_of(budget)
    if kinds is None:
        return None
    kind, by_key = kind_of(kinds)
    found: defaultdict[str, list[tuple[str, DaySum]]] = defaultdict(list)
    for caller, name, day, sums in _rows(reader, KINDS.get(kind, "all"), since, None if by_key else ""):
        for whose in budget.whose(subject_of(kind, caller, name)):
            found[whose].append((day, sums))
    return {whose: _added(days) for whose, days in found.items()}


def _rows(reader: Reader, kind: str, since: date, caller: str | None) -> Iterator[tuple[str, str, str, DaySum]]:
    """Caller, name, day and its sums. `caller` "" is for all callers together, None for each of them."""
    whose = "caller <> ''" if caller is None else "caller = ?"
    rows = reader.query(
        f"SELECT caller, name, day, cost_nanousd, taken_nanousd, "
        "input_tokens + output_tokens + uncounted_tokens FROM daily "
        f"WHERE kind = ? AND {whose} AND day >= ?",
        (kind, *(() if caller is None else (caller,)), since.isoformat()),
    )
    for found, name, day, cost, taken, tokens in rows:
        yield found, name, day, DaySum(int(cost), int(taken), int(tokens))


def _added(days: Iterable[tuple[str, DaySum]]) -> Days:
    sums: Days = {}
    for text, more in days:
        day = date.fromisoformat(text)
        had = sums.get(day)
        sums[day] = more if had is None else DaySum(*(a + b for a, b in zip(had, more, strict=True)))
    return sums

"""`CostTracker`: budgets of providers for a program that calls them by itself, in the words of the specification.

    tracker = CostTracker(daily_limits={"openai": 5.0}, monthly_limits={"openai": 100.0}, alert_callback=warn)
    with tracker.reserve("openai", 0.02) as call:       # or BudgetExceeded
        ...
        call.spent(0.0187, tokens=1_204)

What the engine calls is counted by the manager's own budgets (`manager.budgets`). Safe in one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import msgspec

from genai_spine.engine.costs import budget_words
from genai_spine.engine.costs.budgets import Budgets
from genai_spine.ledger.days import DailyCost
from genai_spine.ledger.entry import NANO
from genai_spine.ledger.reading import usd
from genai_spine.policy.budget import Budget, BudgetLevel, Subject, Tally, zone_of
from genai_spine.policy.budget_need import Amount

Usd: TypeAlias = Decimal | float | int | str
AlertCallback = Callable[[str, Decimal, Decimal], None]
"""Is told the provider, what it has cost in the window, and the limit."""


class Spent:
    """One call under way: `spent` says what it came to. Where nobody says, what was reserved counts."""

    __slots__ = ("amount",)

    def __init__(self, amount: Amount) -> None:
        self.amount = amount

    def spent(self, cost: Usd, tokens: int = 0) -> None:
        self.amount = Amount(_nanousd(cost), tokens)


class CostTracker:
    """Limits in USD, by provider. `current_costs` has a key `provider:YYYY-MM-DD` for each day of the last 400."""

    def __init__(
        self,
        *,
        daily_limits: Mapping[str, Usd] = {},
        monthly_limits: Mapping[str, Usd] = {},
        alert_threshold: float = 0.8,
        alert_callback: AlertCallback | None = None,
        timezone: str = "UTC",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if type(alert_threshold) not in (int, float) or not 0 < alert_threshold <= 1:
            share = "a share of the limit, more than 0 and at most 1"
            raise ValueError(f"alert_threshold: expected {share}, got {alert_threshold!r}")
        self.daily_limits = {provider: _decimal(limit) for provider, limit in daily_limits.items()}
        self.monthly_limits = {provider: _decimal(limit) for provider, limit in monthly_limits.items()}
        self.alert_threshold = alert_threshold
        self.alert_callback = alert_callback
        self.current_costs: dict[str, DailyCost] = {}
        self._zone = zone_of(timezone)
        self._clock = clock
        self._budgets = Budgets(
            [
                Budget(
                    name=f"{provider}_{ending}",
                    window="day" if ending == "daily" else "month",
                    zone=timezone,
                    limit_nanousd=_nanousd(limit),
                    alert_at=alert_threshold,
                    provider=provider,
                )
                for ending, limits in (("daily", self.daily_limits), ("monthly", self.monthly_limits))
                for provider, limit in limits.items()
            ],
            clock=clock,
        )
        self._budgets.on_level.append(self._alert)

    @contextmanager
    def reserve(self, provider: str, cost: Usd) -> Iterator[Spent]:
        """Room for a call that is likely to cost so much. Raises: BudgetExceeded, before anything is spent."""
        held = Amount(_nanousd(cost), 0)
        tallies = self._tallies(provider)
        for tally in tallies:
            if not tally.has_left(held):
                raise budget_words.no_room(tally, held, self._clock())
        for tally in tallies:
            tally.reserve(*held)
        call = Spent(held)
        try:
            yield call
        finally:
            self._count(provider, tallies, held, call.amount)

    def track_cost(self, provider: str, cost: Usd, tokens: int = 0) -> DailyCost:
        """A call that is over has cost this, whether there was room for it or not."""
        return self._count(provider, self._tallies(provider), Amount(0, 0), Amount(_nanousd(cost), tokens))

    def is_within(self, provider: str, cost: Usd = 0) -> bool:
        """Whether so much more may be spent on a provider now."""
        return all(
            not tally.is_exhausted and tally.has_left(Amount(_nanousd(cost), 0)) for tally in self._tallies(provider)
        )

    def daily_cost(self, provider: str, day: date | None = None) -> DailyCost:
        """Of one day; without one, of today."""
        day = day or self._today()
        return self.current_costs.get(f"{provider}:{day}") or DailyCost(date=day, provider=provider)

    def _tallies(self, provider: str) -> tuple[Tally, ...]:
        return self._budgets.tallies_of(Subject(provider, ""))

    def _count(self, provider: str, tallies: tuple[Tally, ...], held: Amount, spent: Amount) -> DailyCost:
        for tally in tallies:
            tally.settle(held, *spent)
        before = self.daily_cost(provider)
        found = msgspec.structs.replace(
            before,
            cost=before.cost + Decimal(spent.nanousd) / NANO,
            requests=before.requests + 1,
            tokens=before.tokens + spent.tokens,
        )
        self.current_costs[f"{provider}:{found.date}"] = found
        self._forget(found.date)
        self._budgets.tell(tallies)
        return found

    def _forget(self, today: date) -> None:
        if len(self.current_costs) > _MOST_DAYS:
            kept = [(key, cost) for key, cost in self.current_costs.items() if (today - cost.date).days <= _KEPT_DAYS]
            self.current_costs = dict(kept[-_MOST_DAYS:])

    def _alert(self, level: BudgetLevel) -> None:
        if self.alert_callback is not None and level.provider is not None:
            spent, limit = usd(level.spent_nanousd), usd(level.limit_nanousd)
            self.alert_callback(level.provider, spent or Decimal(0), limit or Decimal(0))

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).astimezone(self._zone).date()


_KEPT_DAYS = 400
_MOST_DAYS = 10_000


def _decimal(amount: Usd) -> Decimal:
    """Raises: ValueError."""
    try:
        found = Decimal(str(amount))
    except InvalidOperation:
        found = Decimal("nan")
    if not found.is_finite() or found < 0:
        raise ValueError(f"an amount in USD, 0 or more, not {amount!r}")
    return found


def _nanousd(amount: Usd) -> int:
    return int((_decimal(amount) * NANO).to_integral_value())

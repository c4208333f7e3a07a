"""What is told by days: costs of each provider, and forecasts of the month and of budgets, all from the roll-ups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from entries import begun, ended, over

from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.days import DailyCost, daily_costs, days_of
from genai_spine.ledger.entry import Entry
from genai_spine.ledger.forecasts import Foretold, budget_forecasts, month_forecasts
from genai_spine.ledger.matching import Matching
from genai_spine.policy.budget import Budget

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CENT = 10_000_000


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """For thirty days two cents a day at openai, by alice at night and by bob, one of which nobody knows the cost of;
    mistral is two days old."""
    database = SqliteDatabase(tmp_path / "spine.db")
    entries: list[Entry] = []
    for back in range(31):
        at = (NOW - timedelta(back)).timestamp()
        calls = [("openai", "alice", ("night",), CENT), ("openai", "bob", (), CENT), ("ollama", "bob", (), None)]
        if back < 2:
            calls.append(("mistral", "bob", (), CENT))
        for provider, caller, tags, cost in calls:
            id = f"req_{back}_{provider}_{caller}"
            whose = {"provider": provider, "caller": caller, "tags": tags}
            entries += [begun(id, at, most_nanousd=5, **whose), ended(id, cost), over(id, cost, at + 0.5, **whose)]
    database.enter(Matching().take(entries))
    yield database
    database.close()


def test_a_days_cost_is_told_of_each_provider(reader: SqliteDatabase) -> None:
    found = daily_costs(reader, since=NOW.date())
    assert list(found) == ["mistral:2026-11-21", "ollama:2026-11-21", "openai:2026-11-21"]
    assert found["openai:2026-11-21"] == DailyCost(
        date=date(2026, 11, 21), provider="openai", cost=Decimal("0.02"), requests=2, tokens=14
    )
    assert (found["ollama:2026-11-21"].cost, found["ollama:2026-11-21"].unpriced) == (Decimal(0), 1)
    assert daily_costs(reader, since=NOW.date(), caller="alice")["openai:2026-11-21"].requests == 1


def test_the_month_is_foretold_for_all_and_for_each(reader: SqliteDatabase) -> None:
    by = {line.name: line for line in month_forecasts(reader, NOW, "provider")}
    openai = by["openai"]
    assert (openai.kind, openai.window, openai.last_day, openai.days) == ("provider", "month", date(2026, 11, 30), 28)
    assert openai.spent == Decimal("0.42")
    assert openai.expected == Decimal("0.42") + Decimal("0.19")  # half of today, and nine days
    assert openai.low is not None
    assert openai.high is not None
    assert openai.spent < openai.low < openai.expected < openai.high
    assert by["ollama"].expected == 0
    assert (by["mistral"].expected, by["mistral"].why) == (None, "too few full days: 1")
    assert by[""].kind == "total"
    [mine] = month_forecasts(reader, NOW, caller="alice")
    assert mine.expected == Decimal("0.305")


def test_budgets_are_foretold_with_the_day_on_which_they_are_reached(reader: SqliteDatabase) -> None:
    cent = Decimal("0.01")
    budgets = (
        Budget(name="all", limit_nanousd=50 * CENT),
        Budget(name="each", limit_nanousd=100 * CENT, provider="openai", each="key"),
        Budget(name="tokens", limit_tokens=1000, tag="ni*"),
        Budget(name="ever", window="total", limit_nanousd=100 * CENT, model="openai/*"),
        Budget(name="mixed", limit_nanousd=CENT, provider="openai", tag="night"),
    )
    found: dict[str, Foretold] = {line.name: line for line in budget_forecasts(reader, budgets, NOW)}
    assert list(found) == ["all", "each[alice]", "each[bob]", "tokens", "ever", "mixed"]
    assert (found["all"].spent, found["all"].reached_on) == (44 * cent + Decimal("0.000000105"), date(2026, 11, 24))
    assert (found["each[alice]"].expected, found["each[alice]"].reached_on) == (Decimal("0.305"), None)
    tokens = found["tokens"]
    assert (tokens.unit, tokens.spent, tokens.expected, tokens.limit) == ("tokens", 147, 213, 1000)
    assert (found["ever"].expected, found["ever"].why) == (None, "its window never ends")
    assert found["ever"].reached_on == date(2026, 12, 10)
    assert (found["mixed"].spent, found["mixed"].why) == (21 * cent, "the sums of days do not tell these apart")


def test_a_key_with_another_thing_is_told_apart_and_two_others_are_not(reader: SqliteDatabase) -> None:
    since = NOW.date()
    days = days_of(reader, Budget(name="x", key="b*", provider="openai"), since)
    assert days is not None
    assert days[""][since].cost_nanousd == CENT
    days = days_of(reader, Budget(name="x", provider="openai", model="g*"), since)
    assert days is not None
    assert days[""][since].cost_nanousd == 2 * CENT
    assert days_of(reader, Budget(name="x", tag="night", provider="openai"), since) is None

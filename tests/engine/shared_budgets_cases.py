"""What the tests of budgets in Redis and in PostgreSQL have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from budgets_caller import NEED, SUBJECT

from genai_spine.engine.costs.budgets import Budgets
from genai_spine.ledger.spent import Spent
from genai_spine.policy.budget import Budget

CALLER = Path(__file__).with_name("budgets_caller.py")
USD = 10**9


async def spent_of(budgets: Budgets) -> tuple[int, int]:
    """Nano-dollars that are spent and held of the first, as the server has them."""
    await budgets.refresh()
    first = budgets.status()[0]
    return int(first.spent_usd * USD), int(first.reserved_usd * USD)


async def assert_guests_change_nothing(open_budgets: Callable[[], Budgets]) -> None:
    """One who only looks, and reads more in its ledger than the server counts, does not raise the sums."""
    gateway, guest = open_budgets(), open_budgets()
    spent = Spent()
    for budget in guest.all:
        spent.begin(budget, 0.0)
        spent.add(budget, SUBJECT, 700_000_000, 20)
    guest.remember(spent)
    await guest.refresh(as_guest=True)
    assert guest.status()[0].spent_usd == Decimal("0.7")  # nobody has counted there yet
    (await gateway.reserve(SUBJECT, NEED)).settle(100_000_000, 10)
    assert await spent_of(gateway) == (100_000_000, 0)
    await guest.refresh(as_guest=True)
    assert guest.status()[0].spent_usd == Decimal("0.1")
    assert await spent_of(gateway) == (100_000_000, 0)
    for budgets in (gateway, guest):
        assert budgets.shared is not None
        await budgets.shared.close()


async def assert_settings_may_change(open_budgets: Callable[[Budget], Budgets]) -> None:
    """Of a raised limit the levels are told again; what a budget was for before is not counted in what it is for."""
    heard: list[tuple[float, int | None]] = []

    async def spend(budgets: Budgets, usd: float) -> None:
        (await budgets.reserve(SUBJECT, NEED)).settle(int(usd * USD), 10)
        assert budgets.shared is not None
        await budgets.refresh()
        await budgets.shared.close()

    for limit, usd in ((USD, 0.9), (2 * USD, 0.8), (2 * USD, 0.01)):
        budgets = open_budgets(Budget(name="one", limit_nanousd=limit))
        budgets.on_level.append(lambda level: heard.append((level.level, level.limit_nanousd)))
        await spend(budgets, usd)
    assert heard == [(0.8, USD), (0.8, 2 * USD)]

    old = open_budgets(Budget(name="team", window="total", limit_nanousd=USD, provider="*"))
    await spend(old, 0.9)
    new = open_budgets(Budget(name="team", window="total", limit_nanousd=USD, provider=SUBJECT.provider))
    await spend(new, 0.1)
    assert await spent_of(new) == (100_000_000, 0)
    assert new.shared is not None
    await new.shared.close()


def callers(url: str, *calls: str, begin_in_s: float) -> list[dict[str, Any]]:
    """What processes of their own have spent, that all begin at the same moment; nothing of one that dies."""
    at = time.monotonic() + begin_in_s
    processes = []
    for each in calls:
        number, *more = each.split()
        command = [sys.executable, str(CALLER), url, number, str(at), *more]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=60)[0] for process in processes]
    return [json.loads(text) for text in said if text]

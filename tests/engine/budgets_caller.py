"""A process of its own that spends of shared budgets: `budgets_caller.py URL CALLS AT [die]` from a moment on
(monotonic), then prints what it spent as JSON; with `die` it ends in the middle of its calls."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from decimal import Decimal

from genai_spine.engine.costs.budgets import Budgets
from genai_spine.engine.costs.shared_budgets import SharedBudgets
from genai_spine.model.card import Price
from genai_spine.model.errors import BudgetExceeded
from genai_spine.policy.budget import Budget, Subject
from genai_spine.policy.budget_need import Asks, need_of

BUDGETS = (
    Budget(name="all", window="total", limit_nanousd=10**9, is_hard=True),
    Budget(name="acme", window="total", limit_tokens=10**7, is_hard=True, provider="acme"),
)
SUBJECT = Subject("acme", "large")
NEED = need_of(
    Asks(input_tokens=100, most_input=2_000, max_tokens=1_000), Price(input=Decimal(1), output=Decimal(10)), None, None
)


async def main(url: str, calls: int, at_s: float, dies: bool) -> None:
    shared = SharedBudgets(url, lease_s=5, timeout_s=10)
    budgets = Budgets(BUDGETS, max_wait_s=20, shared=shared)
    await shared.start()
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    chance = random.Random(os.getpid())
    spent: list[int] = []
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        await asyncio.sleep(chance.uniform(0, 0.3))
        try:
            held = await budgets.reserve(SUBJECT, NEED)
        except BudgetExceeded:
            refused += 1
            return
        await asyncio.sleep(chance.uniform(0, 0.05))
        if dies and number == calls // 2:
            os._exit(0)
        used = int((held.most_nanousd or 0) * chance.uniform(0.1, 0.5))
        spent.append(used)
        held.settle(used, 100)

    await asyncio.gather(*(one(number) for number in range(calls)))
    await shared.close()
    print(json.dumps({"spent": sum(spent), "calls": len(spent), "refused": refused, "away": shared.is_away}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), "die" in sys.argv))

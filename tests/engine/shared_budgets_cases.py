"""What the tests of budgets in Redis and in PostgreSQL have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from genai_spine.engine.costs.budgets import Budgets

CALLER = Path(__file__).with_name("budgets_caller.py")
USD = 10**9


async def spent_of(budgets: Budgets) -> tuple[int, int]:
    """Nano-dollars that are spent and held of the first, as the server has them."""
    await budgets.refresh()
    first = budgets.status()[0]
    return int(first.spent_usd * USD), int(first.reserved_usd * USD)


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

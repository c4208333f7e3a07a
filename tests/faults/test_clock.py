"""FAULTS 75: a clock that jumps moves no deadline. What lasts is measured with the monotonic clock; the clock on
the wall is asked in the places below alone, and for nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "genai_spine"

WALL = {
    "engine/costs/accounts.py": "when an event was, for the ledger",
    "engine/costs/alerts.py": "when an alert is due again, which the next process must know too",
    "engine/costs/budgets.py": "which day, week or month it is",
    "engine/caching/cache_sqlite.py": "until when an answer is kept, which the next process must know too",
    "engine/costs/cost_tracker.py": "which day it is",
    "engine/exchange.py": "`created` of an answer",
    "engine/record.py": "when a call was, for people",
    "engine/caching/response_cache.py": "how old an answer is that another process has kept",
    "engine/content/keeping.py": "when something was said, which is kept for some days",
    "engine/costs/shared_budgets.py": "until the end of the month, for a server that counts for several processes",
    "engine/costs/spending.py": "which day, week or month it is",
    "engine/streams/open_streams.py": "when a stream began, for people",
    "engine/costs/webhook.py": "the time in a signature: who receives it compares it with theirs",
    "gateway/accounts.py": "the window of a report",
    "gateway/connections.py": "the header Date",
    "providers/aws_authorizer.py": "the date in a signature: the service compares it with its own",
    "providers/aws_credentials.py": "when a credential ends, which its issuer tells as a date",
    "providers/aws_profiles.py": "the same",
    "providers/google_authorizer.py": "the dates in a signed claim",
    "providers/provider.py": "whether a model is retired by today",
    "providers/standings.py": "whether a model is retired by today",
    "providers/status.py": "when a provider was last looked at, for people",
    "providers/access_tokens.py": "when a token ends, which its issuer tells as a date",
}
"""Where, and for what. Of the three of credentials: too early or too late by an hour, a token is fetched once more,
or refused and fetched anew (tests/providers/test_access_tokens.py)."""


def wall_clocks(file: Path) -> set[int]:
    """The lines that ask what time it is."""
    found: set[int] = set()
    text = file.read_text()
    if not re.search(r"\b(time\.time|datetime\.now|utcnow|today)\b", text):
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"):
                found.add(node.lineno)
    return found


def test_fault_75_durations_are_never_measured_on_the_wall_clock() -> None:
    asked = {}
    for file in SOURCE.rglob("*.py"):
        name = file.relative_to(SOURCE).as_posix()
        if not name.startswith(("testing/", "ledger/", "cli/", "dashboard/")) and (lines := wall_clocks(file)):
            asked[name] = sorted(lines)
    assert set(asked) <= set(WALL), {name: lines for name, lines in asked.items() if name not in WALL}
    assert set(WALL) <= set(asked), "no longer asked there"

"""What the ledger costs a call: µs of CPU in the event loop, and in the thread that moves entries to the database.

    .venv/bin/python bench/ledger_cost.py [--calls 500] [--rounds 40] [--postgres URL]

In process, without a server: the engine's own account of a call with one attempt, answered and priced, is written to
a journal, and moved in groups of `--calls`, as many as come in half a second. Time of the thread alone is counted; the
smallest of all rounds and their median are told, since others may use the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from genai_spine import ProviderManager
from genai_spine.engine.attempt import Attempt
from genai_spine.engine.costs import accounts
from genai_spine.engine.costs.accounts import Account
from genai_spine.engine.record import CallRecord
from genai_spine.ledger.database import Database, SqliteDatabase
from genai_spine.ledger.postgres import PostgresDatabase
from genai_spine.ledger.writer import Ledger
from genai_spine.model.response import TokenUsage
from genai_spine.policy.route import Choice

USAGE = TokenUsage(input_tokens=1200, output_tokens=87, cache_read_tokens=0, reasoning_tokens=0)


def answered() -> CallRecord:
    """The record of a call with one attempt, to be told of again and again."""
    manager = ProviderManager.from_settings({"providers": {"openai": {"api_key": "none"}}})
    attempt = Attempt(manager.targets.of(Choice(provider="openai", model="gpt-4o")))
    attempt.settle(usage=USAGE)
    record = CallRecord(caller="0123456789abcdef")
    record.dialect = "openai_chat"
    record.attempts.append(attempt)
    return record


def unbounded(*_: object, **__: object) -> None:
    """Nobody asks what an attempt may have cost at most where it is known what it did cost."""


def tell(ledger: Ledger, record: CallRecord, id: str) -> None:
    """All that the engine does for the ledger's sake, in the order of a call."""
    record.request_id, record.is_closed = id, False
    [attempt] = record.attempts
    attempt.account = Account(ledger.write, attempt, record, unbounded)
    attempt.account.end(attempt, USAGE)
    accounts.close(record, ledger.write)


class ByHand(Ledger):
    """Moves when it is told to."""

    def _run(self) -> None:
        self._is_closing.wait()

    def move(self) -> None:
        self._mover.move()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--postgres", metavar="URL")
    given = parser.parse_args()
    record = answered()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def open_database() -> Database:
            return PostgresDatabase(given.postgres) if given.postgres else SqliteDatabase(path / "spine.db")

        ledger = ByHand(path / "journal", open_database)
        ledger.move()
        in_loop, in_thread = [], []
        for turn in range(given.rounds):
            ids = [f"req_{time.time_ns():016x}{turn * given.calls + number:08x}" for number in range(given.calls)]
            begun = time.thread_time_ns()
            for id in ids:
                tell(ledger, record, id)
            told = time.thread_time_ns()
            ledger.move()
            in_loop.append((told - begun) / given.calls / 1000)
            in_thread.append((time.thread_time_ns() - told) / given.calls / 1000)
        ledger.close()
    for name, costs in (("in the event loop", in_loop), ("in the thread", in_thread)):
        print(f"{name:20} {min(costs):5.1f} µs a call (median {statistics.median(costs):.1f})")


if __name__ == "__main__":
    main()

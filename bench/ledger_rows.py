"""A ledger of ten million rows: how large it is, and how long `usage` and the list of requests take.

    python bench/ledger_rows.py [ROWS] [--folder FOLDER]

Rows are calls and attempts, one attempt in twenty a second one, spread over a year, 50 callers, 40 models and 200
tags; they are entered as the gateway's are. Each question is asked ten times; the slowest counts.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from genai_spine.ledger.database import SqliteDatabase, SqliteReader
from genai_spine.ledger.entry import Begun, Call, Ended, Tokens
from genai_spine.ledger.matching import Attempt, Row
from genai_spine.ledger.reading import Reader, find_call, recent_calls, usage

YEAR_S = 365 * 86_400
BATCH = 50_000
TIMES = 10


def calls(count: int, until: float) -> Iterator[list[Row]]:
    chance = random.Random(5)
    models = [(f"provider{number % 8}", f"model-{number}") for number in range(40)]
    for number in range(count):
        id = f"req_{number % 7:016x}{number:08x}"
        at = until - YEAR_S * (1 - number / count)
        caller = f"{chance.randrange(50):016x}"
        whose = {"caller": caller, "agent": None, "route": "smart" if number % 3 else None}
        tags = (f"tag{chance.randrange(200)}",) if number % 2 else ()
        attempts: list[Row] = []
        for attempt in range(2 if number % 20 == 0 else 1):
            provider, model = models[min(chance.randrange(40), chance.randrange(40))]
            named = {"provider": provider, "model": model, "dialect": "openai_chat", "is_stream": number % 2 == 0}
            begun = Begun(id=f"{id}-{attempt}", call=id, at=at, most_nanousd=10**8, tags=tags, **named, **whose)
            tokens = Tokens(input=chance.randrange(5000), output=chance.randrange(2000))
            is_last = number % 20 or attempt
            ended = Ended(
                id=begun.id, at=at, status="answered" if is_last else "failed", duration_s=1.5, first_s=0.4,
                tokens=tokens, cost_nanousd=chance.randrange(10**8) if is_last else 0, price_since="2026-01-01",
                price_source="https://example.com/prices", status_code=200 if is_last else 503,
            )  # fmt: skip
            attempts.append(Attempt(begun, ended))
        status = "failed" if number % 997 == 0 else "answered"
        over = Call(
            id=id, at=at + 1.5, duration_s=1.5, status=status, attempts=len(attempts), tags=tags, cost_nanousd=7,
            **named, **whose,
        )  # fmt: skip
        yield [*attempts, over]


def fill(path: Path, rows: int, until: float) -> None:
    database = SqliteDatabase(path)
    batch: list[Row] = []
    for some in calls(round(rows / 2.05), until):
        batch += some
        if len(batch) >= BATCH:
            database.enter(batch)
            batch = []
    database.enter(batch)
    database.close()


def questions(today: datetime) -> dict[str, Callable[[Reader], object]]:
    month, id = (today - timedelta(30)).date(), f"req_{5:016x}{12:08x}"
    return {
        "usage, total of the year": lambda reader: usage(reader),
        "usage by model, year": lambda reader: usage(reader, "model"),
        "usage by key, 30 days": lambda reader: usage(reader, "key", since=month),
        "usage by tag, year": lambda reader: usage(reader, "tag"),
        "usage by day, one key": lambda reader: usage(reader, "day", caller=f"{7:016x}"),
        "the last 50 requests": lambda reader: recent_calls(reader),
        "… 50 of one key": lambda reader: recent_calls(reader, caller=f"{7:016x}"),
        "… 50 of a rare model": lambda reader: recent_calls(reader, model="model-39"),
        "… 50 of a key and a model": lambda reader: recent_calls(reader, caller=f"{7:016x}", model="model-38"),
        "… 50 that failed": lambda reader: recent_calls(reader, status="failed"),
        "… 50 of a key that failed": lambda reader: recent_calls(reader, caller=f"{7:016x}", status="failed"),
        "… 50 from the middle on": lambda reader: recent_calls(reader, before=f"{today.timestamp() - YEAR_S / 2}:x"),
        "… 50 of a model that there is none": lambda reader: recent_calls(reader, model="none"),
        "one request": lambda reader: find_call(reader, id),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path, today = Path(folder) / "spine.db", datetime.now(UTC)
        begun, cpu = time.perf_counter(), _cpu_s()
        fill(path, given.rows, today.timestamp())
        took, cpu = time.perf_counter() - begun, _cpu_s() - cpu
        size = path.stat().st_size
        print(f"{given.rows:,} rows in {took:.0f} s ({cpu / given.rows * 1e6:.1f} µs of CPU a row)")
        print(f"{size / 1e9:.2f} GB on disk, {size / given.rows:.0f} bytes a row", flush=True)
        for name, ask in questions(today).items():
            times = []
            for _ in range(TIMES):
                begun = time.perf_counter()
                reader = SqliteReader(path)
                ask(reader)
                reader.close()
                times.append((time.perf_counter() - begun) * 1000)
            print(f"{name:36} {max(times):8.1f} ms  (median {sorted(times)[TIMES // 2]:.1f})", flush=True)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())

"""What was acknowledged is in the ledger once, whatever becomes of the process, the database and the disk."""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from entries import begun, ended, over

from genai_spine.ledger import mover, tables
from genai_spine.ledger.database import Newer, SqliteDatabase
from genai_spine.ledger.journal import Journal, orphans, read
from genai_spine.ledger.matching import Matching
from genai_spine.ledger.writer import Ledger
from genai_spine.testing.fixtures import wait_until

WORKER = Path(__file__).with_name("ledger_worker.py")


def opener(folder: Path) -> Callable[[], SqliteDatabase]:
    return lambda: SqliteDatabase(folder / "ledger.db", busy_s=0.05)


def query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    database = SqliteDatabase(folder / "ledger.db")
    try:
        return database.query(statement)
    finally:
        database.close()


def test_a_call_and_its_attempts_are_rows_and_a_part_of_their_day(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    for id, cost in (("a", 7), ("b", None)):
        whose: dict[str, Any] = {"caller": "k1", "tags": ("x", "y", "x")}
        for entry in (begun(id, **whose), ended(id, cost), over(id, cost, **whose)):
            ledger.write(entry)
    ledger.close()
    assert query(tmp_path, "SELECT id, call, input_tokens, cost_nanousd, most_nanousd FROM attempt ORDER BY id") == [
        ("a-0", "a", 3, 7, 1000),
        ("b-0", "b", 3, None, 1000),
    ]
    assert query(tmp_path, "SELECT id, status, unpriced FROM call ORDER BY id") == [
        ("a", "answered", 0),
        ("b", "answered", 1),
    ]
    rows = query(
        tmp_path, "SELECT kind, caller, name, calls, attempts, input_tokens, cost_nanousd, unpriced FROM daily"
    )
    kinds = {("all", ""), ("provider", "openai"), ("model", "openai/gpt"), ("tag", "x"), ("tag", "y")}
    for_all = {(kind, "", name, 2, 2, 6, 7, 1) for kind, name in kinds | {("caller", "k1")}}
    assert set(rows) == for_all | {(kind, "k1", name, 2, 2, 6, 7, 1) for kind, name in kinds}
    assert list((tmp_path / "journal").iterdir()) == []


def test_entered_again_it_is_no_second_row_and_no_second_cent(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "ledger.db")
    rows = Matching().take([begun("a"), ended("a"), over("a")])
    database.enter(rows)
    database.enter(rows)
    assert database.query("SELECT count(*), sum(cost_nanousd) FROM attempt") == [(1, 7)]
    assert database.query("SELECT calls, cost_nanousd FROM daily WHERE kind = 'all'") == [(1, 7)]
    database.close()


def test_a_call_that_the_process_died_in_is_interrupted_and_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(begun("a"))
    os.close(journal._lock)  # as when the process is gone
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    ledger.close()
    assert query(tmp_path, "SELECT status, cost_nanousd, most_nanousd FROM attempt") == [("interrupted", None, 1000)]
    assert query(tmp_path, "SELECT status, unpriced FROM call") == [("interrupted", 1)]


def test_a_living_process_is_not_adopted(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(begun("a"))
    assert list(orphans(tmp_path / "journal")) == []
    journal.close()


def test_a_torn_end_is_left_out_and_nothing_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for id in "abc":
        journal.append(begun(id))
    data = journal.path.read_bytes()
    for cut in range(len(data)):
        journal.path.write_bytes(data[:cut])
        whole = [entry.id for entry in read(journal.path)]
        assert whole == ["a-0", "b-0", "c-0"][: len(whole)]
        assert len(whole) == 3 * cut // len(data)
    journal.close()


def test_a_locked_database_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    opener(tmp_path)().close()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    for id in map(str, range(100)):
        assert ledger.write(begun(id), ended(id), over(id))
    wait_until(lambda: ledger.trouble is not None)
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: ledger.trouble is None)
    ledger.close()
    assert query(tmp_path, "SELECT count(*), sum(cost_nanousd) FROM call") == [(100, 700)]


def test_what_the_database_never_took_stays_in_the_journal_for_the_next_process(tmp_path: Path) -> None:
    def broken() -> SqliteDatabase:
        raise sqlite3.OperationalError("no database today")

    ledger = Ledger(tmp_path / "journal", broken, every_s=0.01)
    for entry in (begun("a"), ended("a"), over("a")):
        ledger.write(entry)
    ledger.close()
    Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01).close()
    assert query(tmp_path, "SELECT id FROM call") == [("a",)]


def test_a_full_disk_is_survived_and_caught_up_with(tmp_path: Path) -> None:
    # A limit on the size of files is to a process as a disk that is full; its signal is ignored by Python.
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    written = []
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.current.stat().st_size + 150, kept[1]))
        for id in map(str, range(50)):
            written += [ledger.write(entry) for entry in (begun(id), ended(id), over(id))]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert written[0]
    assert not any(written[10:])
    wait_until(lambda: ledger.held == 0)  # by itself, though nobody calls
    for entry in (begun("last"), ended("last"), over("last")):
        assert ledger.write(entry)
    ledger.close()
    assert ledger.lost == 0
    assert query(tmp_path, "SELECT count(*), sum(cost_nanousd) FROM call") == [(51, 357)]


@pytest.fixture
def small_disk(disk_of_mb: Callable[[int], Path]) -> Path:
    return disk_of_mb(16)


@pytest.mark.slow
def test_a_disk_that_fills_up_under_load_and_is_freed_loses_nothing(small_disk: Path) -> None:
    ledger = Ledger(small_disk / "journal", opener(small_disk), every_s=0.01)
    numbers = itertools.count()

    def write(calls: int) -> int:
        return sum(ledger.write(begun(id), ended(id), over(id)) for id in (f"c{next(numbers)}" for _ in range(calls)))

    assert write(500) == 500
    with suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))
    assert write(2000) < 1000
    wait_until(lambda: ledger.trouble is not None and ledger.held > 0)
    (small_disk / "rest").unlink()
    wait_until(lambda: ledger.trouble is None and ledger.held == 0, 20)
    assert write(100) == 100
    ledger.close()
    assert ledger.lost == 0
    assert query(small_disk, "SELECT count(*), sum(cost_nanousd) FROM call") == [(2600, 18200)]
    assert query(small_disk, "SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'") == [(2600, 18200)]


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def open_one() -> None:
        try:
            SqliteDatabase(tmp_path / "ledger.db").close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert query(tmp_path, "PRAGMA user_version") == [(len(tables.MIGRATIONS),)]


def test_a_newer_ledger_is_not_touched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    with pytest.raises(Newer, match="version 99"):
        opener(tmp_path)()


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    over_ids: list[str] = []
    begun_ids: list[str] = []
    for number in range(rounds):
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), str(tmp_path), f"w{number}"], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        first = worker.stdout.readline()
        time.sleep(chance.uniform(0, 0.15))
        worker.kill()
        said = first + worker.stdout.read()
        worker.wait()
        for line in said.splitlines(keepends=True):
            word, _, id = line.strip().partition(" ")
            if line.endswith("\n") and id:
                (over_ids if word == "over" else begun_ids).append(id)
    Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01).close(60)
    rows = dict(query(tmp_path, "SELECT id, status FROM call"))
    assert {id for id in over_ids if rows.get(id) != "answered"} == set()
    assert {id for id in begun_ids if id not in rows} == set()
    [(calls, cost)] = query(tmp_path, "SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'")
    assert calls == len(rows)
    attempts = query(tmp_path, "SELECT status, count(*), sum(cost_nanousd), sum(most_nanousd) FROM attempt GROUP BY 1")
    costs = {status: (count, cost, most) for status, count, cost, most in attempts}
    assert cost == costs["answered"][1] == 7 * costs["answered"][0]
    if "interrupted" in costs:
        assert costs["interrupted"][1:] == (None, 1000 * costs["interrupted"][0])
    assert sum(status == "interrupted" for status in rows.values()) <= rounds
    assert len(over_ids) > rounds


def test_a_database_that_is_away_is_told_of_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> SqliteDatabase:
        raise sqlite3.OperationalError("connection failed: refused\n\tIs the server running?\n")  # as libpq words it

    ledger = Ledger(tmp_path / "journal", refused, every_s=0.01)
    ledger.write(begun("a"))
    wait_until(lambda: ledger.trouble is not None)
    ledger.close()
    assert ledger.trouble == "connection failed: refused; Is the server running?"
    assert not [record for record in caplog.records if "\n" in record.getMessage()]


def test_calls_that_wait_under_an_address_that_was_changed_are_told_of_and_can_be_moved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "0123456789abcdef", tmp_path / "fedcba9876543210"
    journal = Journal(old)
    journal.append(begun("a"), ended("a"), over("a"))
    elsewhere = Journal(tmp_path / "aaaabbbbccccdddd")  # of a gateway that lives
    elsewhere.append(begun("b"))
    journal.close()
    ledger = Ledger(new, opener(tmp_path), every_s=0.01)
    assert ledger.wait_for_adoption()
    ledger.close()
    [told] = [each.getMessage() for each in caplog.records if "another address" in each.getMessage()]
    assert f"wait in {old} for" in told
    assert f"into {new}:" in told
    for file in old.iterdir():
        file.rename(new / file.name)
    ledger = Ledger(new, opener(tmp_path), every_s=0.01)
    wait_until(lambda: query(tmp_path, "SELECT id FROM call") == [("a",)])
    ledger.close()
    elsewhere.close()


def test_a_ledger_that_a_later_version_has_changed_meanwhile_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "ORPHANS_EVERY_S", 0.02)
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    assert ledger.wait_for_adoption()
    with sqlite3.connect(tmp_path / "ledger.db") as later:
        later.execute("PRAGMA user_version = 99")
    wait_until(lambda: "is of version 99" in (ledger.trouble or ""))
    ledger.write(begun("a"), ended("a"), over("a"))
    ledger.close()
    assert later.execute("SELECT count(*) FROM call").fetchone() == (0,)
    later.execute(f"PRAGMA user_version = {len(tables.MIGRATIONS)}")
    later.close()
    updated = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    wait_until(lambda: query(tmp_path, "SELECT id FROM call") == [("a",)])
    updated.close()


def test_a_file_that_was_replaced_is_written_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mover, "ORPHANS_EVERY_S", 0.02)
    ledger = Ledger(tmp_path / "journal", opener(tmp_path), every_s=0.01)
    assert ledger.wait_for_adoption()
    opener(tmp_path)().close()
    (tmp_path / "ledger.db").rename(tmp_path / "away.db")
    wait_until(lambda: (tmp_path / "ledger.db").exists())
    ledger.write(begun("a"), ended("a"), over("a"))
    wait_until(lambda: query(tmp_path, "SELECT id FROM call") == [("a",)])
    ledger.close()

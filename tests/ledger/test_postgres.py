"""The ledger in a real Postgres: the same rows, and what happens when it goes away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
from entries import begun, ended, over
from postgres_server import PostgresServer

from genai_spine.engine.costs.postgres_line import _ARE_THERE, _FUNCTIONS
from genai_spine.ledger import tables
from genai_spine.ledger.database import Database, Newer, SqliteDatabase
from genai_spine.ledger.matching import Matching
from genai_spine.ledger.mover import REFUSED
from genai_spine.ledger.opening import NoLedgerYet, database_of, open_reader
from genai_spine.ledger.postgres import PostgresDatabase, PostgresReader, connect
from genai_spine.ledger.reading import find_call, recent_calls, usage
from genai_spine.ledger.writer import Ledger
from genai_spine.settings import LedgerSettings, Secret
from genai_spine.testing.fixtures import wait_until

pytestmark = pytest.mark.servers
WORKER = Path(__file__).with_name("ledger_worker.py")


def rows_of(url: str, statement: str) -> list[tuple[object, ...]]:
    reader = PostgresReader(url)
    try:
        return reader.query(statement)
    finally:
        reader.close()


def test_the_same_calls_are_the_same_rows_in_both(database: str, tmp_path: Path) -> None:
    entries = [begun("a", caller="k", tags=("x\0y", "z")), ended("a"), over("a", caller="k", tags=("x\0y", "z"))]
    entries += [begun("b", agent="r", route="smart"), over("b", None, status="left"), ended("b", 9)]
    tables_of = []
    opened: list[Database] = [PostgresDatabase(database), SqliteDatabase(tmp_path / "spine.db")]
    for number, each in enumerate(opened):
        ledger = Ledger(tmp_path / str(number), lambda each=each: each, every_s=0.01)  # type: ignore[misc]
        for entry in entries:
            assert ledger.write(entry)
        ledger.close()
    readers = [PostgresReader(database), SqliteDatabase(tmp_path / "spine.db")]
    for reader in readers:
        tables_of.append(
            [sorted(reader.query(f"SELECT * FROM {name}"), key=str) for name in ("call", "attempt", "daily")]
            + [usage(reader, "tag"), recent_calls(reader), find_call(reader, "b")]
        )
        reader.close()
    assert tables_of[0] == tables_of[1]
    assert len(tables_of[0][0]) == 2


def test_a_database_that_no_gateway_has_written_has_no_ledger_yet(database: str) -> None:
    settings = LedgerSettings(url=Secret(database))
    with pytest.raises(NoLedgerYet, match="the gateway makes it"):
        open_reader(settings)
    with pytest.raises(NoLedgerYet), database_of(settings):
        pass
    PostgresDatabase(database).close()
    open_reader(settings).close()


def test_who_asks_for_a_name_with_a_nul_finds_what_was_written_for_it(database: str) -> None:
    writer = PostgresDatabase(database)
    writer.enter(Matching().take([begun("a", caller="k\0"), ended("a"), over("a", caller="k\0")]))
    writer.close()
    reader = PostgresReader(database)
    assert [call.id for call in recent_calls(reader, caller="k\0")] == ["a"]
    assert find_call(reader, "a\0") is None
    reader.close()


def test_processes_that_start_at_once_migrate_once(database: str) -> None:
    failures: list[BaseException] = []

    def open_one() -> None:
        try:
            PostgresDatabase(database).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows_of(database, "SELECT version FROM version") == [(len(tables.MIGRATIONS),)]


def test_a_user_who_may_make_no_schema_uses_the_one_that_an_administrator_has_made(database: str) -> None:
    user = f"clerk_{uuid.uuid4().hex[:12]}"
    with connect(database) as admin:
        admin.execute(f"CREATE ROLE {user} LOGIN")
        admin.execute(f"CREATE SCHEMA genai_spine AUTHORIZATION {user}")
    theirs = database.replace("postgres@", f"{user}@")
    for _ in range(2):
        opened = PostgresDatabase(theirs)
        opened.enter(Matching().take([begun("a"), ended("a"), over("a")]))
        opened.close()
    with connect(theirs) as connection:
        connection.execute(_FUNCTIONS)
        assert connection.execute(_ARE_THERE).fetchone() == (True,)
    assert rows_of(theirs, "SELECT count(*) FROM call") == [(1,)]


def test_a_newer_ledger_is_not_touched(database: str) -> None:
    PostgresDatabase(database).close()
    with connect(database) as connection:
        connection.execute("UPDATE genai_spine.version SET version = 99")
    with pytest.raises(Newer, match="version 99"):
        PostgresDatabase(database)


def test_an_interrupted_migration_leaves_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genai_spine.ledger.postgres.MIGRATIONS", (*tables.MIGRATIONS, ("CREATE TABLE broken (",)))
    with pytest.raises(Exception, match="syntax"):
        PostgresDatabase(database)
    assert rows_of(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'genai_spine'") == [(0,)]


def test_entered_again_it_is_no_second_row_and_what_is_refused_holds_up_no_other(database: str, tmp_path: Path) -> None:
    opened = PostgresDatabase(database)
    rows = Matching().take(
        [begun("a", tags=("\t\n", "\\N")), ended("a", service="\\N"), over("a", tags=("\t\n", "\\N"))]
    )
    opened.enter(rows)
    opened.enter([*rows, *Matching().take([begun("b"), ended("b"), over("b")])])
    opened.close()
    ledger = Ledger(tmp_path, lambda: PostgresDatabase(database), every_s=0.01)
    assert ledger.write(over("c"), over("d", attempts=2**60), over("e"), over("a"))
    ledger.close()
    assert rows_of(database, "SELECT id, tags FROM call ORDER BY id") == [
        ("a", '["\\t\\n","\\\\N"]'), ("b", None), ("c", None), ("e", None),
    ]  # fmt: skip
    assert rows_of(database, "SELECT id, service FROM attempt ORDER BY id") == [("a-0", "\\N"), ("b-0", None)]
    daily = "SELECT calls, attempts, cost_nanousd FROM daily WHERE kind = 'all'"
    assert rows_of(database, daily) == [(4, 2, 14)]
    [refused] = (tmp_path / REFUSED).read_text().splitlines()
    assert '"d"' in refused


@pytest.mark.parametrize("away_s", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_postgres_goes_away_under_load_and_nothing_is_lost(
    postgres: PostgresServer, database: str, tmp_path: Path, away_s: float
) -> None:
    ledger = Ledger(tmp_path, lambda: PostgresDatabase(database), every_s=0.01)
    written = 0

    def write_for(seconds: float) -> None:
        nonlocal written
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            id = f"c{written:06d}"
            for entry in (begun(id, at=written), ended(id), over(id, at=written + 0.5)):
                assert ledger.write(entry)
            written += 1
            time.sleep(0.001)

    write_for(0.5)
    wait_until(lambda: rows_of(database, "SELECT count(*) FROM call") != [(0,)])
    postgres.stop()
    try:
        write_for(away_s)
        wait_until(lambda: ledger.trouble is not None)
    finally:
        postgres.start()
    write_for(0.2)
    wait_until(lambda: ledger.trouble is None, 20)
    ledger.close()
    found = rows_of(database, "SELECT id, xmin::text::bigint FROM call ORDER BY id")
    assert [id for id, _ in found] == [f"c{number:06d}" for number in range(written)]
    transactions = [transaction for _, transaction in found]
    assert transactions == sorted(transactions)  # what was written first was entered first
    assert rows_of(database, "SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'") == [
        (written, 7 * written)
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(
    database: str, tmp_path: Path, rounds: int
) -> None:
    over_ids: set[str] = set()
    for number in range(rounds):
        worker = subprocess.Popen(
            [sys.executable, str(WORKER), str(tmp_path), f"w{number}", database], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        first = worker.stdout.readline()
        time.sleep(0.02 * (number % 10))
        worker.kill()
        said = first + worker.stdout.read()
        worker.wait()
        over_ids |= {
            line.split()[1] for line in said.splitlines(keepends=True) if line[:5] == "over " and line[-1] == "\n"
        }
    Ledger(tmp_path / "journal", lambda: PostgresDatabase(database), every_s=0.01).close(60)
    rows = dict(rows_of(database, "SELECT id, status FROM call"))
    assert {id for id in over_ids if rows.get(id) != "answered"} == set()
    [(calls, cost)] = rows_of(database, "SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'")
    assert calls == len(rows)
    assert [(cost,)] == rows_of(database, "SELECT sum(cost_nanousd) FROM attempt")
    assert len(over_ids) > rounds

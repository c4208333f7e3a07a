"""From entries to rows and sums: ends that come late, ends that never come, and what no table takes."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from entries import begun, ended, over
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.ledger import tables
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Bounded, Call, Ended, Entry, Tokens
from genai_spine.ledger.matching import LONGEST_CALL_S, Attempt, Matching
from genai_spine.ledger.mover import REFUSED
from genai_spine.ledger.writer import Ledger

WHOSE: dict[str, Any] = {"caller": "k", "agent": "writer", "route": "smart", "tags": ("x",)}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "ledger.db")
    yield opened
    opened.close()


def test_what_a_late_end_costs_is_added_to_its_call(database: SqliteDatabase) -> None:
    matching = Matching()
    database.enter(matching.take([begun("a"), begun("a", attempt=1), ended("a", 5), over("a", 5)]))
    assert database.query("SELECT cost_nanousd FROM call") == [(5,)]
    assert len(matching) == 1
    rows = matching.take([ended("a", 9, attempt=1, status="left")])
    database.enter(rows)
    database.enter(rows)  # as after a crash
    assert len(matching) == 0
    assert database.query("SELECT cost_nanousd, unpriced FROM call") == [(14, 0)]
    assert database.query("SELECT calls, attempts, cost_nanousd FROM daily WHERE kind = 'all'") == [(1, 2, 14)]


def test_an_end_that_never_comes_is_given_up_after_a_day() -> None:
    matching = Matching()
    matching.take([begun("a", at=0.0), begun("b", at=1.0), over("b", None)])
    assert matching.interrupted() == []
    matching.take([begun("c", at=LONGEST_CALL_S + 2)])
    rows = matching.interrupted()
    assert [(row.ended.id, row.ended.status, row.is_late) for row in rows if isinstance(row, Attempt)] == [
        ("a-0", "interrupted", False),
        ("b-0", "interrupted", True),
    ]
    assert [row.id for row in rows if isinstance(row, Call)] == ["a"]
    assert len(matching) == 1


def test_what_is_told_of_an_attempt_under_way_bounds_it() -> None:
    matching = Matching()
    told = [Bounded(id="a-0", most_nanousd=9), Bounded(id="b-0", most_nanousd=9), Bounded(id="z-0", most_nanousd=9)]
    known = matching.take([begun("a", most_nanousd=None), begun("b"), *told, ended("b"), over("b")])
    assert [row.ended.cost_nanousd for row in known if isinstance(row, Attempt)] == [7]
    given_up = matching.interrupted(all_of_them=True)
    assert [row.most_nanousd for row in given_up if isinstance(row, Attempt)] == [9]


def test_an_end_without_a_beginning_is_no_row() -> None:
    assert Matching().take([ended("a")]) == []


@pytest.mark.parametrize("cost", [7, None])
def test_one_entry_tells_how_an_attempt_and_its_call_ended(cost: int | None) -> None:
    whose = {**WHOSE, "dialect": "d", "is_stream": True}
    matching = Matching()
    together = matching.take([begun("a", **whose), ended("a", cost, call_s=0.5), ended("a", cost, call_s=0.5)])
    apart = Matching().take([begun("a", **whose), ended("a", cost), over("a", cost, at=0.0, **whose)])
    assert [row._replace(ended=ended("a", cost)) if isinstance(row, Attempt) else row for row in together] == apart
    assert not len(matching)


def test_counts_that_cannot_be_are_not_known(database: SqliteDatabase) -> None:
    absurd = Tokens(input=2**70, output=-1, reasoning=5)
    end = Ended(id="a-0", at=0.0, status="answered", duration_s=0.0, tokens=absurd, cost_nanousd=10**30)
    database.enter(Matching().take([begun("a", model="m\0x"), end, over("a")]))
    assert database.query("SELECT model, input_tokens, output_tokens, reasoning_tokens, cost_nanousd FROM attempt") == [
        ("m�x", None, None, 5, None)
    ]
    assert database.query("SELECT input_tokens, cost_nanousd, unpriced FROM daily WHERE kind = 'all'") == [(0, 0, 1)]


def test_a_row_that_the_database_never_takes_is_put_aside_and_holds_up_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(tmp_path / "ledger.db"), every_s=0.01)
    for entry in (over("a"), over("b", at=float("nan")), over("c")):
        ledger.write(entry)
    ledger.close()
    database = SqliteDatabase(tmp_path / "ledger.db")
    assert database.query("SELECT id FROM call ORDER BY id") == [("a",), ("c",)]
    database.close()
    assert json.loads((tmp_path / "journal" / REFUSED).read_text())[1] == "b"


def test_made_up_tags_do_not_fill_the_table(database: SqliteDatabase) -> None:
    for number in range(15):
        rows = Matching().take(
            [over(f"{number}.{each}", tags=(f"t{number}.{each}", "y" * 5000)) for each in range(100)]
        )
        database.enter(rows)
    names = dict(database.query("SELECT name, calls FROM daily WHERE kind = 'tag'"))
    assert len(names) == 1001
    assert names[tables.OTHERS] == 501
    assert names["y" * 200] == 1500
    assert sum(names.values()) == 3000


def test_threads_may_write_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(tmp_path / "ledger.db"), every_s=0.001)

    def write(name: int) -> None:
        for id in (f"{name}.{number}" for number in range(300)):
            for entry in (begun(id), ended(id), over(id)):
                assert ledger.write(entry)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    database = SqliteDatabase(tmp_path / "ledger.db")
    assert database.query("SELECT count(*), sum(cost_nanousd) FROM call") == [(2400, 16800)]
    database.close()


# ---------------------------------------------------------------- roll-ups are the sums of the rows

SUMMED = """SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(cost_nanousd), 0),
    count(*) - count(cost_nanousd) FROM attempt WHERE {}"""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d"]),
            st.lists(
                st.tuples(st.sampled_from(["p", "q"]), st.none() | st.integers(0, 10**12), st.booleans()), max_size=3
            ),
            st.sampled_from([None, "k1", "k2"]),
        ),
        max_size=12,
    ),
    st.integers(1, 9),
)
@settings(max_examples=60)
def test_sums_of_days_are_the_sums_of_the_rows_however_entries_are_cut(
    calls: list[tuple[str, list[tuple[str, int | None, bool]], str | None]], size: int
) -> None:
    entries: list[Entry] = []
    late: list[Entry] = []
    for number, (model, attempts, caller) in enumerate(calls):
        id = f"c{number}"
        for index, (provider, cost, is_late) in enumerate(attempts):
            at = 86_400.0 * number
            entries.append(begun(id, at, index, provider=provider, model=model, caller=caller))
            (late if is_late else entries).append(ended(id, cost, index))
        known = [cost for _, cost, is_late in attempts if cost is not None and not is_late]
        more: dict[str, Any] = {"caller": caller, "attempts": len(attempts)}
        entries.append(over(id, sum(known) if known else None, 86_400.0 * number + 0.5, **more))
    database = SqliteDatabase(":memory:")
    matching = Matching()
    for begin in range(0, len(entries + late), size):
        rows = matching.take((entries + late)[begin : begin + size])
        database.enter(rows)
        database.enter(rows)
    database.enter(matching.interrupted(all_of_them=True))
    daily = "SELECT {}, sum(attempts), sum(input_tokens), sum(cost_nanousd), sum(unpriced) FROM daily WHERE kind = ? {}"
    for kind, column in (("provider", "provider"), ("model", "provider || '/' || model")):
        for name, *sums in database.query(daily.format("name", "AND caller = '' GROUP BY name"), (kind,)):
            assert [tuple(sums)] == database.query(SUMMED.format(f"{column} = ?"), (name,))
    for caller in ("k1", "k2"):
        [(_, *sums)] = database.query(daily.format("''", "AND caller = ?"), ("all", caller))
        [whole] = database.query(
            SUMMED.format("id IN (SELECT a.id FROM attempt a JOIN call ON call.id = a.call WHERE caller = ?)"),
            (caller,),
        )
        assert [value or 0 for value in sums] == [value or 0 for value in whole]
    assert database.query("SELECT sum(coalesce(cost_nanousd, 0)) FROM call") == database.query(
        "SELECT CASE WHEN (SELECT count(*) FROM call) > 0 THEN coalesce(sum(cost_nanousd), 0) END FROM attempt"
    )
    database.close()


# ---------------------------------------------------------------- retention


def test_what_is_older_than_the_retention_is_deleted_little_by_little_and_its_sums_stay(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    now = time.time()
    database = SqliteDatabase(path)
    entries: list[Entry] = []
    for number in range(3000):
        at = now - 86_400 * (10 if number < 2500 else 1)
        entries += [begun(str(number), at), ended(str(number)), over(str(number), at=at + 0.5)]
    database.enter(Matching().take(entries))
    database.query("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    assert database.delete_before(now - 3 * 86_400, 500)
    assert database.query("SELECT count(*) FROM call") == [(2500,)]
    database.close()
    Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.001, retention_days=3).close()
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.001, retention_days=3)
    reader = sqlite3.connect(path)
    deadline = time.monotonic() + 20
    while reader.execute("SELECT count(*) FROM call").fetchone() != (500,) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reader.execute("SELECT count(*) FROM attempt").fetchone() == (500,)
    assert reader.execute("SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'").fetchone() == (
        3000,
        21000,
    )
    reader.close()
    ledger.close()
    SqliteDatabase(path).query("PRAGMA wal_checkpoint(TRUNCATE)")
    assert path.stat().st_size < size / 2


def test_begun_and_ended_share_their_call_whatever_the_ids_look_like() -> None:
    one = Begun(id="no-number-here", call="c-1", at=0.0, provider="p", model="m")
    [row] = Matching().take([one, Ended(id="no-number-here", at=0.0, status="answered", duration_s=0.0)])
    assert isinstance(row, Attempt)
    assert row.begun is one

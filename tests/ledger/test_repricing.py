"""Costs that are reckoned anew: attempts, calls and days agree at every moment, and what stood before comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from entries import begun, ended, over
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.engine.costs.accounts import tokens_of
from genai_spine.ledger import tables
from genai_spine.ledger.database import Database, SqliteDatabase
from genai_spine.ledger.entry import Call, Ended, Entry, Tokens
from genai_spine.ledger.matching import Attempt, Matching
from genai_spine.ledger.reading import find_call, more_of
from genai_spine.ledger.repricing import Cost, apply, has_run, undo
from genai_spine.ledger.scan import Counted, Which, attempts
from genai_spine.ledger.tables import OTHERS
from genai_spine.model.response import TokenUsage, UsageDetails
from genai_spine.testing.fixtures import wait_until

WORKER = Path(__file__).with_name("paced_worker.py")
SUMS = ("cost_nanousd", "unpriced", "most_nanousd", "unbounded", "taken_nanousd")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase(tmp_path / "ledger.db")
    yield opened
    opened.close()


def reprice_all(database: Database, cost: Any, run: str = "r1", **which: Any) -> int:
    """`cost` is a number, or gives one for a row."""

    def decide(row: Counted) -> Cost | None:
        new: Any = cost(row) if callable(cost) else cost
        return None if new == row.cost_nanousd else Cost(new, "2026-11-01", "list")

    return sum(apply(database, run, Which(**which), decide, at=time.time()))


def undo_all(database: Database, run: str, of: str) -> tuple[int, int]:
    done = list(undo(database, run, of, at=2.0))
    return sum(one.changed for one in done), sum(one.left for one in done)


def contents(database: Database) -> list[list[tuple[Any, ...]]]:
    found = []
    with database.transaction():
        for table in ("attempt", "call", "daily"):
            found.append(sorted(database.query(f"SELECT * FROM {table}"), key=str))
    return found


def assert_days_agree(database: Database) -> None:
    """The sums of each kind of names are those of the attempts, whichever way they are added up."""
    with database.transaction():
        rows = database.query(
            "SELECT begun_at, attempt.provider, attempt.model, attempt.agent, caller, route, tags, "
            "attempt.cost_nanousd, most_nanousd, taken_nanousd FROM attempt JOIN call ON call.id = attempt.call"
        )
        daily = database.query(f"SELECT kind, caller, day, name, {', '.join(SUMS)} FROM daily")
        calls = dict(database.query("SELECT id, cost_nanousd FROM call"))
        of_calls = database.query("SELECT call, sum(cost_nanousd) FROM attempt GROUP BY call")
    wanted: dict[Any, list[int]] = {}
    for at, provider, model, agent, caller, route, tags, cost, most, taken in rows:
        names = json.loads(tags) if tags else ()
        for key in tables.keys_of((int(at // 86_400), caller, provider, model, agent, route, tuple(names))):
            sums = wanted.setdefault(key, [0] * len(SUMS))
            known = cost is not None
            taken = 0 if known else (most if taken is None else taken) or 0
            for index, number in enumerate(
                (cost or 0, not known, 0 if known else most or 0, not known and most is None, taken)
            ):
                sums[index] += number
    found = {row[:4]: list(row[4:]) for row in daily}
    assert {key: sums for key, sums in found.items() if any(sums)} == {
        key: sums for key, sums in wanted.items() if any(sums)
    }
    assert dict(of_calls) == {id: cost for id, cost in calls.items() if id in dict(of_calls)}


def test_unknown_costs_become_known_in_the_call_and_its_days(database: SqliteDatabase) -> None:
    whose: dict[str, Any] = {"caller": "k", "agent": "writer", "route": "smart", "tags": ("x",)}
    entries: list[Entry] = [begun("a", **whose), ended("a", None), over("a", None, **whose)]
    entries += [begun("b"), ended("b", 5), over("b", 5)]
    database.enter(Matching().take(entries))
    assert reprice_all(database, 40) == 2
    assert database.query("SELECT id, cost_nanousd, unpriced FROM call ORDER BY id") == [("a", 40, 0), ("b", 40, 0)]
    assert database.query("SELECT DISTINCT cost_nanousd, price_since, price_source FROM attempt") == [
        (40, "2026-11-01", "list")
    ]
    assert database.query(f"SELECT {', '.join(SUMS)} FROM daily WHERE kind = 'all' AND caller = ''") == [(80, *[0] * 4)]
    assert database.query(
        "SELECT call, cost_nanousd, price_source, new_cost_nanousd, unpriced_change FROM repricings ORDER BY call"
    ) == [("a", None, None, 40, -1), ("b", 5, None, 40, 0)]
    assert_days_agree(database)


def test_what_stood_before_comes_back_and_the_history_stays(database: SqliteDatabase) -> None:
    database.enter(Matching().take([begun("a"), ended("a", None), over("a", None), begun("b"), ended("b"), over("b")]))
    before = contents(database)
    reprice_all(database, 40)
    assert contents(database) != before
    assert undo_all(database, "r2", "r1") == (2, 0)
    assert contents(database) == before  # the call whose only attempt is unknown costs None again, not 0
    assert database.query("SELECT run, count(*) FROM repricings GROUP BY run ORDER BY run") == [("r1", 2), ("r2", 2)]
    assert has_run(database, "r2")
    assert not has_run(database, "r3")


def test_an_undoing_leaves_what_was_priced_once_more(database: SqliteDatabase) -> None:
    database.enter(Matching().take([begun("a"), ended("a"), over("a"), begun("b"), ended("b"), over("b")]))
    reprice_all(database, 40)
    reprice_all(database, lambda row: 50 if row.call == "a" else row.cost_nanousd, "r2")
    assert undo_all(database, "r3", "r1") == (1, 1)
    assert database.query("SELECT call, cost_nanousd FROM attempt ORDER BY call") == [("a", 50), ("b", 7)]
    assert undo_all(database, "r4", "r1") == (0, 2)
    assert_days_agree(database)


def test_a_call_that_is_not_over_is_left_alone(database: SqliteDatabase) -> None:
    matching = Matching()
    database.enter(matching.take([begun("a"), begun("a", attempt=1), ended("a", 5)]))
    assert reprice_all(database, 40) == 0
    database.enter(matching.take([ended("a", 6, attempt=1), over("a", 11, attempts=2)]))
    assert reprice_all(database, 40) == 2
    assert database.query("SELECT cost_nanousd FROM call") == [(80,)]
    assert_days_agree(database)


def test_an_attempt_that_its_call_does_not_count_as_unknown_is_not_counted_back(database: SqliteDatabase) -> None:
    uncharged = Call(id="a", at=0.5, duration_s=0.5, status="answered", attempts=1, provider="openai", model="gpt")
    database.enter(Matching().take([begun("a"), ended("a", None), uncharged]))
    before = contents(database)
    reprice_all(database, 40)
    assert database.query("SELECT cost_nanousd, unpriced FROM call") == [(40, 0)]
    undo_all(database, "r2", "r1")
    assert contents(database) == before


def test_only_some_days_providers_and_models(database: SqliteDatabase) -> None:
    entries: list[Entry] = []
    for number, (provider, model) in enumerate((("openai", "a"), ("openai", "b"), ("groq", "a"))):
        entries += [begun(str(number), 86_400.0 * number, provider=provider, model=model), ended(str(number))]
        entries.append(over(str(number), at=86_400.0 * number + 0.5, provider=provider, model=model))
    database.enter(Matching().take(entries))
    assert reprice_all(database, 1, "r1", since=date(1970, 1, 2), until=date(1970, 1, 2)) == 1
    assert reprice_all(database, 2, "r2", provider="openai") == 2
    assert reprice_all(database, 3, "r3", model="a") == 2
    assert reprice_all(database, 4, "r4", since=date(1980, 1, 1)) == 0
    assert_days_agree(database)


def test_names_that_are_not_told_apart_are_mended_where_they_were_added(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MOST_NAMES", 2)
    entries: list[Entry] = []
    for number in range(5):
        entries += [
            begun(str(number), tags=(f"t{number}",)),
            ended(str(number)),
            over(str(number), tags=(f"t{number}",)),
        ]
    database.enter(Matching().take(entries))
    reprice_all(database, 10)
    assert database.query("SELECT name, cost_nanousd FROM daily WHERE kind = 'tag' ORDER BY name") == [
        (OTHERS, 30), ("t0", 10), ("t1", 10),
    ]  # fmt: skip


CALLS = st.lists(
    st.tuples(
        st.sampled_from((None, "k1", "k2")),
        st.sampled_from(((), ("x",), ("x", "y"))),
        st.integers(0, 3),
        st.lists(
            st.tuples(
                st.sampled_from(("openai", "groq")),
                st.sampled_from((None, "writer", "reader")),
                st.none() | st.integers(0, 10**7),
                st.none() | st.integers(0, 10**8),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    max_size=12,
)
NEW = st.lists(st.none() | st.integers(0, 10**7), min_size=1, max_size=7)


@settings(max_examples=25)
@given(CALLS, NEW, NEW)
def test_days_are_the_sums_of_attempts_and_each_run_can_be_undone(
    calls: list[Any], first: list[int | None], second: list[int | None]
) -> None:
    database = SqliteDatabase(":memory:")
    entries: list[Entry] = []
    for number, (caller, tags, day, tries) in enumerate(calls):
        id, at, costs = f"c{number}", day * 86_400.0 + number, [cost for *_, cost, _ in tries]
        for index, (provider, agent, cost, most) in enumerate(tries):
            whose: dict[str, Any] = {"provider": provider, "agent": agent, "caller": caller, "tags": tags}
            taken = None if cost is not None or index or most is None else most // 3
            entries += [
                begun(id, at, index, most_nanousd=most, **whose),
                ended(id, cost, index, taken_nanousd=taken),
            ]
        known = [cost for cost in costs if cost is not None]
        entries.append(
            Call(
                id=id, at=at + 1, duration_s=1.0, status="answered", attempts=len(tries), caller=caller, tags=tags,
                cost_nanousd=sum(known) if known else None, unpriced=len(costs) - len(known),
            )
        )  # fmt: skip
    database.enter(Matching().take(entries))
    assert_days_agree(database)
    states = [contents(database)]
    assert reprice_all(database, lambda row: row.cost_nanousd, "none") == 0
    assert contents(database) == states[0]
    for run, new in (("r1", first), ("r2", second)):
        reprice_all(database, lambda row, new=new: new[int(row.begun_at) % len(new)] or row.cost_nanousd, run)
        assert_days_agree(database)
        states.append(contents(database))
    for run in ("r2", "r1"):
        assert undo_all(database, f"undo-{run}", run)[1] == 0
        states.pop()
        assert contents(database) == states[-1]
        assert_days_agree(database)
    database.close()


def test_what_few_calls_use_is_kept_with_the_attempt(database: SqliteDatabase) -> None:
    tokens = Tokens(input=3, output=4, more='{"details":{"searches":2},"compute_s":1.5}')
    end = Ended(id="a-0", at=0.0, status="answered", duration_s=0.5, tokens=tokens, cost_nanousd=7)
    database.enter(Matching().take([begun("a", agent="writer"), end, over("a")]))
    found = find_call(database, "a")
    assert found is not None
    used = found[1][0].usage()
    assert used is not None
    assert used.details is not None
    assert (used.input_tokens, used.details.searches, used.compute_s) == (3, 2, 1.5)
    assert found[1][0].agent == "writer"
    [row] = attempts(database, Which())
    assert row.usage() == used
    assert row._replace(more="{").usage() is None  # what cannot be read is not reckoned with


def test_odd_counts_of_a_provider_of_ones_own_are_left_out_and_break_nothing() -> None:
    used = TokenUsage(input_tokens=1, details=UsageDetails(searches=2), compute_s=1.5)
    assert more_of(tokens_of(used).more) == TokenUsage(details=UsageDetails(searches=2), compute_s=1.5)
    assert tokens_of(TokenUsage(input_tokens=1)).more is None
    for odd in (object(), "x" * 5000):
        assert tokens_of(TokenUsage(details=UsageDetails(searches=odd))).more is None  # type: ignore[arg-type]


# ---------------------------------------------------------------- while others write


def reprice_while_a_gateway_writes(open_database: Any, folder: Path, url: str | None) -> None:
    old = open_database()
    rows: list[Any] = []
    for number in range(1200):
        rows += [Attempt(begun(f"old{number}", 10.0), ended(f"old{number}", 7)), over(f"old{number}", at=11.0)]
    old.enter(rows)
    worker = subprocess.Popen(
        [sys.executable, str(WORKER), str(folder), *([url] if url is not None else [])],
        stdout=subprocess.DEVNULL,
    )
    try:

        def calls() -> int:
            with old.transaction():
                [(number,)] = old.query("SELECT count(*) FROM call")
            return int(number)

        wait_until(lambda: calls() > 1200, 20)
        for run in range(2):
            before = calls()
            assert reprice_all(old, 100 + run, f"r{run}") >= before
            wait_until(lambda before=before: calls() > before, 20)  # type: ignore[misc]
            time.sleep(0.01)
    finally:
        worker.kill()
        worker.wait()
    assert_days_agree(old)
    with old.transaction():
        assert old.query("SELECT DISTINCT cost_nanousd FROM attempt WHERE call LIKE 'old%'") == [(101,)]
    for run in (1, 0):
        assert undo_all(old, f"undo{run}", f"r{run}")[1] == 0
    assert_days_agree(old)
    with old.transaction():
        assert old.query("SELECT DISTINCT cost_nanousd FROM attempt") == [(7,)]
    old.close()


def test_a_gateway_may_go_on_writing_to_sqlite(tmp_path: Path) -> None:
    reprice_while_a_gateway_writes(lambda: SqliteDatabase(tmp_path / "ledger.db"), tmp_path, None)

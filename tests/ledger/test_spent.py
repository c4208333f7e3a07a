"""What was spent in a budget's window, read back from the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genai_spine.ledger.database import Database, SqliteDatabase, SqliteReader
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens
from genai_spine.ledger.forecasts import month_forecasts
from genai_spine.ledger.matching import Matching
from genai_spine.ledger.postgres import PostgresDatabase, PostgresReader
from genai_spine.ledger.reading import Reader
from genai_spine.ledger.spent import Spent, read_spent
from genai_spine.policy.budget import Budget, span_of


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = NOON = at("2026-11-19T12:00:00")


def call(number: int, begun: str, cost: int | None, most: int | None = None, **whose: Any) -> list[Entry]:
    """One call of 10 tokens."""
    of = {"provider": "openai", "model": "gpt-4o", **whose}
    tokens = Tokens(input=7, output=3)
    moment = at(begun)
    return [
        Begun(id=f"{number}-1", call=f"{number}", at=moment, most_nanousd=most, **of),
        Ended(id=f"{number}-1", at=moment + 1, status="answered", duration_s=1.0, tokens=tokens, cost_nanousd=cost),
        Call(id=f"{number}", at=moment + 1, duration_s=1.0, status="answered", attempts=1, cost_nanousd=cost, **of),
    ]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
def ledger(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    is_sqlite = request.param == "sqlite"
    url = "" if is_sqlite else request.getfixturevalue("database")
    database: Database = SqliteDatabase(tmp_path / "spine.db") if is_sqlite else PostgresDatabase(url)
    entries = [
        *call(1, "2026-11-19T01:00:00", 1, caller="alice", tags=("blue", "red")),
        *call(2, "2026-11-19T02:00:00", 20, caller="bob", model="gpt-4o-mini", agent="writer"),
        *call(3, "2026-11-19T03:00:00", None, 300, provider="acme", model="x", caller="alice", agent="writer"),
        *call(4, "2026-11-18T23:30:00", 4_000, caller="alice"),  # the 19th in Vienna
        *call(5, "2026-11-18T22:30:00", 50_000),
        *call(6, "2026-11-02T00:00:00", 600_000),
        *call(7, "2026-10-31T23:30:00", 7_000_000),  # November in Vienna
    ]
    database.enter(Matching().take(entries))
    database.close()
    reader: Reader = SqliteReader(tmp_path / "spine.db") if is_sqlite else PostgresReader(url)
    yield reader
    reader.close()


def spent_on(ledger: Reader, before_s: float = inf, **members: Any) -> dict[str, int]:
    budget = Budget(name="b", limit_nanousd=1, **members)
    spent = read_spent(ledger, (budget,), NOW, before_s=before_s)
    starts_s = span_of(budget.window, NOW, budget.zone).starts_s
    return {whose: (spent.of(budget, whose, starts_s) or (0, 0))[0] for whose in spent.names(budget)}


@pytest.mark.parametrize(
    ("members", "sums"),
    [
        ({"window": "day"}, {"": 321}),
        ({"window": "week"}, {"": 54_321}),
        ({"window": "month"}, {"": 654_321}),
        ({"window": "total"}, {"": 7_654_321}),
        ({"window": "day", "zone": "Europe/Vienna"}, {"": 4_321}),
        ({"window": "month", "zone": "Europe/Vienna"}, {"": 7_654_321}),
        ({"window": "day", "provider": "openai"}, {"": 21}),
        ({"window": "day", "provider": "none"}, {}),
        ({"window": "day", "model": "gpt-4o*"}, {"": 21}),
        ({"window": "day", "model": "*-mini", "provider": "openai"}, {"": 20}),
        ({"window": "day", "key": "alice"}, {"": 301}),
        ({"window": "day", "each": "key"}, {"alice": 301, "bob": 20}),
        ({"window": "day", "each": "provider"}, {"openai": 21, "acme": 300}),
        ({"window": "day", "each": "tag"}, {"blue": 1, "red": 1}),
        ({"window": "day", "each": "key", "provider": "acme"}, {"alice": 300}),
        ({"window": "day", "each": "model", "key": "bob"}, {"openai/gpt-4o-mini": 20}),
        ({"window": "day", "agent": "writer"}, {"": 320}),
        ({"window": "day", "agent": "writer", "provider": "acme"}, {"": 300}),  # no roll-up tells that
        ({"window": "day", "tag": "blue", "key": "alice"}, {"": 1}),
        ({"window": "day", "tag": "*"}, {"": 1}),  # of two tags that fit: once
        ({"window": "day", "tag": "[br]*", "each": "key"}, {"alice": 1}),
        ({"window": "day", "tag": "*", "each": "tag"}, {"blue": 1, "red": 1}),
        ({"window": "day", "zone": "Europe/Vienna", "key": "alice"}, {"": 4_301}),
    ],
)
def test_the_part_of_every_budget_is_told(ledger: Reader, members: dict[str, Any], sums: dict[str, int]) -> None:
    assert spent_on(ledger, **members) == sums
    assert spent_on(ledger, NOW, **members) == sums


@pytest.mark.parametrize(
    ("before", "members", "sums"),
    [
        ("2026-11-19T02:30:00", {"window": "day"}, {"": 21}),
        ("2026-11-19T02:30:00", {"window": "month"}, {"": 654_021}),
        ("2026-11-19T02:30:00", {"window": "total", "each": "key"}, {"alice": 4_001, "bob": 20}),
        ("2026-11-19T02:30:00", {"window": "day", "zone": "Europe/Vienna"}, {"": 4_021}),
        ("2026-11-19T02:30:00", {"window": "day", "agent": "writer", "provider": "acme"}, {}),
        ("2026-11-19T00:00:00", {"window": "month"}, {"": 654_000}),
        ("2026-11-18T23:00:00", {"window": "day"}, {}),
        ("2026-11-18T22:59:59", {"window": "day", "zone": "Europe/Vienna"}, {}),
    ],
)
def test_what_began_later_is_left_out(
    ledger: Reader, before: str, members: dict[str, Any], sums: dict[str, int]
) -> None:
    assert spent_on(ledger, at(before), **members) == sums


def test_tokens_are_told_too(ledger: Reader) -> None:
    budget = Budget(name="b", window="day", limit_tokens=1)
    spent = read_spent(ledger, (budget,), NOW)
    assert spent.of(budget, "", at("2026-11-19")) == (321, 30)


def test_what_was_under_way_when_a_process_was_killed_counts_with_all_that_was_set_aside(tmp_path: Path) -> None:
    of = {"provider": "openai", "model": "gpt-4o", "agent": "writer"}
    begun, broken = (
        Begun(id=f"{call}-1", call=call, at=NOON, most_nanousd=700, held_tokens=90, **of)  # type: ignore[arg-type]
        for call in "12"
    )
    ended = Ended(
        id="2-1", at=NOON, status="left", duration_s=1.0, tokens=Tokens(input=7), most_nanousd=800, uncounted_tokens=83
    )
    matching = Matching()
    rows = [*matching.take([begun, broken, ended]), *matching.interrupted(all_of_them=True)]
    database = SqliteDatabase(tmp_path / "spine.db")
    database.enter(rows)
    database.close()
    reader = SqliteReader(tmp_path / "spine.db")
    whole = Budget(name="whole", window="day", limit_tokens=1, is_hard=True)
    part = Budget(name="part", window="day", limit_tokens=1, is_hard=True, agent="writer", provider="openai")
    spent = read_spent(reader, (whole, part), NOW)  # the latter is told by no roll-up
    assert [spent.of(budget, "", at("2026-11-19")) for budget in (whole, part)] == [(1_500, 180)] * 2
    reader.close()


def test_what_broke_counts_with_what_budgets_took_for_spent(tmp_path: Path) -> None:
    of = {"provider": "openai", "model": "gpt-4o", "agent": "writer"}
    entries: list[Entry] = []
    for number, taken in enumerate((30, 0, None)):  # of the last they took nothing: it counts with the most
        id = f"{number}-1"
        entries += [
            Begun(id=id, call=f"{number}", at=NOON, most_nanousd=700, **of),  # type: ignore[arg-type]
            Ended(id=id, at=NOON, status="left", duration_s=1.0, most_nanousd=800, taken_nanousd=taken, call_s=1.0),
        ]
    database = SqliteDatabase(tmp_path / "spine.db")
    database.enter(Matching().take(entries))
    database.close()
    reader = SqliteReader(tmp_path / "spine.db")
    whole = Budget(name="whole", window="day", limit_tokens=1)
    part = Budget(name="part", window="day", limit_tokens=1, agent="writer", provider="openai")
    spent = read_spent(reader, (whole, part), NOW)  # the latter is told by no roll-up
    assert [spent.of(budget, "", at("2026-11-19")) for budget in (whole, part)] == [(830, 0)] * 2
    hard = tuple(msgspec.structs.replace(budget, is_hard=True) for budget in (whole, part))
    spent = read_spent(reader, hard, NOW)  # which set the most aside
    assert [spent.of(budget, "", at("2026-11-19")) for budget in hard] == [(2_400, 0)] * 2
    assert reader.query("SELECT most_nanousd FROM daily WHERE kind = 'all'") == [(2_400,)]  # for people
    reader.close()


@pytest.mark.parametrize("each", ["tag", "model", "key", None])
def test_no_name_is_forgotten_on_a_day_that_had_more_than_its_sums_tell_apart(tmp_path: Path, each: Any) -> None:
    entries = []
    for number in range(1_050):
        whose = {"tags": (f"tag-{number}",), "model": f"model-{number}", "caller": f"key-{number}"}
        entries += call(number, "2026-11-19T01:00:00", 7, **whose)
    entries += call(2_000, "2026-11-18T01:00:00", 1, tags=("tag-1049",), model="model-1049", caller="key-1049")
    database = SqliteDatabase(tmp_path / "spine.db")
    database.enter(Matching().take(entries))
    database.close()
    reader = SqliteReader(tmp_path / "spine.db")
    if each is None:
        assert spent_on(reader, window="month", tag="tag-1049") == {"": 8}
    else:
        name = {"tag": "tag-1049", "model": "openai/model-1049", "key": "key-1049"}[each]
        found = spent_on(reader, window="month", each=each)
        assert (len(found), found[name], sum(found.values())) == (1_050, 8, 7_351)
    reader.close()
    writer = SqliteDatabase(tmp_path / "spine.db")  # calls of that day were deleted: its sums are what there is
    writer.run("DELETE FROM attempt WHERE call = '5'")
    writer.close()
    reader = SqliteReader(tmp_path / "spine.db")
    if each is not None:
        assert sum(spent_on(reader, window="month", each=each).values()) == 7_351
    reader.close()


def test_what_a_clock_that_was_ahead_has_dated_beyond_a_window_is_not_in_it(tmp_path: Path) -> None:
    entries = [*call(1, "2026-11-19T01:00:00", 7), *call(2, "2027-11-19T01:00:00", 1_000)]
    database = SqliteDatabase(tmp_path / "spine.db")
    database.enter(Matching().take(entries))
    database.close()
    reader = SqliteReader(tmp_path / "spine.db")
    for zone in ("UTC", "Europe/Vienna"):
        assert spent_on(reader, window="day", zone=zone) == spent_on(reader, window="month", zone=zone) == {"": 7}
    [total] = month_forecasts(reader, datetime.fromtimestamp(NOW, UTC))
    assert total.spent == Decimal("0.000000007")
    reader.close()


def test_what_was_read_is_not_of_the_next_window(ledger: Reader) -> None:
    budget = Budget(name="b", window="day", limit_tokens=1)
    spent = read_spent(ledger, (budget,), NOW)
    assert spent.of(budget, "", at("2026-11-20")) is None
    assert Spent().of(budget, "", 0.0) is None

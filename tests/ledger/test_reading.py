"""What is told of the ledger: sums, lists page by page, one call; and where there is no ledger to read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from entries import begun, ended, over

from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Entry
from genai_spine.ledger.journal import read
from genai_spine.ledger.matching import Matching
from genai_spine.ledger.opening import check_url, journal_of, open_ledger, open_reader
from genai_spine.ledger.reading import Reader, arithmetic_of, day_of, find_call, recent_calls, told, usage, usd
from genai_spine.ledger.tables import SUMS
from genai_spine.model.card import Price
from genai_spine.model.errors import ConfigError, InvalidRequest
from genai_spine.settings import LedgerSettings, Secret
from genai_spine.testing.fixtures import wait_until

DAY = 86_400.0


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    path = tmp_path / "spine.db"
    database = SqliteDatabase(path)
    entries: list[Entry] = []
    for number in range(30):
        id, at = f"req_{number:02d}", DAY * (number // 10)
        caller = "k1" if number % 2 else "k2"
        provider, cost = ("openai", 1_500_000) if number % 3 else ("ollama", None)
        entries += [
            begun(id, at, provider=provider, caller=caller, most_nanousd=2_000_000),
            ended(id, cost),
            over(id, cost, at + 0.5, provider=provider, caller=caller, status="failed" if number == 7 else "answered"),
        ]
    database.enter(Matching().take(entries))
    database.close()
    opened = open_reader(LedgerSettings(url=Secret(f"sqlite:///{path}")))
    yield opened
    opened.close()


def test_usage_is_summed_by_each_kind_the_dearest_first(reader: Reader) -> None:
    report = usage(reader, "provider")
    assert [(row.name, row.calls, row.cost_usd, row.unpriced, row.unpriced_at_most_usd) for row in report.data] == [
        ("openai", 20, Decimal("0.03"), 0, Decimal(0)),
        ("ollama", 10, None, 10, Decimal("0.02")),
    ]
    total = report.total
    assert (total.calls, total.failed, total.attempts, total.input_tokens, total.cost_usd) == (
        30, 1, 30, 90, Decimal("0.03"),
    )  # fmt: skip
    assert [row.name for row in usage(reader, "model").data] == ["openai/gpt", "ollama/gpt"]
    assert [row.name for row in usage(reader, "key").data] == ["k1", "k2"]
    assert [(row.name, row.calls) for row in usage(reader, "day").data] == [
        ("1970-01-01", 10), ("1970-01-02", 10), ("1970-01-03", 10),
    ]  # fmt: skip
    assert usage(reader, "agent").data == ()


def test_usage_of_some_days_and_of_one_caller(reader: Reader) -> None:
    since, until = date(1970, 1, 2), date(1970, 1, 2)
    assert usage(reader, since=since, until=until).total.calls == 10
    mine = usage(reader, "provider", caller="k1")
    assert mine.total.calls == sum(row.calls for row in mine.data) == 15
    assert [(row.name, row.calls) for row in usage(reader, "key", caller="k1").data] == [("k1", 15)]
    nothing = usage(reader, "provider", since=date(2020, 1, 1))
    assert (nothing.total.calls, nothing.total.cost_usd, nothing.data) == (0, Decimal(0), ())


def test_a_way_to_sum_that_there_is_none_is_told(reader: Reader) -> None:
    with pytest.raises(InvalidRequest, match="not by planet"):
        usage(reader, "planet")


def test_pages_of_calls_leave_none_out_and_show_none_twice(reader: Reader) -> None:
    seen: list[str] = []
    before = None
    while page := recent_calls(reader, limit=4, before=before):
        seen += [call.id for call in page]
        before = page[-1].cursor
    assert seen == [f"req_{number:02d}" for number in range(29, -1, -1)]
    later = recent_calls(reader, after=recent_calls(reader, limit=3)[-1].cursor)
    assert [call.id for call in later] == ["req_28", "req_29"]


def test_calls_are_filtered(reader: Reader) -> None:
    assert {call.provider for call in recent_calls(reader, provider="ollama")} == {"ollama"}
    assert [call.id for call in recent_calls(reader, status="failed")] == ["req_07"]
    assert len(recent_calls(reader, caller="k1", status="answered", model="gpt")) == 14
    assert recent_calls(reader, model="other") == []
    everyone = recent_calls(reader, limit=100, model="gpt")
    of_ollama = [call for call in everyone if call.provider == "ollama"]
    assert recent_calls(reader, limit=100, model="ollama/gpt") == of_ollama != everyone
    with pytest.raises(InvalidRequest, match="cursor"):
        recent_calls(reader, before="yesterday")


def test_one_call_has_its_attempts_and_the_arithmetic_of_its_cost(reader: Reader) -> None:
    found = find_call(reader, "req_01")
    assert found is not None
    call, [attempt] = found
    assert (call.cost_usd, attempt.cost_usd, attempt.at_most_usd) == (
        Decimal("0.0015"), Decimal("0.0015"), Decimal("0.002"),
    )  # fmt: skip
    price = Price(input=Decimal(100), output=Decimal(300))
    assert arithmetic_of(attempt, price) == "3 × 100 input + 4 × 300 output per 1M = $0.0015"
    assert "by what is not kept" in arithmetic_of(attempt, Price(input=Decimal(1), output=Decimal(1)))
    unknown = find_call(reader, "req_00")
    assert unknown is not None
    assert arithmetic_of(unknown[1][0], None) == "not known, 0.002 USD at most"
    assert find_call(reader, "req_99") is None


def test_amounts_are_exact_and_written_in_plain_digits() -> None:
    assert [f"{usd(amount)}" for amount in (0, 1_000_000_000, 1_500_000_000, 120_000_000_000)] == [
        "0",
        "1",
        "1.5",
        "120",
    ]
    assert told({"a": usd(1), "b": [usd(10**18 + 1)], "c": None}) == {
        "a": "0.000000001", "b": ["1000000000.000000001"], "c": None,
    }  # fmt: skip


def test_days_are_dates_or_so_many_days_ago() -> None:
    today = date(2026, 11, 21)
    assert [day_of(text, today) for text in ("7d", "2026-11-01", "0d")] == [
        date(2026, 11, 14), date(2026, 11, 1), today,
    ]  # fmt: skip
    for text in ("", "d", "7", "yesterday", "999999999999d", "2026-13-01"):
        with pytest.raises(InvalidRequest, match="no day"):
            day_of(text, today)


# ---------------------------------------------------------------- from the settings


def ledger_settings(url: str, **more: str) -> LedgerSettings:
    return LedgerSettings(url=Secret(url), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://root:hunter2@db/x", "scheme 'mysql'"),
        ("postgresql+psycopg://u:hunter2@db/x", "postgresql://"),
        ("spine.db", "scheme 'none'"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://host/spine.db", "names no file"),
    ],
)
def test_a_url_of_another_kind_is_told_without_its_secret(url: str, said: str) -> None:
    for open_one in (open_ledger, open_reader):
        with pytest.raises(ConfigError) as caught:
            open_one(ledger_settings(url))
        assert said in caught.value.message
        assert "hunter2" not in caught.value.message


def test_without_a_url_there_is_no_ledger() -> None:
    assert open_ledger(LedgerSettings()) is None
    with pytest.raises(ConfigError, match=r"ledger\.url"):
        open_reader(LedgerSettings())


def test_the_journal_lies_beside_the_file_or_where_the_settings_say(tmp_path: Path) -> None:
    ledger = open_ledger(ledger_settings(f"sqlite:///{tmp_path}/deep/spine.db"))
    assert ledger is not None
    assert ledger.current.parent == tmp_path / "deep" / "spine.journal"
    ledger.close()
    folders = set()
    for name in ("a.db", "b.db"):
        ledger = open_ledger(ledger_settings(f"sqlite:///{tmp_path}/{name}", journal=str(tmp_path / "journals")))
        assert ledger is not None
        folders.add(ledger.current.parent)
        ledger.close()
    assert len(folders) == 2  # entries of one are not adopted into the other
    assert {folder.parent for folder in folders} == {tmp_path / "journals"}


def test_ledgers_that_lie_together_have_journals_of_their_own() -> None:
    names = ("spine.db", "spine.prod", "spine.test", "spine.sqlite")
    folders = [journal_of(ledger_settings(f"sqlite:////var/lib/{name}")) for name in names]
    assert [str(folder) for folder in folders] == [
        "/var/lib/spine.journal", "/var/lib/spine.prod.journal", "/var/lib/spine.test.journal",
        "/var/lib/spine.sqlite.journal",
    ]  # fmt: skip


def test_the_journal_of_a_postgres_is_its_databases_whoever_asks_for_it() -> None:
    def name_of(url: str) -> str:
        folder = journal_of(ledger_settings(url), {"XDG_STATE_HOME": "/state"})
        assert folder is not None
        return folder.name

    assert name_of("postgresql://host:5432/a") == name_of("postgresql://spine:p#[?]s@host:5432/a")
    several = "postgresql://spine:hunter2@one:5432,two:5433/a?target_session_attrs=read-write"
    assert len({name_of("postgresql://host/a"), name_of("postgresql://host/b"), name_of(several)}) == 3


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://spine:hunter2/x@127.0.0.1:1/spine",
        "postgresql://spine:hunter2%zz@127.0.0.1:1/spine",
        "postgresql://spine:p@hunter2@127.0.0.1:1/spine",
        "postgresql://spine:hun ter2@127.0.0.1:1/spine",
    ],
)
def test_a_password_that_is_not_encoded_is_told_without_it(url: str, tmp_path: Path) -> None:
    settings = ledger_settings(url, journal=str(tmp_path))
    for open_it in (open_ledger, open_reader, check_url):
        with pytest.raises(ConfigError, match="percent-encoded") as caught:
            open_it(settings)
        assert "ter2" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(ConfigError, match=r"no home: set ledger\.journal"):
        journal_of(ledger_settings("postgresql://spine@127.0.0.1:1/spine"), {})


def test_a_postgres_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    settings = ledger_settings("postgresql://spine:hunter2@127.0.0.1:1/spine")
    ledger = open_ledger(settings, environ={"XDG_STATE_HOME": str(tmp_path)})
    assert ledger is not None
    assert ledger.current.parent.parent == tmp_path / "genai-spine" / "journal"
    assert ledger.write(begun("a"), ended("a"), over("a"))
    wait_until(lambda: ledger.trouble is not None)
    assert "hunter2" not in str(ledger.trouble)
    kept = ledger.current
    ledger.close()
    assert len(read(kept)) == 3
    with pytest.raises(ConfigError, match=r"cannot be reached") as caught:
        open_reader(settings)
    assert "hunter2" not in caught.value.message


def test_what_waiting_does_not_mend_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text that somebody has written" * 100)
    with pytest.raises(ConfigError, match="is no ledger"):
        open_ledger(ledger_settings(f"sqlite:///{tmp_path}/text.db"))
    with pytest.raises(ConfigError, match="is a folder"):
        open_ledger(ledger_settings(f"sqlite:///{tmp_path}"))
    with pytest.raises(ConfigError, match="cannot be made"):
        open_ledger(ledger_settings(f"sqlite:///{tmp_path}/text.db/spine.db"))
    (tmp_path / "spine.journal").write_text("")
    with pytest.raises(ConfigError, match="journal cannot be written"):
        open_ledger(ledger_settings(f"sqlite:///{tmp_path}/spine.db"))
    newer = SqliteDatabase(tmp_path / "newer.db")
    newer.run("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ConfigError, match="version 99"):
        open_ledger(ledger_settings(f"sqlite:///{tmp_path}/newer.db"))
    with pytest.raises(ConfigError, match="no ledger at"):
        open_reader(ledger_settings(f"sqlite:///{tmp_path}/missing.db"))


def test_a_ledger_is_read_while_it_is_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/spine.db"
    writer = SqliteDatabase(tmp_path / "spine.db")
    reader = open_reader(ledger_settings(url))
    with writer.transaction():
        writer.run_many(
            f"INSERT INTO daily VALUES (?, ?, ?, ?{', ?' * len(SUMS)})",
            [("all", "", "2026-01-01", "", *[1] * len(SUMS))],
        )
        assert usage(reader).total.calls == 0
    assert usage(reader).total.calls == 1
    with pytest.raises(Exception, match="readonly"):
        reader.query("DELETE FROM daily")
    reader.close()
    writer.close()

"""Texts beside what was spent: in memory until the thread has written them, with a bound, a shorter life, and no
claim on what is promised."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from entries import begun, ended, over

from genai_spine.ledger.content import (
    Content,
    WaitingContent,
    delete_content_before,
    find_content,
    forget_content,
    told_content,
    why_none,
)
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.mover import DAY_S
from genai_spine.ledger.postgres import PostgresDatabase
from genai_spine.ledger.writer import Ledger
from genai_spine.testing.fixtures import wait_until


class Said:
    """A text that waits."""

    def __init__(self, call: str, text: str = "tea", *, at: float = 0.0, size: int = 10) -> None:
        self.size = size
        self._content = Content(call=call, at=at, request=text, answer=None, is_cut=False, level="full")

    def text(self) -> Content:
        return self._content


class Unsayable(Said):
    def text(self) -> Content:
        raise ValueError("these are the words of the text")


class Broken(SqliteDatabase):
    """Takes no texts for some time."""

    is_broken = True

    def run_many(self, statement: str, rows: Any) -> None:
        if self.is_broken and "INTO content" in statement:
            raise sqlite3.OperationalError("disk I/O error")
        super().run_many(statement, rows)


def content_of(path: Path) -> list[tuple[Any, ...]]:
    database = SqliteDatabase(path)
    try:
        return database.query("SELECT call, request FROM content ORDER BY call")
    finally:
        database.close()


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_text_is_a_row_of_its_own_and_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.01)
    ledger.keep(Said("a", "first"))
    wait_until(lambda: content_of(path) == [("a", "first")])
    ledger.keep(Said("a", "second"))
    ledger.keep(Said("b", "half of \ud83d and \0"))
    ledger.close()
    assert content_of(path) == [("a", "first"), ("b", "half of ? and �")]
    assert ledger.content.lost == 0


def test_what_there_is_no_room_for_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    waiting = WaitingContent(most_bytes=25)
    for id in "abcd":
        waiting.add(Said(id))
    assert waiting.lost == 2
    assert len(caplog.records) == 1 and "no room" in caplog.text


def test_one_that_cannot_be_said_holds_up_none_and_its_words_are_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = SqliteDatabase(tmp_path / "ledger.db")
    waiting = WaitingContent()
    for said in (Said("a"), Unsayable("b"), Said("c")):
        waiting.add(said)
    waiting.enter(database)
    database.close()
    assert content_of(tmp_path / "ledger.db") == [("a", "tea"), ("c", "tea")]
    assert waiting.lost == 1 and "words of the text" not in caplog.text


def test_while_the_database_takes_none_what_was_spent_is_entered_and_texts_wait(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    opened: list[Broken] = []

    def opener() -> Broken:
        opened.append(Broken(path))
        return opened[-1]

    ledger = Ledger(tmp_path / "journal", opener, every_s=0.01)
    for id in ("a", "b"):
        for entry in (begun(id), ended(id), over(id)):
            ledger.write(entry)
        ledger.keep(Said(id))

    def calls() -> int:
        with sqlite3.connect(path) as connection:
            return int(connection.execute("SELECT count(*) FROM call").fetchone()[0])

    wait_until(lambda: path.exists() and ledger.trouble is not None and calls() == 2)
    assert content_of(path) == []
    Broken.is_broken = False
    try:
        wait_until(lambda: content_of(path) == [("a", "tea"), ("b", "tea")], 15)
    finally:
        Broken.is_broken = True
        ledger.close()
    assert ledger.content.lost == 0


def test_texts_go_before_their_calls_little_by_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    database = SqliteDatabase(path)
    waiting = WaitingContent()
    for number in range(10):
        waiting.add(Said(f"c{number}", at=number * DAY_S))
    waiting.enter(database)
    assert delete_content_before(database, 4.5 * DAY_S, most=2)
    assert [call for call, _ in content_of(path)] == [f"c{number}" for number in range(2, 10)]
    database.close()

    monkeypatch.setattr("genai_spine.ledger.mover.time.time", lambda: 12 * DAY_S)
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.001, content_days=7)
    for entry in (begun("c0"), ended("c0"), over("c0")):
        ledger.write(entry)
    wait_until(lambda: [call for call, _ in content_of(path)] == [f"c{number}" for number in range(5, 10)])
    ledger.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT id FROM call").fetchall() == [("c0",)]


def test_with_its_call_a_text_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.01)
    for entry in (begun("a"), ended("a"), over("a", at=5.0)):
        ledger.write(entry)
    ledger.keep(Said("a"))
    ledger.close()
    database = SqliteDatabase(path)
    database.delete_before(6.0, 100)
    database.close()
    assert content_of(path) == []


def test_what_is_forgotten_is_in_no_byte_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    database = SqliteDatabase(path)
    waiting = WaitingContent()
    for id in ("a", "b", "c"):
        waiting.add(Said(id, f"WORDS-OF-{id} " * 2000))
    waiting.enter(database)
    assert b"WORDS-OF-b" in bytes_of(tmp_path)
    assert forget_content(database, "b")
    assert b"WORDS-OF-b" not in bytes_of(tmp_path) and b"WORDS-OF-a" in bytes_of(tmp_path)
    assert not forget_content(database, "b")
    database.close()


def test_a_reader_finds_it_as_json_or_as_what_is_left_of_it(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "ledger.db")
    waiting = WaitingContent()
    waiting.add(Said("whole", '{"model":"m"}', at=1.5))
    waiting.add(Said("cut", '{"model":"'))
    waiting.enter(database)
    whole, cut = find_content(database, "whole"), find_content(database, "cut")
    assert whole is not None and cut is not None
    assert msgspec.json.encode(told_content(whole)) == (
        b'{"at":"1970-01-01T00:00:01.500000+00:00","level":"full","is_cut":false,"request":{"model":"m"},"answer":null}'
    )
    assert told_content(cut)["request"] == '{"model":"'
    assert find_content(database, "other") is None
    database.close()
    assert "ledger.content" in why_none("none") and "not written down yet" in why_none("full")


def test_many_threads_may_add_while_one_enters(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(tmp_path / "journal", lambda: SqliteDatabase(path), every_s=0.001)

    def add(name: str) -> None:
        for number in range(200):
            ledger.keep(Said(f"{name}{number}"))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert len(content_of(path)) == 800 and ledger.content.lost == 0


@pytest.mark.servers
def test_postgres_takes_the_same(database: str) -> None:
    postgres = PostgresDatabase(database)
    waiting = WaitingContent()
    for number in range(3):
        waiting.add(Said(f"c{number}", f"said \0 {number}", at=float(number)))
    waiting.enter(postgres)
    waiting.add(Said("c0", "again"))
    waiting.enter(postgres)
    with postgres.transaction():
        found = find_content(postgres, "c0")
        assert found is not None and (found.request, found.is_cut) == ("said � 0", False)
    assert forget_content(postgres, "c1")
    assert delete_content_before(postgres, 1.0)
    with postgres.transaction():
        assert postgres.query("SELECT call FROM content") == [("c2",)]
    postgres.close()

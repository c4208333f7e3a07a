"""Journals as they may be found: damaged, left by others, written by another version, too long, beside a full disk."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from entries import begun, ended, over

from genai_spine.ledger import journal as journals
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens
from genai_spine.ledger.journal import Journal, decode, orphans, read
from genai_spine.ledger.matching import Row
from genai_spine.ledger.mover import MOST_BYTES, Tail
from genai_spine.ledger.writer import Ledger
from genai_spine.testing.fixtures import wait_until


def abandon(journal: Journal) -> None:
    """As when its process is gone."""
    os.close(journal._lock)


def rows_of(folder: Path, statement: str) -> list[tuple[object, ...]]:
    database = SqliteDatabase(folder / "ledger.db")
    try:
        return database.query(statement)
    finally:
        database.close()


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "journal", lambda: SqliteDatabase(folder / "ledger.db"), every_s=0.01)


# ---------------------------------------------------------------- damage


def test_damage_in_the_middle_costs_the_entry_that_it_hits_and_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(5):
        journal.append(begun(f"call{number}"))
    data = journal.path.read_bytes()
    frame = len(data) // 5
    for at in range(2 * frame, 3 * frame):
        hit = bytearray(data)
        hit[at] ^= 0x55
        entries, length = decode(bytes(hit), "x", is_whole=True)
        assert [entry.id for entry in entries] == ["call0-0", "call1-0", "call3-0", "call4-0"]
        assert length == len(data)
    torn_out = data[: 2 * frame] + data[3 * frame - 10 :]
    assert len(decode(torn_out, "x", is_whole=True)[0]) == 4
    journal.close()


def test_a_hole_longer_than_what_is_read_at_a_time_is_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(over("before"))
    os.write(journal._file, bytes(2 * MOST_BYTES + 17))
    journal.append(over("behind"))
    abandon(journal)
    tail = Tail(journal.process, tmp_path)
    ids = []
    while (rows := tail.next()) is not None:
        ids += [row.id for row in rows if isinstance(row, Call)]
    assert ids == ["before", "behind"]


def test_an_entry_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(over("a"))
    frame = journal.path.read_bytes()
    tail = Tail(journal.process, tmp_path, lambda: journal.path)
    os.write(journal._file, frame[:20])
    assert [len(tail.next() or ()), tail.next()] == [1, None]
    os.write(journal._file, frame[20:])
    assert len(tail.next() or ()) == 1
    journal.close()


def test_a_caller_who_sends_endless_tags_does_not_make_an_entry_that_cannot_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(begun("a", tags=("x" * 100_000, *map(str, range(10_000)))))
    journal.append(begun("b"))
    first, second = read(journal.path)
    assert isinstance(first, Begun)
    assert (first.id, len(first.tags), len(first.tags[0]), second.id) == ("a-0", 32, 500, "b-0")
    journal.close()


def test_half_of_a_surrogate_pair_in_a_name_keeps_no_entry_out(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.write(begun("a", model="m\udcff", tags=("\ud83d",)), ended("a"), over("a", model="m\udcff"))
    ledger.close()
    assert rows_of(tmp_path, "SELECT model FROM attempt") == [("m?",)]


# ---------------------------------------------------------------- versions


def test_entries_of_the_first_version_are_read_by_every_later_one() -> None:
    """The bytes of 0.1's first day: they are never to be changed."""
    lines = (
        "9ea162a3612d30a161cb3ff8000000000000a170a16dc3a16bc0c090a163cd03e8c2",
        "9ea165a3612d30cb4000000000000000a8616e737765726564cb3fe0000000000000c0990304c0c0c0c0c0c0c207c0c0c0c0c0c0",
        "dc0012a163a161cb4000000000000000cb3fe0000000000000a8616e73776572656401a16bc0c092a178a179c0c2a170a16d0701c0c0",
    )
    first = journals._decode(bytes.fromhex(lines[0]))
    assert isinstance(first, Begun)
    assert (first.id, first.call, first.at, first.is_stream, first.caller, first.most_nanousd) == (
        "a-0", "a", 1.5, True, "k", 1000,
    )  # fmt: skip
    second = journals._decode(bytes.fromhex(lines[1]))
    assert isinstance(second, Ended)
    assert (second.id, second.status, second.tokens, second.cost_nanousd) == (
        "a-0", "answered", Tokens(input=3, output=4), 7,
    )  # fmt: skip
    third = journals._decode(bytes.fromhex(lines[2]))
    assert isinstance(third, Call)
    assert (third.tags, third.cost_nanousd, third.unpriced) == (("x", "y"), 7, 1)


def test_what_a_later_version_adds_to_an_entry_is_passed_over() -> None:
    entry = over("a")
    array = msgspec.msgpack.decode(msgspec.msgpack.encode(entry))
    assert journals._decode(msgspec.msgpack.encode([*array, "new", 7])) == entry


def test_what_an_earlier_version_did_not_say_yet_has_its_default() -> None:
    array = msgspec.msgpack.decode(msgspec.msgpack.encode(ended("a", taken_nanousd=5)))
    assert journals._decode(msgspec.msgpack.encode(array[:-1])) == ended("a")


# ---------------------------------------------------------------- the life of segments


def test_a_call_that_takes_long_does_not_keep_the_segments_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 1000)
    ledger = ledger_in(tmp_path)
    ledger.write(begun("long"))
    for id in map(str, range(100)):
        for entry in (begun(id), ended(id), over(id)):
            ledger.write(entry)
    wait_until(lambda: len(list((tmp_path / "journal").glob("*.journal"))) == 2)
    ledger.write(ended("long", 5))
    ledger.write(over("long", 5))
    wait_until(lambda: len(list((tmp_path / "journal").glob("*.journal"))) == 1)
    ledger.close()
    assert rows_of(tmp_path, "SELECT count(*), sum(cost_nanousd) FROM call") == [(101, 705)]
    assert list((tmp_path / "journal").iterdir()) == []


def test_a_segment_that_cannot_be_begun_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(begun("a"))
    (tmp_path / f"{journal.process}-00000001.journal").mkdir()
    with pytest.raises(OSError, match="directory"):
        journal.turn()
    assert journal.path.exists()
    journal.append(begun("b"))
    assert [entry.id for entry in read(journal.path)] == ["a-0", "b-0"]
    (tmp_path / f"{journal.process}-00000001.journal").rmdir()
    journal.close()


def test_after_a_full_disk_the_torn_part_is_gone_and_the_next_entry_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(begun("a"))
    size = journal.path.stat().st_size
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, kept[1]))
        with pytest.raises(OSError, match="10 of"):
            journal.append(begun("b"))
        assert journal.path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    journal.append(begun("c"))
    assert [entry.id for entry in read(journal.path)] == ["a-0", "c-0"]
    journal.close()


def test_an_entry_that_comes_when_the_ledger_is_closed_reaches_no_other_file(tmp_path: Path) -> None:
    ledger = ledger_in(tmp_path)
    ledger.close()
    other = tmp_path / "other"
    with other.open("wb"):  # takes the number of the file that was closed
        assert not ledger.write(begun("late"))
    assert other.read_bytes() == b""
    assert ledger.lost == 1


def test_what_is_taken_from_memory_is_what_is_read_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 2000)
    monkeypatch.setattr(journals, "MOST_FRESH", 15)
    chance = random.Random(3)
    taken = 0
    for turn in range(30):
        journal = Journal(tmp_path / str(turn))

        def take(segment: Path, at: int, journal: Journal = journal) -> tuple[list[Entry], int] | None:
            nonlocal taken
            found = journal.take(segment, at)
            taken += len(found[0]) if found is not None else 0
            return found

        own = Tail(journal.process, journal.folder, lambda journal=journal: journal.path, take)  # type: ignore[misc]
        rows: list[Row] = []
        waiting: list[Entry] = []
        for number in range(100):
            id = f"c{number}"
            tags = ("x" * 70_000,) if number == 50 else ("t",)  # shortened
            waiting += [begun(id, tags=tags), ended(id), over(id, tags=tags)]
            while waiting and chance.random() < 0.8:
                count = chance.randint(1, 3)
                journal.append(*waiting[:count])
                del waiting[:count]
                if journal.is_full:
                    journal.turn()
            if chance.random() < 0.1 + turn / 60:
                rows += own.next() or ()
        journal.append(*waiting)
        while (more := own.next()) is not None or not own.is_at_end:
            rows += more or ()
        abandon(journal)
        read_back, later = Tail(journal.process, journal.folder), list[Row]()
        while (more := read_back.next()) is not None:
            later += more
        assert rows == later
        assert len(rows) == 200
        own.tidy()
        assert len(list(journal.folder.glob("*.journal"))) == 1
    assert 2000 < taken < 9000


# ---------------------------------------------------------------- adoption


def test_a_process_that_starts_is_not_taken_for_one_that_is_gone(tmp_path: Path) -> None:
    stop = threading.Event()
    adopted: list[str] = []

    def adopt() -> None:
        while not stop.is_set():
            for orphan in orphans(tmp_path):
                adopted.append(orphan.process)
                orphan.close()

    threads = [threading.Thread(target=adopt) for _ in range(3)]
    for thread in threads:
        thread.start()
    living = [Journal(tmp_path) for _ in range(50)]
    stop.set()
    for thread in threads:
        thread.join()
    assert adopted == []
    assert all((tmp_path / f"{journal.process}.lock").exists() for journal in living)
    for journal in living:
        journal.close()
    assert list(tmp_path.iterdir()) == []


def test_many_processes_adopt_at_once_and_each_row_is_entered_once(tmp_path: Path) -> None:
    for number in range(20):
        journal = Journal(tmp_path / "journal")
        for id in (f"{number}.{each}" for each in range(50)):
            for entry in (begun(id), ended(id), over(id)):
                journal.append(entry)
        journal.append(begun(f"{number}.open"))
        abandon(journal)
    code = (
        "import sys; from pathlib import Path\n"
        "from genai_spine.ledger.database import SqliteDatabase\n"
        "from genai_spine.ledger.writer import Ledger\n"
        "folder = Path(sys.argv[1])\n"
        "Ledger(folder / 'journal', lambda: SqliteDatabase(folder / 'ledger.db'), every_s=0.001).close(60)\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    ledger_in(tmp_path).close()
    assert rows_of(tmp_path, "SELECT status, count(*), sum(cost_nanousd) FROM call GROUP BY 1 ORDER BY 1") == [
        ("answered", 1000, 7000),
        ("interrupted", 20, None),
    ]
    assert rows_of(tmp_path, "SELECT sum(calls), sum(cost_nanousd) FROM daily WHERE kind = 'all'") == [(1020, 7000)]
    assert list((tmp_path / "journal").iterdir()) == []


def test_segments_without_a_lock_file_are_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(begun("a"))
    abandon(journal)
    (tmp_path / f"{journal.process}.lock").unlink()
    [orphan] = orphans(tmp_path)
    assert orphan.process == journal.process
    orphan.close()


def test_a_journal_that_was_adopted_between_two_steps_is_not_adopted_again(tmp_path: Path) -> None:
    path = tmp_path / "1-a.lock"
    path.touch()
    other = os.open(path, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert list(orphans(tmp_path)) == []
    path.unlink()
    os.close(other)
    assert list(orphans(tmp_path)) == []

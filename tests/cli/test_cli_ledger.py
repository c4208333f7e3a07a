"""`spine usage` and `spine logs`: read from the ledger's file, while a gateway writes it or none does."""

from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from spine_process import Place

from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Tokens
from genai_spine.ledger.matching import Matching

NEAR = True  # what commands say: conftest.py

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


def entries_of(
    id: str, *, at: float = NOON, model: str = "gpt-4o", cost: int | None = 1_500_000, status: str = "answered"
) -> list[Entry]:
    whose = {"provider": "openai", "model": model, "caller": "a1b2", "tags": ("=cmd()", "night")}
    begun = Begun(id=f"{id}-1", call=id, at=at, most_nanousd=2_000_000, **whose)  # type: ignore[arg-type]
    tokens = Tokens(input=1200, output=87, cache_read=200)
    ended = Ended(id=begun.id, at=at, status="answered", duration_s=1.5, first_s=0.3, tokens=tokens, cost_nanousd=cost)
    more = {"duration_s": 1.5, "attempts": 1, "cost_nanousd": cost, "unpriced": int(cost is None), **whose}
    return [begun, ended, Call(id=id, at=at + 1.5, status=status, **more)]  # type: ignore[arg-type]


def enter(place: Place, *calls: list[Entry]) -> None:
    database = SqliteDatabase(place.path / "spine.db")
    for entries in calls:
        database.enter(Matching().take(entries))
    database.close()


@pytest.fixture
def ledger(place: Place) -> Place:
    place.write('[ledger]\nurl = "sqlite:///spine.db"\n[providers.openai]\napi_key = "sk-unused"\n')
    enter(
        place,
        entries_of("req_1"),
        entries_of("req_2", model="strange", cost=None),
        entries_of("req_3", status="failed", cost=0),
    )
    return place


def test_usage_is_a_table_with_what_is_not_known_said(ledger: Place) -> None:
    done = ledger.run("usage", "--by", "model")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["model", "calls", "failed", "input", "cached", "output", "USD", "unknown"]
    assert lines[1][:7] == ["openai/gpt-4o", "2", "1", "2,400", "400", "174", "0.0015"]
    assert lines[2] == ["openai/strange", "1", "0", "1,200", "200", "87", "?", "1", "attempts,", "at", "most", "0.002"]
    assert lines[3][0] == "total"
    assert done.out.splitlines()[4] == "known $0.0015, and at most $0.002 more"


def test_usage_as_json_has_exact_amounts(ledger: Place) -> None:
    found = json.loads(ledger.run("usage", "--by", "key", "--since", "2026-11-20", "--json").out)
    assert (found["since"], found["by"], found["total"]["cost_usd"]) == ("2026-11-20", "key", "0.0015")
    assert [(row["name"], row["calls"], row["unpriced_at_most_usd"]) for row in found["data"]] == [("a1b2", 3, "0.002")]
    empty = json.loads(ledger.run("usage", "--until", "2026-11-19", "--json").out)
    assert empty["total"]["calls"] == 0


def test_usage_as_csv_gives_a_spreadsheet_no_formula(ledger: Place) -> None:
    rows = list(csv.DictReader(io.StringIO(ledger.run("usage", "--by", "tag", "--csv").out)))
    assert {row["tag"] for row in rows} == {"'=cmd()", "night"}
    assert {row["cost_usd"] for row in rows} == {"0.0015"}


@pytest.mark.parametrize("command", ["usage", "usage --forecast", "costs whatif --model openai/gpt-5"])
def test_figures_come_in_one_form(ledger: Place, command: str) -> None:
    for options in (("--json", "--csv"), ("--csv", "--json")):
        refused = ledger.run(*command.split(), *options)
        assert (refused.code, refused.out) == (2, "")
        assert "--json or --csv: one at a time" in refused.err


def test_logs_lists_the_last_calls_and_shows_one_with_its_arithmetic(ledger: Place) -> None:
    listed = ledger.run("logs")
    assert listed.out.startswith("time (UTC) ")
    assert [line.split()[2] for line in listed.out.splitlines()[1:]] == ["req_1", "req_2", "req_3"]
    assert [line.split()[6] for line in listed.out.splitlines()[1:]] == ["0.0015", "≤0.002", "0"]
    lines = [json.loads(line) for line in ledger.run("logs", "--status", "failed", "--json").out.splitlines()]
    assert [(line["id"], line["cost_usd"]) for line in lines] == [("req_3", "0")]
    shown = ledger.run("logs", "req_1")
    assert "openai/gpt-4o: answered, 1.500 s, the first word after 0.300 s" in shown.out
    assert "1000 × 2.5 input + 200 × 1.25 cached_input + 87 × 10 output per 1M" in shown.out
    costs = [line for line in ledger.run("logs", "req_2").out.splitlines() if line.startswith("cost")]
    assert costs == ["cost         at most $0.002 (1 attempt)", "cost         not known, 0.002 USD at most"]
    missing = ledger.run("logs", "req_9")
    assert (missing.code, "no call req_9" in missing.err) == (1, True)


def test_logs_goes_on_with_calls_that_come(ledger: Place) -> None:
    with ledger.started("logs", "--follow", "-n", "1") as running:
        running.expect("req_3")
        enter(ledger, entries_of("req_4", at=NOON + 2))
        running.expect("req_4")
        enter(ledger, entries_of("req_5", at=NOON + 1))  # of another process, which is later to enter its own
        running.expect("req_5")


def test_without_a_ledger_it_is_said_what_to_set(place: Place) -> None:
    for command in ("usage", "logs"):
        done = place.run(command)
        assert (done.code, "ledger.url" in done.err, done.out) == (1, True, "")
        place.write('[ledger]\nurl = "sqlite:///none.db"\n')
        done = place.run(command)
        assert (done.code, "no ledger at none.db yet" in done.err) == (1, True)
        assert not (place.path / "none.db").exists()
        (place.path / "spine.toml").unlink()


def test_an_end_before_the_beginning_is_wrong_usage(ledger: Place) -> None:
    for command in ("usage", "costs reprice", "costs whatif --model openai/gpt-5"):
        for days in (
            ("--since", "2026-11-21", "--until", "2026-11-20"),
            ("--until", "2026-11-20", "--since", "2026-11-21"),
        ):
            done = ledger.run(*command.split(), *days)
            assert (done.code, "--until 2026-11-20 is before --since 2026-11-21" in done.err) == (2, True)
    assert ledger.run("usage", "--since", "2026-11-20", "--until", "2026-11-20").code == 0


def test_a_day_that_is_none_is_wrong_usage(ledger: Place) -> None:
    done = ledger.run("usage", "--since", "lately")
    assert (done.code, "7d" in done.err) == (2, True)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_json_whatever_names_callers_make_up_and_whatever_the_terminal_can_show(
    ledger: Place, encoding: str
) -> None:
    name = 'a\x85b\x7f\x9b31m é 日本 😀 "'
    enter(ledger, entries_of("req_4", at=NOON + 2, model=name))
    for command in (("logs", "--json", "-n", "1"), ("logs", "req_4", "--json")):
        printed = ledger.run(*command, PYTHONUTF8="0", PYTHONIOENCODING=encoding).raw.decode(encoding)
        assert json.loads(printed)["model"] == name
        assert not {"\x7f", "\x85", "\x9b"} & set(printed)


def test_a_callers_name_for_a_model_adds_no_line_to_what_is_told_of_its_call(ledger: Place) -> None:
    enter(ledger, entries_of("req_4", at=NOON + 2, model="m\nstatus       answered\ncost         $0"))
    lines = ledger.run("logs", "req_4").out.splitlines()
    starts = [line.partition(" ")[0] for line in lines]
    assert (starts.count("status"), starts.count("cost")) == (1, 2)  # of the call, and of its attempt
    assert "model        m status answered cost $0" in lines


@pytest.mark.parametrize("command", [("usage",), ("usage", "--forecast"), ("logs",), ("logs", "req_1"), ("doctor",)])
def test_a_ledger_of_a_later_version_is_not_read_as_if_it_were_known(ledger: Place, command: tuple[str, ...]) -> None:
    with sqlite3.connect(ledger.path / "spine.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    done = ledger.run(*command)
    assert done.code == 1
    assert "the ledger is of version 99, and this program knows" in (done.out if command == ("doctor",) else done.err)


def test_a_database_that_cannot_be_reached_is_told_in_one_line(place: Place) -> None:
    pytest.importorskip("psycopg")
    place.write('[ledger]\nurl = "postgresql://u:p@127.0.0.1:9,127.0.0.1:10/x"\n[providers.simulated]\n')
    done = place.run("usage")
    assert done.code == 1
    assert done.err.startswith("Error: the ledger's database cannot be reached (ledger.url): ")
    assert done.err.count("\n") == 1


def test_the_last_calls_of_a_process_that_was_killed_are_said_to_be_missing(place: Place) -> None:
    place.write('[ledger]\nurl = "sqlite:///spine.db"\n[providers.simulated]\n')
    program = """
import os, sys, time
from genai_spine import SyncManager
manager = SyncManager.from_settings("spine.toml")
manager.start()
while not os.path.exists("spine.db"):
    time.sleep(0.01)
for _ in range(3):
    manager.complete("Hi")
os.kill(os.getpid(), int(sys.argv[1]))
manager.close()
"""
    for number in (signal.SIGKILL, 0):
        command = [sys.executable, "-c", program, str(int(number))]
        subprocess.run(command, cwd=place.path, env=place.environ(), check=False, timeout=30)
        for words in (("usage",), ("logs",), ("usage", "--json")):
            said = place.run(*words)
            is_told = "the last calls of a process that did not end by itself may be missing" in said.err
            assert said.code == 0 and is_told == (number == signal.SIGKILL), said
    assert json.loads(place.run("usage", "--json").out)["total"]["calls"] == 6
    with place.started("serve", "--port", "0") as running:  # one that lives misses nothing
        running.expect("GEMINI_API_KEY")
        assert "warning" not in place.run("usage").err

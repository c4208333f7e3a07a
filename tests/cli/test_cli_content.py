"""`spine logs ID --content` and `--forget`; and texts of a gateway that is killed, or whose disk is full."""

from __future__ import annotations

import json
import re
import sqlite3
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from spine_process import Place, Running

from genai_spine.ledger.content import Content, WaitingContent
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.ledger.entry import Begun, Call, Ended
from genai_spine.ledger.matching import Matching
from genai_spine.testing.fixtures import running_gateway, wait_until

SETTINGS = """
[ledger]
url = "sqlite:///spine.db"
content = "redacted"
[providers.simulated]
"""


class Said:
    size = 1

    def __init__(self, **content: object) -> None:
        self._content = Content(**{"at": 0.0, "is_cut": False, "level": "redacted", **content})  # type: ignore[arg-type]

    def text(self) -> Content:
        return self._content


@pytest.fixture
def ledger(place: Place) -> Place:
    place.write(SETTINGS)
    database = SqliteDatabase(place.path / "spine.db")
    for id in ("req_1", "req_2", "req_3"):
        begun = Begun(id=f"{id}-1", call=id, at=1.0, provider="openai", model="gpt-4o")
        ended = Ended(id=begun.id, at=2.0, status="answered", duration_s=1.0, cost_nanousd=3)
        call = Call(id=id, at=2.0, duration_s=1.0, status="answered", attempts=1, provider="openai", model="gpt-4o")
        database.enter(Matching().take([begun, ended, call]))
    waiting = WaitingContent()
    waiting.add(Said(call="req_1", request='{"model":"m","messages":[]}', answer='{"parts":[]}'))
    waiting.add(Said(call="req_2", request='{"cut":"a\x1b[31mb', answer=None, is_cut=True))
    waiting.enter(database)
    database.close()
    return place


def test_what_was_said_is_shown_behind_what_it_cost(ledger: Place) -> None:
    shown = ledger.run("logs", "req_1", "--content")
    assert shown.code == 0
    assert shown.out.startswith("id           req_1\n")
    assert shown.out.endswith(
        'request      redacted\n{\n  "model": "m",\n  "messages": []\n}\nanswer       redacted\n{\n  "parts": []\n}\n'
    )
    assert "request " not in ledger.run("logs", "req_1").out


def test_what_is_left_of_a_text_is_shown_without_what_a_terminal_obeys(ledger: Place) -> None:
    out = ledger.run("logs", "req_2", "--content").out
    assert out.endswith('request      redacted, not all of it\n{"cut":"a?[31mb\nanswer       none\n')


def test_for_programs_it_is_a_member(ledger: Place) -> None:
    content = json.loads(ledger.run("logs", "req_1", "--content", "--json").out)["content"]
    assert content == {
        "at": "1970-01-01T00:00:00+00:00",
        "level": "redacted",
        "is_cut": False,
        "request": {"model": "m", "messages": []},
        "answer": {"parts": []},
    }
    assert json.loads(ledger.run("logs", "req_3", "--content", "--json").out)["content"] is None
    assert "content" not in json.loads(ledger.run("logs", "req_1", "--json").out)


def test_where_there_is_none_it_is_said_why(ledger: Place) -> None:
    assert "no text of this call is kept" in ledger.run("logs", "req_3", "--content").out
    ledger.write(SETTINGS.replace('content = "redacted"', ""))
    assert ledger.run("logs", "req_3", "--content").out.endswith("\nno text is kept (ledger.content)\n")


def test_what_is_to_be_forgotten_is_and_what_it_cost_stays(ledger: Place) -> None:
    assert ledger.run("logs", "--forget", "req_1").out == "what was said in req_1 is deleted\n"
    assert "no text of this call is kept" in ledger.run("logs", "--forget", "req_1").out
    assert "no text of this call is kept" in ledger.run("logs", "req_1", "--content").out
    assert json.loads(ledger.run("logs", "req_1", "--json").out)["attempts"][0]["cost_usd"] == "0.000000003"


def test_a_slip_is_not_taken_for_a_deletion(ledger: Place) -> None:
    slip = ledger.run("logs", "--forget", "req_11")
    assert (slip.code, slip.out) == (1, "")
    assert slip.err == "Error: no call req_11 is in the ledger: `spine logs` lists the last ones\n"


@pytest.mark.parametrize("option", ["--content", "--forget"])
def test_both_are_of_one_call(ledger: Place, option: str) -> None:
    refused = ledger.run("logs", option)
    assert refused.code == 2 and "name its REQUEST_ID" in refused.err


# ---------------------------------------------------------------- what befalls a gateway


def chat(url: str, words: str) -> str:
    body = json.dumps({"model": "simulated/m", "messages": [{"role": "user", "content": words}]}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()
        id: str = answer.headers["x-request-id"]
    return id


def url_of(gateway: Running) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", gateway.expect("OLLAMA_HOST="))
    assert found is not None
    return found[0]


def test_killed_what_was_spent_is_there_and_what_was_said_may_be(place: Place) -> None:
    place.write(SETTINGS)
    with place.started("serve", "--port", "0") as gateway:
        ids = [chat(url_of(gateway), f"words {number}") for number in range(20)]
        gateway.process.kill()
    with place.started("serve", "--port", "0") as gateway:
        last = chat(url_of(gateway), "words again")

        def rows(statement: str) -> set[str]:
            with sqlite3.connect(place.path / "spine.db") as connection:
                return {id for (id,) in connection.execute(statement)}

        wait_until(lambda: rows("SELECT id FROM call") == {*ids, last}, 20)
        wait_until(lambda: last in rows("SELECT call FROM content"))
        assert rows("SELECT call FROM content") <= {*ids, last}


def test_on_a_full_disk_calls_go_on_and_texts_wait_or_are_dropped(disk_of_mb: Callable[[int], Path]) -> None:
    disk = disk_of_mb(4)
    url = f"sqlite:///{disk}/spine.db"
    settings = {"providers": {"simulated": {}}, "ledger": {"url": url, "content": "full"}}

    def texts() -> int:
        with sqlite3.connect(disk / "spine.db") as connection:
            return int(connection.execute("SELECT count(*) FROM content").fetchone()[0])

    with running_gateway(settings) as running:
        chat(running.url, "words")
        wait_until(lambda: texts() == 1)
        for size in (65536, 1):
            with suppress(OSError), (disk / "rest").open("ab", buffering=0) as rest:
                while True:
                    rest.write(bytes(size))
        for _ in range(20):
            chat(running.url, "word " * 10_000)
        (disk / "rest").unlink()
        wait_until(lambda: texts() == 21, 20)
        assert running.manager.ledger is not None and running.manager.ledger.content.lost == 0

"""A gateway that is killed under load: every call that a caller saw answered is in the ledger, once."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest
from spine_process import Place, Running

from genai_spine.testing.fixtures import wait_until

SETTINGS = """
[server]
access_log = false
[ledger]
url = "sqlite:///spine.db"
[providers.simulated]
"""


class Callers:
    """Ask until the gateway is gone. `answered` are the ids of calls whose answer came whole, `begun` of those of which
    at least the head came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered: set[str] = set()
        self.begun: set[str] = set()
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(6)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        body: dict[str, Any] = {"model": "simulated/m", "messages": [{"role": "user", "content": "Hi " * 20}]}
        with httpx.Client() as client:
            for turn in range(1_000_000):
                body["stream"] = (number + turn) % 2 == 0
                try:
                    with client.stream("POST", f"{self.url}/v1/chat/completions", json=body) as response:
                        assert response.status_code == 200
                        id = response.headers["x-request-id"]
                        self.begun.add(id)
                        response.read()
                        self.answered.add(id)
                except httpx.HTTPError:
                    return

    def are_answered(self) -> bool:
        return len(self.answered) > 20

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_under_load_no_answered_call_is_missing_and_none_is_doubled(place: Place, rounds: int) -> None:
    place.write(SETTINGS)
    chance = random.Random(rounds)
    answered: set[str] = set()
    begun: set[str] = set()
    for _ in range(rounds):
        with place.started("serve", "--port", "0") as gateway:
            callers = Callers(_url_of(gateway))
            wait_until(callers.are_answered, 20)
            time.sleep(chance.uniform(0, 0.4))
            gateway.process.kill()
            callers.join()
        answered |= callers.answered
        begun |= callers.begun
    with place.started("serve", "--port", "0") as gateway:  # adopts what the others have left
        _url_of(gateway)
        _until_quiet(place)
    rows = dict(_rows(place, "SELECT id, status FROM call"))
    assert len(answered) > 20 * rounds
    assert answered - rows.keys() == set()
    assert {rows[id] for id in answered} == {"answered"}  # the call's end is written before the answer's
    assert begun - rows.keys() == set()
    [(attempts, ids)] = _rows(place, "SELECT count(*), count(DISTINCT call) FROM attempt")
    assert attempts == ids == len(rows)


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_was_under_way_when_it_was_killed_is_bounded(place: Place, is_stream: bool) -> None:
    body = {
        "model": "gpt-4o-mini",
        "max_tokens": 1000,
        "stream": is_stream,
        "messages": [{"role": "user", "content": "Hi " * 100}],
    }
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base_url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        place.write(f"""{SETTINGS}[providers.openai]\nbase_url = "{base_url}"\napi_key = "sk-0"\n""")
        with place.started("serve", "--port", "0") as gateway:
            url = f"{_url_of(gateway)}/v1/chat/completions"
            asking = threading.Thread(target=_refused, args=(lambda: httpx.post(url, json=body, timeout=20),))
            asking.start()
            wait_until(lambda: any(b"\xa1m" in file.read_bytes() for file in place.path.rglob("*-*.journal")), 10)
            gateway.process.kill()
            asking.join()
        with place.started("serve", "--port", "0") as gateway:
            _url_of(gateway)
            wait_until(lambda: _rows(place, "SELECT count(*) FROM call") == [(1,)], 20)
    [(status, cost, most)] = _rows(place, "SELECT status, cost_nanousd, most_nanousd FROM attempt")
    assert (status, cost) == ("interrupted", None)
    input_most = len(json.dumps(body)) + 50
    assert 1000 * 600 < most <= 1000 * 600 + input_most * 150


def _refused(ask: Callable[[], object]) -> None:
    with contextlib.suppress(httpx.HTTPError):
        ask()


def _url_of(gateway: Running) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", gateway.expect("OLLAMA_HOST="))
    assert found is not None
    return found[0]


def _until_quiet(place: Place) -> None:
    count = -1
    while count != (count := _rows(place, "SELECT count(*) FROM call")[0][0]):
        time.sleep(1.0)


def _rows(place: Place, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(place.path / "spine.db") as database:
        return database.execute(statement).fetchall()

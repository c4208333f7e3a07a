"""Gateways and workers that share a ledger in Postgres, and are killed under load."""

from __future__ import annotations

import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from os import kill
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from spine_process import Place, Running

from genai_spine.ledger.postgres import PostgresReader

sys.path.append(str(Path(__file__).parents[1] / "ledger"))
from postgres_server import PostgresServer

pytestmark = [pytest.mark.servers, pytest.mark.slow]

SETTINGS = """
[server]
access_log = false
[ledger]
url = "{url}"
[providers.simulated]
"""
ROUNDS = 6


@pytest.fixture
def url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="spine-postgres-") as folder:  # pytest's own belongs to root alone
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "server")
        yield server.url()
        server.stop()


class Callers:
    """Ask gateways, whichever of them live, until the block ends. `answered` are the ids of calls whose answer came
    whole."""

    def __init__(self, urls: list[str]) -> None:
        self.answered: set[str] = set()
        self.begun: set[str] = set()
        self._is_over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(urls[n % len(urls)], n), daemon=True) for n in range(6)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str, number: int) -> None:
        body: dict[str, Any] = {"model": "simulated/m", "messages": [{"role": "user", "content": "Hi " * 20}]}
        while not self._is_over.is_set():
            with httpx.Client() as client:
                try:
                    while not self._is_over.is_set():
                        number += 1
                        self._ask_once(client, url, {**body, "stream": number % 2 == 0})
                except httpx.HTTPError:
                    time.sleep(0.01)  # killed: another worker, or the next one, answers

    def _ask_once(self, client: httpx.Client, url: str, body: dict[str, Any]) -> None:
        with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            self.begun.add(response.headers["x-request-id"])
            response.read()
            self.answered.add(response.headers["x-request-id"])

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def test_workers_that_are_killed_lose_no_answered_call_and_double_none(place: Place, url: str) -> None:
    place.write(SETTINGS.format(url=url))
    chance = random.Random(1)
    answered: set[str] = set()
    begun: set[str] = set()
    for round in range(ROUNDS):
        with (
            place.started("serve", "--port", "0", "--workers", "3") as gateway,
            Callers([url_of(gateway)]) as callers,
        ):
            for _ in range(3):
                time.sleep(chance.uniform(0.3, 1.2))
                kill_worker(chance.choice(workers_of(gateway)))
            if round % 2:
                gateway.process.kill()  # and the workers, that see it, end by themselves
            else:
                for worker in workers_of(gateway):
                    kill_worker(worker)
            gateway.process.kill()
        answered |= callers.answered
        begun |= callers.begun
    check(place, url, answered, begun)


def test_gateways_that_are_killed_lose_no_answered_call_and_double_none(place: Place, url: str) -> None:
    place.write(SETTINGS.format(url=url))
    chance = random.Random(2)
    with ExitStack() as stack:
        gateways = [stack.enter_context(place.started("serve", "--port", "0")) for _ in range(3)]
        urls = [url_of(gateway) for gateway in gateways]
        callers = stack.enter_context(Callers(urls))
        for _ in range(ROUNDS):
            time.sleep(chance.uniform(0.1, 1.0))
            which = chance.randrange(3)
            gateways[which].process.kill()
            gateways[which].wait()
            port = urls[which].rpartition(":")[2]
            gateways[which] = stack.enter_context(place.started("serve", "--port", port))
            url_of(gateways[which])
        for gateway in gateways:
            gateway.process.kill()
    check(place, url, callers.answered, callers.begun)


def check(place: Place, url: str, answered: set[str], begun: set[str]) -> None:
    """Each call that was answered is one row, and what the rows say is what the sums of the days say."""
    with place.started("serve", "--port", "0") as gateway:  # adopts what the others have left
        url_of(gateway)
        until_quiet(url)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    rows = dict(rows_of(url, "SELECT id, status FROM call"))
    assert len(answered) > 100
    assert {id for id in answered if rows.get(id) != "answered"} == set()
    assert begun - rows.keys() == set()
    [(attempts, calls)] = rows_of(url, "SELECT count(*), count(DISTINCT call) FROM attempt")
    assert attempts == calls == len(rows)
    daily = "SELECT sum(calls), sum(attempts), sum(input_tokens), sum(output_tokens) FROM daily WHERE kind = 'all'"
    whole = "SELECT count(*), count(*), sum(input_tokens), sum(output_tokens) FROM attempt"
    assert rows_of(url, daily) == rows_of(url, whole)
    assert list(place.home.rglob("*.journal")) == []


def url_of(gateway: Running) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", gateway.expect("OLLAMA_HOST=", 30))
    assert found is not None
    return found[0]


def workers_of(gateway: Running) -> list[int]:
    """The processes that serve; the one that looks after multiprocessing's resources is none of them."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        of = gateway.process.pid
        children = map(int, Path(f"/proc/{of}/task/{of}/children").read_text().split())
        found = [pid for pid in children if b"spawn_main" in command_of(pid)]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("no worker lives")


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it ended since it was listed
        return b""


def kill_worker(pid: int) -> None:
    with suppress(ProcessLookupError):
        kill(pid, signal.SIGKILL)


def until_quiet(url: str) -> None:
    count: object = None
    while count != (count := rows_of(url, "SELECT count(*) FROM call")[0][0]):
        time.sleep(1.5)


def rows_of(url: str, statement: str) -> list[tuple[Any, ...]]:
    reader = PostgresReader(url)
    try:
        return reader.query(statement)
    finally:
        reader.close()

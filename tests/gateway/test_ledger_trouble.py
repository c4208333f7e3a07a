"""A ledger that cannot be written: what /health/ready says, who is served and who is refused, on a disk that is really
full."""

from __future__ import annotations

import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from genai_spine.ledger.entry import Begun
from genai_spine.testing.fixtures import RunningGateway, running_gateway, wait_until

STRICT, EASY = {"authorization": "Bearer strict-key"}, {"authorization": "Bearer easy-key"}


def ask(running: RunningGateway, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{running.url}{path}", data, {"content-type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def chat(running: RunningGateway, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    body = {"model": "sim", "messages": [{"role": "user", "content": "hi"}]}
    return ask(running, "/v1/chat/completions", body, headers)


def settings(path: Path, **more: Any) -> dict[str, Any]:
    ledger = {"url": f"sqlite:///{path}/spine.db", "on_failure": more.pop("on_failure", "serve")}
    return {"providers": {"sim": {"type": "simulated"}}, "ledger": ledger, **more}


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(65536))
    with suppress(OSError), (disk / "rest").open("ab", buffering=0) as rest:
        while True:
            rest.write(b"x")


@pytest.fixture
def small_disk(disk_of_mb: Callable[[int], Path]) -> Path:
    return disk_of_mb(4)


def test_a_ledger_that_is_well_is_said_to_be(tmp_path: Path) -> None:
    with running_gateway(settings(tmp_path)) as running:
        status, state = ask(running, "/health/ready")
        assert (status, state["status"]) == (200, "ready")
        assert state["ledger"] == {"database": "ok", "journal": "ok", "held": 0, "lost": 0}


def test_a_database_that_takes_nothing_degrades_and_holds_up_nobody(tmp_path: Path) -> None:
    with running_gateway(settings(tmp_path, on_failure="refuse")) as running:
        assert chat(running)[0] == 200
        wait_until(lambda: calls_in(tmp_path) == 1)
        other = sqlite3.connect(tmp_path / "spine.db", isolation_level=None)
        other.execute("ALTER TABLE daily RENAME TO elsewhere")
        assert chat(running)[0] == 200
        wait_until(lambda: ask(running, "/health/ready")[1]["status"] == "degraded")
        status, state = ask(running, "/health/ready")
        assert (status, state["ledger"]["database"], state["ledger"]["journal"]) == (200, "not written", "ok")
        assert "daily" not in json.dumps(state)
        assert chat(running)[0] == 200  # the journal has it
        other.execute("ALTER TABLE elsewhere RENAME TO daily")
        other.close()
        wait_until(lambda: ask(running, "/health/ready")[1]["status"] == "ready", 15)
    assert calls_in(tmp_path) == 3


def calls_in(path: Path) -> int:
    with sqlite3.connect(path / "spine.db") as connection:
        return int(connection.execute("SELECT count(*) FROM call WHERE status = 'answered'").fetchone()[0])


def test_on_a_full_disk_calls_are_served_from_memory_and_none_is_lost(small_disk: Path) -> None:
    with running_gateway(settings(small_disk)) as running:
        answers = [chat(running)[0]]

        def is_held() -> bool:
            fill(small_disk)  # what is moved to the database makes room in the journal again
            answers.append(chat(running)[0])
            status, state = ask(running, "/health/ready")
            assert status == 200
            return bool(state["status"] == "degraded" and state["ledger"]["held"] > 0)

        wait_until(is_held, 15)
        for _ in range(40):
            is_held()
        wait_until(is_held, 15)
        assert set(answers) == {200}
        os.unlink(small_disk / "rest")
        wait_until(lambda: ask(running, "/health/ready")[1]["status"] == "ready", 15)
    assert calls_in(small_disk) == len(answers)


def test_who_must_be_written_down_is_refused_on_a_full_disk_and_nothing_is_sent(small_disk: Path) -> None:
    with running_gateway(settings(small_disk, on_failure="refuse")) as running:
        assert chat(running)[0] == 200
        answers = []
        for _ in range(60):
            fill(small_disk)  # what is moved to the database makes room in the journal again
            answers.append(chat(running))
        served = sum(status == 200 for status, _ in answers)
        assert answers[-1][0] == 503
        assert answers[-1][1]["error"]["code"] == "ledger_unwritable"
        assert all(status == 503 for status, _ in answers[served:])
        provider = running.manager.registry.get("sim")
        assert provider.metrics.request_count == 1 + served
        assert provider.status().healthy
        refused = {answer["error"]["request_id"] for status, answer in answers if status == 503}
        held = list(running.manager.ledger._held) if running.manager.ledger is not None else []
        assert 0 < len(held) <= 6  # those of the first one: the others were not begun
        assert {entry.call for entry in held if isinstance(entry, Begun)} <= refused
        assert ask(running, "/health/ready")[0] == 503
        assert ask(running, "/health/live")[0] == 200
        os.unlink(small_disk / "rest")
        wait_until(lambda: ask(running, "/health/ready")[0] == 200, 15)
        assert chat(running)[0] == 200
    assert calls_in(small_disk) == 2 + served


HARD: dict[str, Any] = {"limit_usd": 9, "mode": "hard"}


@pytest.mark.parametrize(("budget", "ready"), [({}, 503), ({"tag": "paid"}, 200)])
def test_what_a_hard_budget_concerns_is_refused_on_a_full_disk(
    small_disk: Path, budget: dict[str, Any], ready: int
) -> None:
    """By itself, without `ledger.on_failure`: what is not written down would be spent again after a restart."""
    paid = {"x-spine-tags": "paid"}
    keys = {"strict": {"key": "strict-key"}, "easy": {"key": "easy-key", "on_ledger_failure": "serve"}}
    costs = {"budgets": {"paid": {**HARD, **budget}, "counted": {"limit_usd": 9, "mode": "expected"}}}
    with running_gateway(settings(small_disk, costs=costs, server={"keys": keys})) as running:
        assert chat(running, STRICT | paid)[0] == 200
        fill(small_disk)
        wait_until(lambda: chat(running, STRICT | paid)[0] == 503, 15)
        asked = running.manager.registry.get("sim").metrics.request_count
        status, told = chat(running, STRICT | paid)
        assert (status, told["error"]["code"]) == (503, "ledger_unwritable")
        assert running.manager.registry.get("sim").metrics.request_count == asked
        assert chat(running, STRICT)[0] == ready
        assert chat(running, EASY | paid)[0] == 200
        assert ask(running, "/health/ready")[0] == ready
        os.unlink(small_disk / "rest")
        wait_until(lambda: chat(running, STRICT | paid)[0] == 200, 15)


def test_each_key_has_its_own_say(small_disk: Path) -> None:
    keys = {"strict": {"key": "strict-key", "on_ledger_failure": "refuse"}, "easy": {"key": "easy-key"}}
    with running_gateway(settings(small_disk, server={"keys": keys})) as running:
        assert chat(running, STRICT)[0] == chat(running, EASY)[0] == 200
        fill(small_disk)
        wait_until(lambda: chat(running, STRICT)[0] == 503, 15)
        assert chat(running, EASY)[0] == 200
        assert ask(running, "/health/ready")[1]["status"] == "degraded"

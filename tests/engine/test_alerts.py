"""Alerts: who is told that a budget has reached a level, by a real receiver, once in each window, and for no call's
time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.providers.cloud_peers import Answer, Asked, Peer, closed_port, running

from genai_spine.engine.costs import alerts as module
from genai_spine.engine.costs.alerts import Alerts, key_of, words_of
from genai_spine.engine.costs.webhook import Webhook
from genai_spine.ledger.alerts import AlertBook, RaisedAlert
from genai_spine.ledger.database import SqliteDatabase
from genai_spine.model.errors import ConfigError
from genai_spine.policy.budget import BudgetLevel
from genai_spine.providers.http_transport import HttpTransport
from genai_spine.settings import Secret
from genai_spine.settings.alerts import AlertSettings
from genai_spine.testing.fixtures import eventually
from genai_spine.wire.webhooks import key_of as secret_key
from genai_spine.wire.webhooks import signature

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
NOW = datetime.now(UTC)
LEVEL = BudgetLevel(
    budget="openai_daily",
    window="day",
    window_starts=NOW,
    resets_at=NOW + timedelta(days=1),
    level=0.8,
    limit_nanousd=5_000_000_000,
    spent_nanousd=4_010_000_000,
    limit_tokens=None,
    spent_tokens=0,
    provider="openai",
)
SOON = (0.01, 0.01, 0.01)


def alerts_at(url: str, *, secret: str | None = SECRET, after_s: tuple[float, ...] = SOON, log: bool = True) -> Alerts:
    key = Secret(secret) if secret is not None else None
    settings = AlertSettings(webhook=Secret(url), webhook_secret=key, log=log)
    return Alerts(settings, Webhook(Secret(url), key, HttpTransport(), after_s))


def book(path: Path) -> AlertBook:
    return AlertBook(partial(SqliteDatabase, path / "spine.db", busy_s=1.0))


def answering(*statuses: int, then: int = 204, **headers: str) -> Callable[[Asked], Answer]:
    left = list(statuses)

    def answer(_: Asked) -> Answer:
        return (left.pop(0), b"", headers) if left else (then, b"")

    return answer


def states(path: Path) -> list[tuple[Any, ...]]:
    database = SqliteDatabase(path / "spine.db")
    try:
        return database.query("SELECT state, tries FROM alert ORDER BY raised_at")
    finally:
        database.close()


async def tried(peer: Peer, times: int) -> None:
    await eventually(lambda: len(peer.asked) == times)


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["hunter2", "whsec_aGVsbG8=", b64encode(bytes(65)).decode(), "ümlaut"])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"costs\.alerts.*openssl") as refused:
        alerts_at("https://example.com/hook", secret=secret)
    assert secret not in str(refused.value)


async def test_a_receiver_that_fails_twice_gets_it_signed_with_the_same_id(tmp_path: Path) -> None:
    async with running(answering(500, 302)) as peer:
        alerts = alerts_at(f"{peer.url}/hook")
        alerts.start(book(tmp_path))
        alerts.raised(LEVEL)
        await tried(peer, 3)
        await eventually(lambda: states(tmp_path) == [("told", 3)])
        await alerts.close()
    assert len({asked.headers["webhook-id"] for asked in peer.asked}) == 1
    for asked in peer.asked:
        headers = asked.headers
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + asked.body
        wanted = hmac.new(b64decode(SECRET.removeprefix("whsec_")), text, hashlib.sha256).digest()
        assert headers["webhook-signature"] == "v1," + b64encode(wanted).decode()
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    told = json.loads(peer.asked[0].body)
    assert (told["type"], told["data"]["budget"], told["data"]["level"]) == ("budget.threshold", "openai_daily", 0.8)
    assert (told["data"]["limit_usd"], told["data"]["spent_usd"]) == ("5", "4.01")
    assert datetime.fromisoformat(told["timestamp"]) >= NOW


async def test_each_level_of_each_window_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = msgspec.structs.replace(LEVEL, level=1.0, spent_nanousd=5_000_000_000)
    tomorrow = msgspec.structs.replace(LEVEL, window_starts=NOW + timedelta(days=1))
    async with running(answering()) as peer:
        for _ in range(2):  # the second one is a process that starts anew
            alerts = alerts_at(peer.url)
            heard: list[BudgetLevel] = []
            alerts.callbacks.append(heard.append)
            alerts.start(book(tmp_path))
            for level in (LEVEL, LEVEL, full, full, tomorrow):
                alerts.raised(level)
            await alerts.close()
    assert (len(peer.asked), heard) == (3, [])
    assert caplog.text.count("budget openai_daily (day) has reached 80% of its limit: $4.01 of $5 spent") == 2
    assert caplog.text.count("budget openai_daily (day) has reached its limit: $5 of $5 spent") == 1


async def test_of_several_workers_one_tells_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BudgetLevel] = []
    async with running(answering()) as peer:
        workers = [alerts_at(peer.url) for _ in range(4)]
        for worker in workers:
            worker.callbacks.append(heard.append)
            worker.start(book(tmp_path))
            worker.raised(LEVEL)
        await asyncio.gather(*(worker.close() for worker in workers))
    assert (len(peer.asked), len(heard), caplog.text.count("80% of its limit")) == (1, 1, 1)


async def test_a_limit_that_was_raised_is_told_of_anew(tmp_path: Path) -> None:
    more = msgspec.structs.replace(LEVEL, limit_nanousd=10_000_000_000)
    assert key_of(more) != key_of(LEVEL)


async def test_a_receiver_that_hangs_holds_up_no_end_and_hears_of_it_from_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    async with running(answering()) as peer:
        peer.release.clear()
        first = alerts_at(peer.url)
        first.start(book(tmp_path))
        first.raised(LEVEL)
        await tried(peer, 1)
        await first.close()
        await eventually(lambda: not first._tasks)
        peer.release.set()
        second = alerts_at(peer.url)
        second.start(book(tmp_path))
        await eventually(lambda: states(tmp_path) == [("told", 1)])
        await second.close()
    ids = {asked.headers["webhook-id"] for asked in peer.asked}
    assert (len(peer.asked), len(ids)) == (2, 1)


async def test_what_waits_for_another_try_is_left_to_the_next_process(tmp_path: Path) -> None:
    first = alerts_at(f"http://127.0.0.1:{await closed_port()}", after_s=(3600.0,))
    first.start(book(tmp_path))
    first.raised(LEVEL)
    await eventually(lambda: states(tmp_path) == [("waiting", 1)])
    await first.close()
    assert states(tmp_path) == [("waiting", 1)]
    assert book(tmp_path).take_overdue(time.time(), time.time()) == []
    [left] = book(tmp_path).take_overdue(time.time() + 7200, time.time() + 7300)
    assert json.loads(left.body)["data"]["budget"] == "openai_daily"


async def test_one_that_never_answers_is_given_up_and_said_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(answering(then=500)) as peer:
        alerts = alerts_at(f"{peer.url}/a-secret-path")
        alerts.start(book(tmp_path))
        alerts.raised(LEVEL)
        await eventually(lambda: states(tmp_path)[:1] == [("given_up", len(SOON))])
        await alerts.close()
    assert len(peer.asked) == 1 + len(SOON)
    assert "did not take an alert: it answered 500" in caplog.text
    assert "a-secret-path" not in caplog.text


async def test_410_says_that_nobody_listens(tmp_path: Path) -> None:
    async with running(answering(410)) as peer:
        alerts = alerts_at(peer.url)
        alerts.start(book(tmp_path))
        alerts.raised(LEVEL)
        await eventually(lambda: states(tmp_path)[:1] == [("given_up", 0)])
        await alerts.close()
    assert len(peer.asked) == 1


async def test_retry_after_is_kept_to() -> None:
    async with running(answering(503, **{"retry-after": "120"})) as peer:
        webhook = Webhook(Secret(peer.url), None, HttpTransport(), SOON)
        assert await webhook.send("msg_1", b"{}", 0) == 120
        await webhook.close()
    assert "webhook-signature" not in peer.asked[0].headers


async def test_without_a_database_it_is_told_once_in_this_process() -> None:
    async with running(answering()) as peer:
        alerts = alerts_at(peer.url)
        alerts.start(None)
        for _ in range(3):
            alerts.raised(LEVEL)
        await alerts.close()
    assert len(peer.asked) == 1


async def test_a_database_that_is_locked_keeps_no_alert_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SqliteDatabase(tmp_path / "spine.db").close()
    other = sqlite3.connect(tmp_path / "spine.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    async with running(answering()) as peer:
        alerts = alerts_at(peer.url)
        alerts._book = AlertBook(partial(SqliteDatabase, tmp_path / "spine.db", busy_s=0.05))
        alerts.raised(LEVEL)
        await tried(peer, 1)
        await alerts.close()
    other.close()
    assert "does not answer about alerts" in caplog.text


async def test_a_burst_waits_for_its_turn_and_is_no_silence_of_the_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(AlertBook):
        """All together they take more than one of them may."""

        def enter(self, *args: Any) -> bool:
            time.sleep(0.02)
            return super().enter(*args)

    monkeypatch.setattr(module, "_DATABASE_S", 0.5)
    monkeypatch.setattr(module, "CLOSE_S", 20.0)
    SqliteDatabase(tmp_path / "spine.db").close()
    alerts = Alerts(AlertSettings(log=False))
    heard: list[str] = []
    alerts.callbacks.append(lambda level: heard.append(level.budget))
    alerts.start(Slow(partial(SqliteDatabase, tmp_path / "spine.db", busy_s=1.0)))
    for number in range(60):
        alerts.raised(msgspec.structs.replace(LEVEL, budget=f"b{number}"))
    await alerts.close()
    assert sorted(heard) == sorted(f"b{number}" for number in range(60))
    assert "does not answer" not in caplog.text


async def test_callbacks_plain_and_async_are_called_and_their_faults_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    alerts = Alerts(AlertSettings(log=False))
    heard: list[str] = []

    async def told(level: BudgetLevel) -> None:
        await asyncio.sleep(0)
        heard.append(f"async {level.budget}")

    def plainly(level: BudgetLevel) -> None:
        time.sleep(0.01)
        heard.append(f"plain {level.budget}")

    def badly(level: BudgetLevel) -> None:
        raise ZeroDivisionError("of the callback's own")

    alerts.callbacks += [badly, told, plainly, lambda level: told(level)]
    alerts.raised(LEVEL)
    await alerts.close()
    assert sorted(heard) == ["async openai_daily", "async openai_daily", "plain openai_daily"]
    assert "of the callback's own" in caplog.text
    assert words_of(LEVEL) not in caplog.text


async def test_a_callback_that_hangs_holds_up_neither_loop_nor_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    alerts = Alerts(AlertSettings())
    go_on = asyncio.Event()

    async def never(level: BudgetLevel) -> None:
        await go_on.wait()

    alerts.callbacks.append(never)
    alerts.raised(LEVEL)
    await asyncio.sleep(0)
    await alerts.close()
    assert not alerts._tasks


def test_alerts_are_forgotten_a_week_after_their_window(tmp_path: Path) -> None:
    kept = book(tmp_path)
    old = RaisedAlert(id="msg_1", key="a", body="{}", raised_at=0.0, ends_at=10.0)
    for_ever = RaisedAlert(id="msg_2", key="b", body="{}", raised_at=0.0)
    assert kept.enter(old, None)
    assert kept.enter(for_ever, None)
    assert not kept.enter(old, None)
    late = 30 * 86_400.0
    assert kept.enter(msgspec.structs.replace(old, raised_at=late, ends_at=late + 10), None)
    assert not kept.enter(msgspec.structs.replace(for_ever, raised_at=late), None)


async def test_what_another_thread_raises_is_told_in_the_loop() -> None:
    alerts = Alerts(AlertSettings())
    alerts.start(None)
    heard: list[BudgetLevel] = []
    alerts.callbacks.append(heard.append)
    await asyncio.to_thread(alerts.raised, LEVEL)
    await eventually(lambda: heard == [LEVEL])
    await alerts.close()


async def test_many_that_wait_for_a_receiver_that_hangs_stay_this_process_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)
    SqliteDatabase(tmp_path / "spine.db").close()
    async with running(answering()) as peer:
        peer.release.clear()
        alerts = alerts_at(peer.url)
        alerts.start(book(tmp_path))
        for number in range(6):
            alerts.raised(msgspec.structs.replace(LEVEL, budget=f"b{number}"))
        await tried(peer, 4)  # and two more wait for their turn
        await eventually(lambda: len(states(tmp_path)) == 6)
        latest = max(dues(tmp_path))
        await eventually(lambda: min(dues(tmp_path)) > latest)
        peer.release.set()
        await eventually(lambda: states(tmp_path) == [("told", 1)] * 6)
        await alerts.close()
    assert len(peer.asked) == 6


def dues(path: Path) -> list[float]:
    database = SqliteDatabase(path / "spine.db")
    try:
        return [due for (due,) in database.query("SELECT due_at FROM alert")]
    finally:
        database.close()

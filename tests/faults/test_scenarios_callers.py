"""Issue's scenarios around the caller: it leaves, it has little time, it asks twice, its first answer is late."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from callers import ANTHROPIC, OPENAI, Caller, Dialect, failed_upstream
from stage import IMPATIENT, MODEL, NO_RETRY, Stage, both, codes_of, each_dialect, merged, staged, told

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator

LONG = "sim-long-500"


# ── it leaves ─────────────────────────────────────────────────────────────────────────────────────


def left(stage: Stage, upstream: Simulator, begun: float) -> None:
    """What is true once a caller has left while `a` was asked: it is let go, nobody else is asked, nobody blamed."""
    wait_until(lambda: upstream.received[-1].outcome == "gone", 3)
    assert time.monotonic() - begun < 3
    record = stage.last_record()
    wait_until(lambda: all(attempt.is_settled for attempt in record.attempts))
    assert told(record) == "a:left"
    assert [attempt.error for attempt in record.attempts] == [None]
    stage.at_rest()
    assert stage.calls() == {"a": 1, "b": 0}
    assert set(stage.breakers().values()) == {"closed"}


@both
@each_dialect
def test_fault_27_the_caller_leaves_before_the_first_token(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    with staged(simulators, {"a": "stall=head", "b": ()}) as stage:
        with Caller(stage.gateway) as caller:
            caller.send("POST", dialect.path, dialect.request(MODEL, stream=stream))
            wait_until(lambda: bool(simulators["a"].received))
        left(stage, simulators["a"], time.monotonic())
        assert stage.last_record().answered_by is None


@both
@each_dialect
def test_fault_28_the_caller_leaves_in_mid_stream(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    """A plain answer has a middle too: it is on its way to us, and the caller has nothing of it yet."""
    with staged(simulators, {"a": "rate=100" if stream else "stall=1", "b": ()}, stream=stream) as stage:
        with Caller(stage.gateway) as caller:
            caller.send("POST", dialect.path, dialect.request(LONG, stream=stream))
            if stream:
                caller.read_until(b"fox")
            wait_until(lambda: bool(simulators["a"].received))
        left(stage, simulators["a"], time.monotonic())
        [attempt] = stage.last_record().attempts
        assert (attempt.first_s is not None) == stream
        assert attempt.may_be_billed


@both
@each_dialect
def test_fault_27_the_caller_leaves_during_backoff(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    settings = {"retry": {"max_retries": 3, "max_delay": 5}}
    with staged(simulators, {"a": "status=503; retry_after_ms=400", "b": ()}, settings) as stage:
        with Caller(stage.gateway) as caller:
            caller.send("POST", dialect.path, dialect.request(MODEL, stream=stream))
            wait_until(lambda: bool(simulators["a"].received))
            wait_until(lambda: told(stage.last_record()) == "a:server_error")
        time.sleep(0.6)
        assert told(stage.last_record()) == "a:server_error"
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 0}


# ── it has little time ────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize(("by", "dialect"), [("header", OPENAI), ("settings", ANTHROPIC)], ids=["header", "settings"])
def test_fault_08_a_deadline_shorter_than_the_chain(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool, by: str
) -> None:
    settings = merged(NO_RETRY, {"timeouts": {"total": 1.2}} if by == "settings" else {})
    headers = {"x-spine-timeout": "1.2"} if by == "header" else {}
    with staged(simulators, dict.fromkeys("abc", "stall=head"), settings, {"a": IMPATIENT}) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request(MODEL, stream=stream), headers)
        assert 1.2 <= time.monotonic() - begun <= 5
        failed_upstream(dialect, answer, 504)
        assert told(stage.record(answer)) == "a:timeout b:timeout"
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 1, "c": 0}
        assert set(stage.breakers().values()) == {"closed"}


@both
@each_dialect
def test_fault_08_a_deadline_during_backoff_is_kept(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    """What a retry would have to wait for beyond the deadline is not waited for at all."""
    settings = {"retry": {"max_retries": 5, "max_delay": 60}}
    with staged(simulators, {"a": "status=503; retry_after=30"}, settings) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request(MODEL, stream=stream), {"x-spine-timeout": "10"})
        assert time.monotonic() - begun < 8
        failed_upstream(dialect, answer, 503)
        assert told(stage.record(answer)) == "a:server_error"


# ── it asks twice ─────────────────────────────────────────────────────────────────────────────────

SHARED = {"routing": {"single_flight": True}}


@each_dialect
def test_fault_69_duplicate_identical_calls(simulators: dict[str, Simulator], dialect: Dialect) -> None:
    with staged(simulators, {"a": "rate=5", "b": ()}, SHARED) as stage, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(stage.ask, dialect, dialect.request(LONG)) for _ in range(6)]
        answers = [answer.result() for answer in asked]
        assert {answer.status for answer in answers} == {200}
        assert len({answer.body for answer in answers}) == 1
        assert len({answer.header("x-request-id") for answer in answers}) == 6
        assert sorted(answer.header("x-spine-attempts") for answer in answers) == ["0"] * 5 + ["1"]
        assert {told(stage.record(answer)) for answer in answers} == {"a"}, "each can be asked for by its own id"
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 0}
        # Another request is no duplicate, and what is over is no cache.
        for text in ("hello there", "something else"):
            assert stage.ask(dialect, dialect.request(LONG, text=text)).status == 200
        assert stage.calls() == {"a": 3, "b": 0}


def test_fault_69_duplicates_of_two_callers_are_two_calls(simulators: dict[str, Simulator]) -> None:
    settings = merged(SHARED, {"server": {"api_keys": ["one", "two"]}})
    with staged(simulators, {"a": "rate=5"}, settings) as stage, ThreadPoolExecutor(4) as pool:
        headers = [{"authorization": f"Bearer {key}"} for key in ("one", "two", "one", "two")]
        answers = list(pool.map(lambda header: stage.ask(OPENAI, OPENAI.request(LONG), header), headers))
        assert {answer.status for answer in answers} == {200}
        assert stage.calls() == {"a": 2}


@each_dialect
def test_fault_69_one_of_two_duplicates_leaves_and_the_other_is_answered(
    simulators: dict[str, Simulator], dialect: Dialect
) -> None:
    with staged(simulators, {"a": "stall=head; for_s=0.4"}, SHARED) as stage, ThreadPoolExecutor(1) as pool:
        with Caller(stage.gateway) as first:
            first.send("POST", dialect.path, dialect.request(LONG))
            wait_until(lambda: bool(simulators["a"].received))
            second = pool.submit(stage.ask, dialect, dialect.request(LONG))
            time.sleep(0.1)
        assert second.result().status == 200
        stage.at_rest()
        assert stage.calls() == {"a": 1}
        assert simulators["a"].received[-1].outcome == "answered"


def test_fault_69_who_left_is_told_of_as_such_and_pays_for_the_answer_of_both(
    simulators: dict[str, Simulator], tmp_path: Path
) -> None:
    settings = merged(SHARED, {"ledger": {"url": f"sqlite:///{tmp_path}/spine.db"}})
    costs = {"a": {"cost": {"input_cost_per_1m": 1, "output_cost_per_1m": 2}}}
    with staged(simulators, {"a": "stall=head; for_s=0.4"}, settings, costs) as stage, ThreadPoolExecutor(1) as pool:
        with Caller(stage.gateway) as first:
            first.send("POST", OPENAI.path, OPENAI.request(LONG))
            wait_until(lambda: bool(simulators["a"].received))
            second = pool.submit(stage.ask, OPENAI, OPENAI.request(LONG))
            time.sleep(0.1)
        assert second.result().status == 200
        stage.at_rest()
    with sqlite3.connect(tmp_path / "spine.db") as database:
        calls = database.execute("SELECT status, attempts, cost_nanousd, unpriced FROM call ORDER BY status").fetchall()
        [(status, cost)] = database.execute("SELECT status, cost_nanousd FROM attempt").fetchall()
    assert status == "answered"
    assert cost > 0
    assert calls == [("answered", 0, 0, 0), ("left", 1, cost, 0)]


def test_fault_69_what_is_tried_again_after_the_first_caller_left_is_of_its_call_too(
    simulators: dict[str, Simulator], tmp_path: Path
) -> None:
    settings = merged(SHARED, {"ledger": {"url": f"sqlite:///{tmp_path}/spine.db"}})
    costs = {"a": {"cost": {"input_cost_per_1m": 1, "output_cost_per_1m": 2}}}
    faults = ("stall=head; for_s=0.4; status=503",)
    tagged = {"x-spine-tags": "night"}
    with staged(simulators, {"a": faults}, settings, costs) as stage, ThreadPoolExecutor(1) as pool:
        with Caller(stage.gateway) as first:
            first.send("POST", OPENAI.path, OPENAI.request(LONG), tagged)
            wait_until(lambda: bool(simulators["a"].received))
            second = pool.submit(stage.ask, OPENAI, OPENAI.request(LONG), tagged)
            time.sleep(0.1)
        assert second.result().status == 200
        stage.at_rest()
        assert stage.calls() == {"a": 2}
    with sqlite3.connect(tmp_path / "spine.db") as database:
        calls = database.execute("SELECT status, attempts, cost_nanousd, tags FROM call ORDER BY status").fetchall()
        [(cost,)] = database.execute("SELECT cost_nanousd FROM attempt WHERE status = 'answered'").fetchall()
        [day] = database.execute("SELECT calls, attempts, cost_nanousd FROM daily WHERE name = 'night'").fetchall()
    assert cost > 0
    assert calls == [("answered", 0, 0, '["night"]'), ("left", 2, cost, '["night"]')]
    assert day == (2, 2, cost)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"x-spine-tags": "secret"}),
        ({"x-spine-timeout": "5"}, {}),
    ],
)
def test_fault_69_calls_on_other_terms_are_no_duplicates(
    simulators: dict[str, Simulator], first: dict[str, str], second: dict[str, str]
) -> None:
    with staged(simulators, {"a": "stall=head; for_s=0.4"}, SHARED) as stage, ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda terms: stage.ask(OPENAI, OPENAI.request(MODEL), terms), (first, second)))
        assert {answer.status for answer in answers} == {200}
        assert stage.calls() == {"a": 2}


@each_dialect
def test_fault_69_duplicate_streams_are_each_asked_for(simulators: dict[str, Simulator], dialect: Dialect) -> None:
    with staged(simulators, {"a": "rate=300"}, SHARED) as stage, ThreadPoolExecutor(3) as pool:
        request = dialect.request(MODEL, stream=True)
        answers = list(pool.map(lambda _: stage.ask(dialect, request), range(3)))
        assert all(dialect.ended(answer.body) for answer in answers)
        assert stage.calls() == {"a": 3}


# ── its first answer is late ──────────────────────────────────────────────────────────────────────

HEDGED = merged(NO_RETRY, {"hedge": {"budget": 1.0, "after": 0.15}})


def hedged(simulators: dict[str, Simulator], faults: dict[str, Any], dialect: Dialect, stream: bool) -> Any:
    with staged(simulators, faults, HEDGED, stream=stream) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request(MODEL, stream=stream))
        assert 0.15 <= time.monotonic() - begun < 4
        assert answer.status == 200, answer
        if stream:
            assert dialect.ended(answer.body)
        record = stage.record(answer)
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 1}
        assert set(stage.breakers().values()) == {"closed"}
        assert [attempt.is_hedge for attempt in record.attempts] == [False, True]
        assert codes_of(answer) == ["possibly_billed"]
        return answer.header("x-spine-provider"), told(record)


@both
@each_dialect
def test_fault_08_a_hedge_wins(simulators: dict[str, Simulator], dialect: Dialect, stream: bool) -> None:
    assert hedged(simulators, {"a": "stall=head", "b": ()}, dialect, stream) == ("b", "a:left b")
    assert simulators["a"].received[-1].outcome == "gone"


@both
@each_dialect
def test_fault_08_a_hedge_loses(simulators: dict[str, Simulator], dialect: Dialect, stream: bool) -> None:
    late = {"a": "stall=head; for_s=0.4", "b": "stall=head"}
    assert hedged(simulators, late, dialect, stream) == ("a", "a b:left")
    assert simulators["b"].received[-1].outcome == "gone"


@both
@each_dialect
def test_fault_08_a_hedge_that_fails_is_not_asked_again(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    faults = {"a": "stall=head; for_s=0.4; status=503", "b": "status=503", "c": ()}
    with staged(simulators, faults, HEDGED, stream=stream) as stage:
        answer = stage.ask(dialect, dialect.request(MODEL, stream=stream))
        assert (answer.status, answer.header("x-spine-provider")) == (200, "c")
        assert told(stage.record(answer)) == "a:server_error b:server_error c"
        stage.at_rest()
        assert stage.calls() == {"a": 1, "b": 1, "c": 1}


@both
def test_fault_08_hedges_are_kept_to_their_budget(simulators: dict[str, Simulator], stream: bool) -> None:
    settings = merged(NO_RETRY, {"hedge": {"budget": 0.05, "after": 0.02}})
    faults = {"a": "stall=head; for_s=0.1", "b": "stall=head; for_s=0.01"}
    with staged(simulators, faults, settings, stream=stream) as stage, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: stage.ask(OPENAI, OPENAI.request(MODEL, stream=stream)), range(40)))
        assert {answer.status for answer in answers} == {200}
        stage.at_rest()
        assert stage.calls()["a"] == 40
        assert 1 <= stage.calls()["b"] <= 40 * 0.05 + 1

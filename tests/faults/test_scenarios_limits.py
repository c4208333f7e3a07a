"""FAULTS 70: limits of ours, as callers meet them; and that whatever goes wrong, what was held is given back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from callers import OPENAI, Caller, Dialect, refused
from stage import IMPATIENT, MODEL, NO_RETRY, Stage, both, each_dialect, merged, staged, told

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator

ONE, TWO = {"authorization": "Bearer one"}, {"authorization": "Bearer two"}
KEYS: dict[str, Any] = {"server": {"api_keys": ["one", "two"]}}


@both
@each_dialect
def test_fault_70_a_callers_limit_is_his_alone_and_reaches_no_provider(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    with staged(simulators, {"a": (), "b": ()}, merged(KEYS, {"limits": {"requests_per_min": 3}})) as stage:
        for _ in range(3):
            assert stage.ask(dialect, request, ONE).status == 200
        answer = stage.ask(dialect, request, ONE)
        error = refused(dialect, answer, 429)
        assert "requests" in error["message"]
        assert 1 <= int(answer.header("retry-after") or 0) <= 60
        record = stage.record(answer)
        assert (told(record), [passed.choice.provider for passed in record.passed_over]) == ("", ["a"])
        assert stage.ask(dialect, request, TWO).status == 200
        stage.at_rest()
        assert stage.calls() == {"a": 4, "b": 0}
        assert set(stage.breakers().values()) == {"closed"}


@both
@each_dialect
def test_fault_70_a_providers_limit_that_is_used_up_leads_to_the_next(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    with staged(simulators, {"a": (), "b": ()}, NO_RETRY, {"a": {"requests_per_min": 2}}) as stage:
        answers = [stage.ask(dialect, request) for _ in range(4)]
        assert [answer.header("x-spine-provider") for answer in answers] == ["a", "a", "b", "b"]
        record = stage.record(answers[-1])
        assert (told(record), [passed.choice.provider for passed in record.passed_over]) == ("b", ["a"])
        assert stage.calls() == {"a": 2, "b": 2}


@both
@each_dialect
def test_fault_70_who_may_wait_is_let_in_when_there_is_room(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    settings = merged(NO_RETRY, {"limits": {"max_wait": 5}})
    one = {"a": {"max_concurrency": 1}}
    with (
        staged(simulators, {"a": "stall=head; for_s=0.1"}, settings, one) as stage,
        ThreadPoolExecutor(4) as pool,
    ):
        begun = time.monotonic()
        request = dialect.request(MODEL, stream=stream)
        answers = list(pool.map(lambda _: stage.ask(dialect, request), range(4)))
        assert 0.4 <= time.monotonic() - begun < 5
        assert {answer.status for answer in answers} == {200}
        assert stage.calls() == {"a": 4}


WRONG = {
    "an_error": "status=503",
    "a_429": "status=429",
    "a_timeout": "stall=head",
    "a_reset": "reset=head",
    "a_break": "reset={mid}",
    "a_bad_reply": "body=empty",
}


@both
@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
def test_fault_70_whatever_goes_wrong_the_place_is_given_back(
    simulators: dict[str, Simulator], fault: str, stream: bool
) -> None:
    one = {"a": {"max_concurrency": 1, "tokens_per_min": 10_000_000, **IMPATIENT}}
    with staged(simulators, {"a": (fault, fault, fault)}, NO_RETRY, one, stream=stream) as stage:
        for _ in range(3):
            answer = stage.ask(OPENAI, OPENAI.request(MODEL, stream=stream))
            assert answer.status != 200 or (stream and not OPENAI.ended(answer.body))
            stage.at_rest()
        assert stage.ask(OPENAI, OPENAI.request(MODEL, stream=stream)).status == 200
        assert stage.calls() == {"a": 4}


def has_room(stage: Stage) -> bool:
    answer = stage.ask(OPENAI, OPENAI.request("sim-long-5"))
    assert answer.status in (200, 429)
    return answer.status == 200


@both
@pytest.mark.parametrize("waits", [False, True], ids=["under_way", "in_line"])
def test_fault_28_who_leaves_gives_back_what_he_held(
    simulators: dict[str, Simulator], stream: bool, waits: bool
) -> None:
    """`in_line`: he leaves while he waits for a place that another has."""
    settings = merged(NO_RETRY, {"limits": {"max_wait": 5 if waits else 0}})
    with staged(simulators, {"a": ("stall=head",)}, settings, {"a": {"max_concurrency": 1}}) as stage:
        with Caller(stage.gateway) as first:
            first.send("POST", OPENAI.path, OPENAI.request(MODEL, stream=stream))
            wait_until(lambda: bool(simulators["a"].received))
            if waits:
                with Caller(stage.gateway) as second:
                    second.send("POST", OPENAI.path, OPENAI.request(MODEL, stream=stream))
                    time.sleep(0.1)
            else:
                assert not has_room(stage)
        wait_until(lambda: has_room(stage))
        stage.at_rest()
        assert [request.outcome for request in simulators["a"].received] == ["gone", "answered"]


def test_fault_70_the_loser_of_a_hedge_gives_back_its_place(simulators: dict[str, Simulator]) -> None:
    settings = merged(NO_RETRY, {"hedge": {"budget": 1.0, "after": 0.05}})
    one = {"a": {"max_concurrency": 1}, "b": {"max_concurrency": 1}}
    with staged(simulators, {"a": ("stall=head", "ok"), "b": ()}, settings, one) as stage:
        answer = stage.ask(OPENAI, OPENAI.request(MODEL))
        assert told(stage.record(answer)) == "a:left b"
        stage.at_rest()
        answer = stage.ask(OPENAI, OPENAI.request(MODEL))
        assert told(stage.record(answer)).split()[0] in ("a", "a:left")
        assert len(simulators["a"].received) == 2

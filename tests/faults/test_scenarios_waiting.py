"""FAULTS 65 and 66: who waits for a target, and who is not sent to one that is left alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from callers import OPENAI, Dialect
from stage import MODEL, NO_RETRY, both, direct, each_dialect, merged, staged, told

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator


def test_fault_65_those_who_waited_out_a_retry_after_do_not_come_all_at_once(simulators: dict[str, Simulator]) -> None:
    refused = "status=429; retry_after_ms=500"
    settings = {"retry": {"max_retries": 3, "max_delay": 5}}
    with staged(simulators, {"a": refused}, settings) as stage, ThreadPoolExecutor(6) as pool:
        upstream, limiter = simulators["a"], stage.manager.limiter

        def ask() -> int:
            return stage.ask(OPENAI, OPENAI.request(MODEL)).status

        answers = [pool.submit(ask)]
        wait_until(lambda: len(upstream.received) == 1)
        answers += [pool.submit(ask) for _ in range(5)]
        wait_until(lambda: limiter.waiting == 5)
        wait_until(lambda: len(upstream.received) > 1)
        wait_until(lambda: all(each.outcome != "open" for each in upstream.received))
        assert len(upstream.received) <= 3, "one heard that it is still too much, and the others wait again"
        direct(upstream, ())
        assert [answer.result() for answer in answers] == [200] * 6
        assert limiter.waiting == 0


@both
@each_dialect
def test_fault_66_no_hedge_is_spent_on_a_target_that_is_left_alone(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    settings = merged(NO_RETRY, {"hedge": {"budget": 1.0, "after": 0.05}, "breaker": {"min_calls": 1, "open_for": 0.3}})
    faults = {"a": "stall=head; for_s=0.15", "b": ("status=500",)}
    request = dialect.request(MODEL, stream=stream)
    with staged(simulators, faults, settings, stream=stream) as stage:
        alone = stage.ask(dialect, dialect.request(MODEL, stream=stream, provider="b"))
        assert (alone.status, stage.breakers()["b"]) == (500, "open")
        hedges = stage.manager.traffic.hedges
        assert hedges is not None
        balance = hedges.balance
        answer = stage.ask(dialect, request)
        record = stage.record(answer)
        assert (answer.status, told(record)) == (200, "a")
        assert [passed.choice.provider for passed in record.passed_over] == ["b"]
        assert hedges.balance == balance + 1.0, "what the call paid in is still there"
        wait_until(lambda: stage.breakers()["b"] == "half_open")
        assert told(stage.record(stage.ask(dialect, request))) == "a:left b"


@both
def test_fault_70_a_target_without_room_is_passed_over_before_it_is_asked(
    simulators: dict[str, Simulator], stream: bool
) -> None:
    request = OPENAI.request(MODEL, stream=stream)
    faults = {"a": "stall=head; for_s=0.3", "b": ()}
    limits = {"a": {"max_concurrency": 1}}
    with staged(simulators, faults, {}, limits, stream=stream) as stage, ThreadPoolExecutor(1) as pool:
        first = pool.submit(stage.ask, OPENAI, request)
        wait_until(lambda: len(simulators["a"].received) == 1)
        answer = stage.ask(OPENAI, request)
        record = stage.record(answer)
        assert (answer.status, told(record)) == (200, "b")
        assert [passed.choice.provider for passed in record.passed_over] == ["a"]
        assert answer.header("x-spine-notices") is None
        assert told(stage.record(first.result())) == "a"
        assert stage.calls() == {"a": 1, "b": 1}

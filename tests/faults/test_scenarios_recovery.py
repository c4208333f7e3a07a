"""Issue's scenarios of more than one call: a key that is out, a breaker's life, an outage and the way back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from callers import OPENAI, Dialect, failed_upstream
from stage import MODEL, NO_RETRY, NOBODY, Stage, both, direct, each_dialect, merged, staged, told

from genai_spine.testing.fixtures import wait_until
from genai_spine.testing.simulator import Simulator

GOOD, BAD = "sk-good-0123456789abcdef", "sk-bad-0123456789abcdef"
QUICK = {"breaker": {"min_calls": 4, "failure_rate": 0.5, "open_for": 0.3}}


def breaker(stage: Stage, provider: str) -> str:
    return stage.breakers()[provider]


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


@both
@each_dialect
def test_fault_67_401_on_one_of_two_keys(simulators: dict[str, Simulator], dialect: Dialect, stream: bool) -> None:
    simulators["a"].key = GOOD
    keys = {"a": {"api_key": BAD, "api_keys": [GOOD]}}
    with staged(simulators, {"a": (), "b": ()}, NO_RETRY, keys) as stage:
        for tried in ("a:authentication a", "a", "a"):
            answer = stage.ask(dialect, dialect.request(MODEL, stream=stream))
            assert (answer.status, answer.header("x-spine-provider")) == (200, "a")
            assert told(stage.record(answer)) == tried
            assert answer.header("x-spine-notices") is None
        stage.at_rest()
        assert stage.calls() == {"a": 4, "b": 0}
        shown = [request.header("authorization") for request in simulators["a"].received]
        assert shown == [f"Bearer {key}" for key in (BAD, GOOD, GOOD, GOOD)]
        assert breaker(stage, "a") == "closed"


@both
@each_dialect
def test_fault_67_401_on_both_keys(simulators: dict[str, Simulator], dialect: Dialect, stream: bool) -> None:
    simulators["a"].key = "sk-another"
    keys = {"a": {"api_key": BAD, "api_keys": [GOOD]}}
    with staged(simulators, {"a": (), "b": ()}, NO_RETRY, keys) as stage:
        answer = stage.ask(dialect, dialect.request(MODEL, stream=stream))
        assert (answer.status, answer.header("x-spine-provider")) == (200, "b")
        assert told(stage.record(answer)) == "a:authentication a:authentication b"
        for secret in ("sk-good", "sk-bad"):
            assert secret not in str(answer.headers) + answer.body.decode()


@each_dialect
def test_fault_65_a_429_rests_one_key_and_the_other_is_used_at_once(
    simulators: dict[str, Simulator], dialect: Dialect
) -> None:
    keys = {"a": {"api_key": BAD, "api_keys": [GOOD]}}
    with staged(simulators, {"a": ("status=429; retry_after=20",)}, {}, keys) as stage:
        begun = time.monotonic()
        answer = stage.ask(dialect, dialect.request(MODEL))
        assert time.monotonic() - begun < 4
        assert (answer.status, told(stage.record(answer))) == (200, "a:rate_limit a")
        assert [request.header("authorization") for request in simulators["a"].received] == [
            f"Bearer {BAD}",
            f"Bearer {GOOD}",
        ]


# ── the breaker ───────────────────────────────────────────────────────────────────────────────────


@both
@each_dialect
def test_fault_66_the_breaker_opens_half_opens_and_closes(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    with staged(simulators, {"a": "status=500", "b": ()}, merged(NO_RETRY, QUICK)) as stage:
        for _ in range(4):
            answer = stage.ask(dialect, request)
            assert told(stage.record(answer)) == "a:server_error b"
        opened = time.monotonic()
        assert breaker(stage, "a") == "open"
        answer = stage.ask(dialect, request)
        record = stage.record(answer)
        if time.monotonic() - opened < 0.25:  # else this machine was too slow to see it open
            assert told(record) == "b"
            [passed] = record.passed_over
            assert (passed.choice.provider, passed.reason) == ("a", "left alone after too many failures")
            assert 0 < (passed.retry_after_s or 0) <= 0.3
        # Half-open, and it fails again: one probe, and it is left alone twice as long.
        wait_until(lambda: breaker(stage, "a") == "half_open")
        before = len(simulators["a"].received)
        assert told(stage.record(stage.ask(dialect, request))) == "a:server_error b"
        assert breaker(stage, "a") == "open"
        assert len(simulators["a"].received) == before + 1
        # It is well again: the next probe closes.
        direct(simulators["a"], ())
        wait_until(lambda: breaker(stage, "a") == "half_open")
        for _ in range(2):
            assert told(stage.record(stage.ask(dialect, request))) == "a"
            assert breaker(stage, "a") == "closed"
        stage.at_rest()


@both
def test_fault_66_half_open_lets_one_through(simulators: dict[str, Simulator], stream: bool) -> None:
    request = OPENAI.request(MODEL, stream=stream)
    settings = merged(merged(NO_RETRY, QUICK), {"breaker": {"open_for": 0.6}})
    with staged(simulators, {"a": "status=500", "b": ()}, settings) as stage:
        for _ in range(4):
            stage.ask(OPENAI, request)
        wait_until(lambda: breaker(stage, "a") == "half_open")
        direct(simulators["a"], ("stall=head; for_s=0.5",))
        simulators["a"].received.clear()
        with ThreadPoolExecutor(5) as pool:
            probe = pool.submit(stage.ask, OPENAI, request)
            wait_until(lambda: len(simulators["a"].received) == 1)
            others = [answer.result() for answer in [pool.submit(stage.ask, OPENAI, request) for _ in range(4)]]
            assert {told(stage.record(answer)) for answer in others} == {"b"}
            assert told(stage.record(probe.result())) == "a"
        assert len(simulators["a"].received) == 1
        assert breaker(stage, "a") == "closed"


@both
@each_dialect
def test_fault_66_the_last_one_left_is_asked_or_refused_as_settings_say(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    settings = merged(NO_RETRY, {"breaker": {"min_calls": 4, "open_for": 20, "last": "refuse"}})
    with staged(simulators, {"a": "status=500"}, settings) as stage:
        for _ in range(4):
            failed_upstream(dialect, stage.ask(dialect, request), 500)
        answer = stage.ask(dialect, request)
        error = failed_upstream(dialect, answer, 503)
        assert "left alone" in error["message"]
        assert 1 <= int(answer.header("retry-after") or 0) <= 20
        assert told(stage.record(answer)) == ""
        assert stage.calls() == {"a": 4}


# ── an outage ─────────────────────────────────────────────────────────────────────────────────────


@both
def test_fault_66_recovery_without_a_retry_storm(simulators: dict[str, Simulator], stream: bool) -> None:
    """60 callers in an outage of the one provider: a budget of a tenth, and the ten that a quiet start has."""
    request = OPENAI.request(MODEL, stream=stream)
    settings = {
        "retry": {"max_retries": 3, "initial_delay": "5ms", "max_delay": "20ms", "budget": 0.1},
        "breaker": {"min_calls": 1000},
    }
    with staged(simulators, {"a": "status=503"}, settings) as stage, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: stage.ask(OPENAI, request), range(60)))
        assert {answer.status for answer in answers} == {503}
        # All retries: the reserve of 10, a tenth of 60, and one that is free every ten seconds.
        during = len(simulators["a"].received)
        assert 60 + 10 <= during <= 60 + 10 + 6 + 3
        direct(simulators["a"], ())
        simulators["a"].received.clear()
        answers = list(pool.map(lambda _: stage.ask(OPENAI, request), range(60)))
        assert {answer.status for answer in answers} == {200}
        assert {told(stage.record(answer)) for answer in answers} == {"a"}
        assert len(simulators["a"].received) == 60, "after recovery each call is one request"
        stage.at_rest()


@both
def test_fault_66_in_an_outage_the_breaker_leaves_a_handful_of_calls(
    simulators: dict[str, Simulator], stream: bool
) -> None:
    request = OPENAI.request(MODEL, stream=stream)
    settings = merged(NO_RETRY, {"breaker": {"min_calls": 5, "open_for": 30}})
    with staged(simulators, {"a": "status=503", "b": ()}, settings) as stage, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: stage.ask(OPENAI, request), range(60)))
        assert {answer.status for answer in answers} == {200}
        # Those that were under way when it opened, and none after.
        assert 5 <= len(simulators["a"].received) <= 5 + 3
        assert breaker(stage, "a") == "open"


@both
@each_dialect
def test_fault_02_and_68_a_name_that_is_not_found_is_looked_up_again(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    nowhere = {"a": {"base_url": "http://no-such-host.invalid/v1"}}
    with staged(simulators, {"a": NOBODY, "b": ()}, NO_RETRY, nowhere) as stage:
        for _ in range(2):
            answer = stage.ask(dialect, request)
            assert (answer.status, told(stage.record(answer))) == (200, "a:network_error b")
            assert answer.header("x-spine-notices") is None, "nothing was sent, so nothing is billed"


@both
@each_dialect
def test_fault_65_a_retry_after_is_kept_to_by_the_calls_that_follow(
    simulators: dict[str, Simulator], dialect: Dialect, stream: bool
) -> None:
    request = dialect.request(MODEL, stream=stream)
    with staged(simulators, {"a": "status=429; retry_after=20", "b": ()}) as stage:
        assert told(stage.record(stage.ask(dialect, request))) == "a:rate_limit b"
        for _ in range(2):
            record = stage.record(stage.ask(dialect, request))
            assert told(record) == "b"
            [passed] = record.passed_over
            assert passed.choice.provider == "a"
            assert 0 < (passed.retry_after_s or 0) <= 20
        alone = stage.ask(dialect, dialect.request(MODEL, stream=stream, provider="a"))
        failed_upstream(dialect, alone, 429)
        assert 1 <= int(alone.header("retry-after") or 0) <= 20
        assert stage.calls() == {"a": 1, "b": 3}
        assert breaker(stage, "a") == "closed"

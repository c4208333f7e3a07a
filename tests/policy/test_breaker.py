"""When a target is left alone, for how long, and who asks it first again. The clock is a number."""

from __future__ import annotations

import pytest

from genai_spine import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    BadRequest,
    ConfigError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    PoolExhausted,
    ProviderTimeout,
    QuotaExceeded,
    RateLimitError,
    ServerError,
    SpineError,
    StreamBroken,
)
from genai_spine.model.errors import LimitReached, TargetClosed
from genai_spine.policy.breaker import WEIGHTS, Breaker, weight_of
from genai_spine.settings import BreakerSettings, Duration

SETTINGS = BreakerSettings(failure_rate=0.5, min_calls=4, window=Duration(10), open_for=Duration(20))
DOWN = ServerError("down")


def opened(now_s: float = 100.0) -> Breaker:
    """A breaker that opened at this moment."""
    breaker = Breaker(SETTINGS)
    fail(breaker, now_s, SETTINGS.min_calls)
    assert breaker.state(now_s) == "open"
    return breaker


def fail(breaker: Breaker, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.record(now_s, DOWN)


# ---------------------------------------------------------------- closed


def test_a_new_breaker_lets_all_through() -> None:
    breaker = Breaker(SETTINGS)
    assert (breaker.state(0), breaker.would_admit(0), breaker.admit(0), breaker.reopens_in_s(0)) == (
        "closed", True, True, None,
    )  # fmt: skip


def test_fewer_calls_than_the_least_say_nothing() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 0, 3)
    assert breaker.state(0) == "closed"
    fail(breaker, 0)
    assert breaker.state(0) == "open"


def test_it_opens_at_the_rate_and_not_below_it() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        breaker.record(0)
    fail(breaker, 0, 3)
    assert breaker.state(0) == "closed", "3 of 7"
    fail(breaker, 0)
    assert breaker.state(0) == "open", "4 of 8"


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 0, 3)
    fail(breaker, 10)
    assert breaker.state(10) == "closed"
    fail(breaker, 10, 3)
    assert breaker.state(10) == "open"


def test_the_window_rolls_a_tenth_at_a_time() -> None:
    breaker = Breaker(SETTINGS)
    for second in range(3):
        fail(breaker, second)
    fail(breaker, 10.5)
    assert breaker.state(10.5) == "closed", "the failure of the first second is forgotten, two are not"
    fail(breaker, 10.5)
    assert breaker.state(10.5) == "open"


def test_a_window_of_nothing_does_not_divide_by_it() -> None:
    breaker = Breaker(BreakerSettings(min_calls=1, window=Duration(0), open_for=Duration(0)))
    fail(breaker, 5)
    assert breaker.admit(5.0), "and an open time of nothing is over at once"


# ---------------------------------------------------------------- what counts


@pytest.mark.parametrize(
    ("error", "weight"),
    [
        (BadRequest("x"), None),
        (ModelNotFound("x"), None),
        (ContextLengthExceeded("x"), None),
        (ContentFiltered("x"), None),
        (InvalidRequest("x"), None),
        (LimitReached("x"), None),
        (TargetClosed("x"), None),
        (PoolExhausted("x"), None),
        (ConfigError("x"), None),
        (RateLimitError("x"), 0.1),
        (AuthenticationError("x"), 1.0),
        (PermissionDenied("x"), 1.0),
        (QuotaExceeded("x"), 1.0),
        (ServerError("x"), 1.0),
        (Overloaded("x"), 0.5),
        (Overloaded("x", status_code=503), 0.5),
        (ServerError("x", status_code=503), 0.5),
        (ServerError("x", status_code=502), 1.0),
        (BadReply("x"), 1.0),
        (StreamBroken("x"), 1.0),
        (APIConnectionError("x", sent=False), 1.0),
        (ProviderTimeout("x"), 1.0),
        (SpineError("x"), 1.0),
    ],
)
def test_every_kind_of_error_has_its_weight(error: SpineError, weight: float | None) -> None:
    assert weight_of(error) == weight


def test_every_weight_has_its_reason_and_the_last_row_takes_what_is_left() -> None:
    assert all(row.why for row in WEIGHTS)
    last = WEIGHTS[-1]
    assert (last.fault, last.type, last.code, last.status_codes) == (None, None, None, ())


def test_a_weight_is_of_the_attributes_not_of_the_class() -> None:
    error = ServerError("the caller's own deadline was over")
    error.fault = "caller"
    assert weight_of(error) is None


def test_callers_faults_neither_open_it_nor_hide_that_the_rest_fails() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(100):
        breaker.record(0, BadRequest("x"))
    assert breaker.state(0) == "closed"
    fail(breaker, 0, 4)
    assert breaker.state(0) == "open"


def test_too_many_requests_alone_do_not_open_it() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(100):
        breaker.record(0, RateLimitError("x"))
    assert breaker.state(0) == "closed"


def test_a_service_that_is_full_but_answers_some_is_not_left_alone() -> None:
    breaker = Breaker(SETTINGS)
    breaker.record(0)
    for _ in range(30):
        breaker.record(0, Overloaded("x"))
    assert breaker.state(0) == "closed", "what it still answers would fall on the others"


def test_a_service_that_only_says_that_it_is_full_is_left_alone() -> None:
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        breaker.record(0, Overloaded("x"))
    assert breaker.state(0) == "open"


# ---------------------------------------------------------------- in a row


def busy() -> Breaker:
    breaker = Breaker(SETTINGS)
    for _ in range(100):
        breaker.record(0)
    return breaker


def test_a_hundred_good_answers_do_not_speak_for_one_that_has_died() -> None:
    breaker = busy()
    fail(breaker, 2, 10)
    assert breaker.state(2) == "closed", "a moment is no outage"
    fail(breaker, 3)
    assert breaker.state(3) == "open", "nothing but failures for a tenth of the window"


def test_an_answer_between_ends_the_row() -> None:
    breaker = busy()
    fail(breaker, 2, 10)
    breaker.record(2.5)
    fail(breaker, 3, 10)
    assert breaker.state(3) == "closed"


def test_refusals_for_too_much_are_no_row() -> None:
    breaker = busy()
    for second in (2, 3, 4):
        for error in (Overloaded("x"), RateLimitError("x")):
            for _ in range(5):
                breaker.record(second, error)
    assert breaker.state(4) == "closed"


def test_a_row_that_is_older_than_the_window_begins_anew() -> None:
    breaker = Breaker(SETTINGS)
    for now_s in (0, 11, 22, 33, 44):
        fail(breaker, now_s)
    assert breaker.state(44) == "closed"


# ---------------------------------------------------------------- open and half-open


def test_an_open_one_lets_nobody_through_until_its_time_is_over() -> None:
    breaker = opened(100)
    assert not breaker.admit(100)
    assert not breaker.admit(119.9)
    assert breaker.reopens_in_s(105) == 15
    assert breaker.state(120) == "half_open"
    assert breaker.reopens_in_s(120) == 0


def test_half_open_lets_exactly_one_through() -> None:
    breaker = opened(100)
    assert breaker.would_admit(120) and breaker.would_admit(120), "to ask takes nothing"
    assert breaker.admit(120)
    assert not breaker.would_admit(121)
    assert not breaker.admit(121)


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.record(122, None, begun_s=120)
    assert breaker.state(122) == "closed"
    fail(breaker, 122, 3)
    assert breaker.state(122) == "closed", "what was before is forgotten"


def test_a_probe_that_fails_opens_it_for_twice_as_long() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.record(121, DOWN, begun_s=120)
    assert breaker.state(121) == "open"
    assert breaker.reopens_in_s(121) == 40


def test_the_open_time_doubles_once_and_no_more() -> None:
    breaker, now_s, waits = opened(0), 0.0, []
    for _ in range(6):
        wait_s = breaker.reopens_in_s(now_s)
        assert wait_s is not None
        waits.append(wait_s)
        now_s += wait_s
        assert breaker.admit(now_s)
        breaker.record(now_s, DOWN)
    assert waits == [20, 40, 40, 40, 40, 40]


def test_one_that_opens_again_soon_is_left_alone_for_longer() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.record(120)
    fail(breaker, 125, 4)
    assert breaker.reopens_in_s(125) == 40


def test_one_that_was_well_for_a_window_begins_anew() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.record(120)
    fail(breaker, 131, 4)
    assert breaker.reopens_in_s(131) == 20


def test_a_probe_without_a_verdict_gives_its_place_back() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.release(begun_s=120)
    assert breaker.admit(121)
    breaker.record(122, BadRequest("x"), begun_s=121)
    assert breaker.state(122) == "half_open"
    assert breaker.admit(123), "a caller's fault is no verdict"


def test_a_probe_that_meets_a_limit_shows_that_the_service_answers() -> None:
    breaker = opened(100)
    breaker.admit(120)
    breaker.record(121, RateLimitError("x"), begun_s=120)
    assert breaker.state(121) == "closed"


def test_the_place_of_a_probe_that_never_comes_back_is_not_lost() -> None:
    breaker = opened(100)
    assert breaker.admit(120)
    assert not breaker.admit(139)
    assert breaker.admit(140)


def test_calls_from_before_it_opened_say_nothing() -> None:
    breaker = opened(100)
    breaker.record(110, None, begun_s=95)
    assert breaker.state(110) == "open"
    breaker.admit(120)
    breaker.record(121, DOWN, begun_s=95)
    breaker.release(begun_s=95)
    assert breaker.state(121) == "half_open"
    assert not breaker.admit(121), "the probe is still under way"


def test_one_that_was_let_through_all_the_same_closes_it_when_answered() -> None:
    breaker = opened(100)
    breaker.record(106, DOWN, begun_s=105)
    assert breaker.reopens_in_s(106) == 14, "its failure is no news"
    breaker.record(108, None, begun_s=107)
    assert breaker.state(108) == "closed"


def test_what_another_process_found_opens_it_for_as_long_as_is_left() -> None:
    breaker = Breaker(SETTINGS)
    breaker.leave_alone(100, 12)
    assert breaker.reopens_in_s(100) == 12
    breaker.leave_alone(105, 100)
    assert breaker.reopens_in_s(105) == 7, "once is enough"
    assert breaker.admit(112)
    breaker.record(113)
    breaker.leave_alone(113, 0)
    assert breaker.state(113) == "closed"
    breaker.leave_alone(113, 1e9)
    assert breaker.reopens_in_s(113) == 40, "nobody closes it for ever"


# ---------------------------------------------------------------- clocks that jump


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, -25.0, 3600.0, 1e9])
def test_a_clock_that_jumps_while_it_is_open_gives_a_probe(jump_s: float) -> None:
    breaker = opened(100)
    assert breaker.admit(100 + jump_s)
    breaker.record(100 + jump_s)
    assert breaker.state(100 + jump_s) == "closed"


def test_a_small_step_back_leaves_it_open_for_a_little_longer() -> None:
    breaker = opened(100)
    assert breaker.state(90) == "open"
    assert breaker.state(120) == "half_open"


@pytest.mark.parametrize("jump_s", [-1e9, -3600.0, 3600.0, 1e9])
def test_a_clock_that_jumps_while_it_is_closed_empties_the_window(jump_s: float) -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 100, 3)
    fail(breaker, 100 + jump_s, 3)
    assert breaker.state(100 + jump_s) == "closed"
    fail(breaker, 100 + jump_s)
    assert breaker.state(100 + jump_s) == "open"


def test_a_moment_that_is_a_little_late_counts_as_now() -> None:
    breaker = Breaker(SETTINGS)
    fail(breaker, 100.5, 2)
    fail(breaker, 99.5, 1)
    fail(breaker, 109.5, 1)
    assert breaker.state(109.5) == "open"

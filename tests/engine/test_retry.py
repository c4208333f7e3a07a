"""When the same provider is asked again: pure, with chance as an argument."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genai_spine import (
    APIConnectionError,
    AuthenticationError,
    BadReply,
    BadRequest,
    ConfigError,
    ContentFiltered,
    ErrorType,
    InvalidRequest,
    ManagerConfig,
    ModelNotFound,
    Overloaded,
    PoolExhausted,
    ProviderError,
    ProviderManager,
    ProviderTimeout,
    QuotaExceeded,
    RateLimitError,
    RetryConfig,
    ServerError,
    StreamBroken,
)
from genai_spine.policy.retry import delay_s
from genai_spine.settings import Duration

RETRY = RetryConfig(max_retries=3, initial_delay=Duration(1), max_delay=Duration(10), backoff_factor=2.0)


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (RateLimitError, True),
        (ServerError, True),
        (Overloaded, True),
        (BadReply, True),
        (StreamBroken, True),
        (APIConnectionError, True),
        (ProviderTimeout, True),
        (AuthenticationError, False),
        (BadRequest, False),
        (ContentFiltered, False),
        (ModelNotFound, False),
        (QuotaExceeded, False),
        (PoolExhausted, False),
    ],
)
def test_only_what_may_pass_is_tried_again(kind: type[ProviderError], again: bool) -> None:
    assert (delay_s(kind("x"), 0, RETRY, 1.0) is not None) is again


def test_a_request_that_we_refused_ourselves_is_not_tried_again() -> None:
    assert delay_s(InvalidRequest("x"), 0, RETRY, 1.0) is None


def test_the_wait_doubles_up_to_the_longest() -> None:
    retry = RetryConfig(max_retries=9, initial_delay=Duration(1), max_delay=Duration(5), backoff_factor=2.0)
    waits = [delay_s(ServerError("x"), attempt, retry, 1.0) for attempt in range(5)]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_there_is_an_end() -> None:
    assert delay_s(ServerError("x"), 2, RETRY, 0.5) is not None
    assert delay_s(ServerError("x"), 3, RETRY, 0.5) is None
    assert delay_s(ServerError("x"), 0, RetryConfig(max_retries=0), 0.5) is None


def test_the_wait_is_drawn_from_nothing_up_to_the_backoff() -> None:
    assert [delay_s(ServerError("x"), 1, RETRY, chance) for chance in (0.0, 0.25, 0.5)] == [0.0, 0.5, 1.0]


def test_a_backoff_beyond_all_numbers_is_the_longest_wait() -> None:
    retry = RetryConfig(max_retries=5000, max_delay=Duration(5), backoff_factor=10.0)
    assert delay_s(ServerError("x"), 4999, retry, 0.5) == 2.5


def test_a_provider_says_how_long() -> None:
    asked = RateLimitError("x", retry_after_s=7.0)
    assert delay_s(asked, 0, RETRY, 0.0) == 7.0
    assert delay_s(asked, 0, RETRY, 0.5) == 7.5, "those that were told the same do not all come back at once"
    assert delay_s(RateLimitError("x", retry_after_s=9.9), 0, RETRY, 0.5) == 10.0
    long = RateLimitError("x", retry_after_s=11.0)
    assert delay_s(long, 0, RETRY, 0.0) is None, "another provider is asked instead"


@pytest.mark.parametrize("asked", [-3.0, 0.0, -inf, nan])
def test_a_time_that_is_none_is_as_if_none_had_been_asked(asked: float) -> None:
    assert delay_s(RateLimitError("x", retry_after_s=asked), 0, RETRY, 0.5) == 0.5


@pytest.mark.parametrize("asked", [inf, 1e9, 10.001])
def test_a_time_beyond_the_longest_is_not_waited_for(asked: float) -> None:
    assert delay_s(RateLimitError("x", retry_after_s=asked), 0, RETRY, 0.5) is None


def test_an_answer_may_say_otherwise_than_its_class() -> None:
    assert delay_s(ServerError("x", retryable=False), 0, RETRY, 0.0) is None


def test_kinds_can_be_taken_out() -> None:
    retry = RetryConfig(retryable_errors=(ErrorType.TIMEOUT,))
    assert delay_s(ServerError("x"), 0, retry, 0.0) is None
    assert delay_s(ProviderTimeout("x"), 0, retry, 0.0) is not None


@given(st.integers(0, 20), st.floats(0, 1, exclude_max=True), st.none() | st.floats())
def test_the_wait_is_never_longer_than_allowed_nor_shorter_than_asked(
    attempt: int, chance: float, after: float | None
) -> None:
    wait = delay_s(RateLimitError("x", retry_after_s=after), attempt, RETRY, chance)
    assert wait is None or 0 <= wait <= 10
    assert wait is None or after is None or not after > wait


def test_the_first_specifications_configuration_is_a_wait_of_its_own() -> None:
    retry = ManagerConfig(enable_fallback=True, max_retries=2, retry_delay_ms=1000).retry
    assert (retry.max_retries, retry.initial_delay, retry.backoff_factor) == (2, 1.0, 1.0)
    assert [delay_s(ServerError("x"), attempt, retry, 1.0) for attempt in range(3)] == [1.0, 1.0, None]
    assert ManagerConfig().retry == retry, "these are the defaults"
    assert ManagerConfig(retry_delay_ms=60_000).retry.max_delay == 60


def test_it_changes_nothing_that_it_does_not_say() -> None:
    settings = RetryConfig(retryable_errors=(ErrorType.TIMEOUT,), max_delay=Duration(5), on_context_length="fallback")
    retry = ManagerConfig(max_retries=7, retry_delay_ms=10).over(settings)
    assert (retry.max_retries, retry.initial_delay) == (7, 0.01)
    assert (retry.retryable_errors, retry.max_delay) == ((ErrorType.TIMEOUT,), 5.0)
    assert retry.on_context_length == "fallback"
    manager = ProviderManager(retry=settings).with_config(ManagerConfig(max_retries=7))
    assert manager.settings.retry == manager.traffic.retry == ManagerConfig(max_retries=7).over(settings)


@pytest.mark.parametrize(
    "said", [{"max_retries": -1}, {"retry_delay_ms": -1}, {"max_retries": True}, {"max_retries": 1.5}]
)
def test_what_is_no_number_of_retries_or_no_wait_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"ManagerConfig.{next(iter(said))}: expected a whole number, 0 or more"):
        ManagerConfig(**said)

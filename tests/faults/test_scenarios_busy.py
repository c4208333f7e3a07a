"""Issue's scenarios of providers that have too much to do, are out of order, or refuse: 429, 5xx, 401, 400."""

from __future__ import annotations

import pytest
from callers import Dialect
from stage import Ends, Scenario, cases, each_dialect, name_of, play

from genai_spine.testing.simulator import Simulator

SCENARIOS = (
    Scenario(
        name="fault_65_429_then_success",
        upstreams={"a": ("status=429; retry_after_ms=80",)},
        ends=Ends(by="a", tried="a:rate_limit a", at_least_s=0.08),
    ),
    Scenario(
        name="fault_65_429_without_retry_after_is_tried_again_after_the_backoff",
        upstreams={"a": ("status=429", "status=429")},
        settings={"retry": {"max_retries": 2}},
        ends=Ends(by="a", tried="a:rate_limit a:rate_limit a"),
    ),
    Scenario(
        name="fault_65_429_with_a_retry_after_longer_than_the_deadline",
        upstreams={"a": "status=429; retry_after=30"},
        settings={"retry": {"max_retries": 2, "max_delay": 60}, "timeouts": {"total": 3}},
        ends=Ends(status=429, tried="a:rate_limit", retry_after="30", at_most_s=1.5),
    ),
    Scenario(
        name="fault_65_429_with_a_retry_after_longer_than_the_deadline_and_another_provider",
        upstreams={"a": "status=429; retry_after=30", "b": ()},
        settings={"retry": {"max_retries": 2, "max_delay": 60}},
        headers={"x-spine-timeout": "3"},
        ends=Ends(by="b", tried="a:rate_limit b", at_most_s=1.5),
    ),
    Scenario(
        name="fault_65_429_whose_retry_after_is_garbage_is_as_if_it_had_none",
        upstreams={
            "a": ("status=429; retry_after=soon", "status=429; retry_after=-5", "status=429; retry_after=1e999")
        },
        settings={"retry": {"max_retries": 3}},
        ends=Ends(by="a", tried="a:rate_limit a:rate_limit a:rate_limit a"),
    ),
    Scenario(
        name="fault_65_429_whose_retry_after_is_a_date",
        upstreams={"a": "status=429; retry_after=date:30", "b": ()},
        ends=Ends(by="b", tried="a:rate_limit b", at_most_s=1.5),
    ),
    Scenario(
        name="fault_65_429_with_a_retry_after_of_thirty_years_is_not_waited_for",
        upstreams={"a": "status=429; retry_after=1000000000", "b": ()},
        ends=Ends(by="b", tried="a:rate_limit b", at_most_s=1.5),
    ),
    Scenario(
        name="fault_68_429_everywhere",
        upstreams={
            "a": "status=429; retry_after=9",
            "b": "status=429; retry_after=7",
            "c": "status=429; retry_after=8",
        },
        ends=Ends(
            status=429,
            tried="a:rate_limit b:rate_limit c:rate_limit",
            says="no provider answered after 3 attempts",
            retry_after="7",
            at_most_s=1.5,
        ),
    ),
    Scenario(
        name="fault_66_a_burst_of_500_503_529",
        upstreams={"a": ("status=500", "status=503", "status=529")},
        settings={"retry": {"max_retries": 3}},
        ends=Ends(by="a", tried="a:server_error a:server_error a:server_error a"),
    ),
    Scenario(
        name="fault_66_a_burst_longer_than_the_retries",
        upstreams={"a": "status=529", "b": ("status=503",)},
        ends=Ends(by="b", tried="a:server_error a:server_error b:server_error b"),
    ),
    Scenario(
        name="fault_66_a_503_that_asks_for_time_gets_it",
        upstreams={"a": ("status=503; retry_after_ms=120",)},
        ends=Ends(by="a", tried="a:server_error a", at_least_s=0.12),
    ),
    Scenario(
        name="fault_67_the_request_itself_is_refused",
        upstreams={"a": "status=400", "b": ()},
        ends=Ends(status=400, tried="a:invalid_request", at_most_s=1.5),
    ),
    Scenario(
        name="fault_67_422_is_refused_too",
        upstreams={"a": "status=422", "b": ()},
        ends=Ends(status=422, tried="a:invalid_request", at_most_s=1.5),
    ),
    Scenario(
        name="fault_67_a_model_that_one_provider_lacks_is_asked_for_at_the_next",
        upstreams={"a": "status=404", "b": ()},
        ends=Ends(by="b", tried="a:invalid_request b"),
    ),
    Scenario(
        name="fault_67_a_provider_that_refuses_our_only_key",
        upstreams={"a": "status=401", "b": ()},
        ends=Ends(by="b", tried="a:authentication b"),
    ),
    Scenario(
        name="fault_67_context_overflow",
        upstreams={"a": "status=400; code=context_length_exceeded", "b": ()},
        ends=Ends(status=400, tried="a:invalid_request", at_most_s=1.5),
    ),
    Scenario(
        name="fault_67_context_overflow_to_a_larger_model",
        upstreams={"a": "status=400; code=context_length_exceeded", "b": (), "c": ()},
        model="a/gpt-4o-mini",
        text="You said: hello there",
        # Windows of the catalog: 128,000 tokens, 16,385, and a million.
        providers={
            "a": {"type": "openai", "model": "gpt-4o-mini"},
            "b": {"type": "openai", "model": "gpt-3.5-turbo"},
            "c": {"type": "openai", "model": "gpt-4.1"},
        },
        settings={"retry": {"on_context_length": "fallback"}},
        ends=Ends(by="c", tried="a:invalid_request c"),
    ),
    Scenario(
        name="fault_67_content_filter",
        upstreams={"a": "status=400; code=content_filter", "b": ()},
        ends=Ends(status=400, tried="a:invalid_request", at_most_s=1.5),
    ),
    Scenario(
        name="fault_67_content_filter_to_another_provider",
        upstreams={"a": "status=400; code=content_filter", "b": ()},
        settings={"retry": {"on_content_filter": "fallback"}},
        ends=Ends(by="b", tried="a:invalid_request b"),
    ),
    Scenario(
        name="fault_68_all_targets_down",
        upstreams={"a": "nobody listens", "b": "nobody listens", "c": "nobody listens"},
        ends=Ends(
            status=502,
            tried="a:network_error a:network_error b:network_error b:network_error c:network_error c:network_error",
            says="no provider answered after 6 attempts",
        ),
    ),
)


@each_dialect
@pytest.mark.parametrize(("scenario", "stream"), cases(SCENARIOS), ids=name_of)
def test_busy(simulators: dict[str, Simulator], scenario: Scenario, stream: bool, dialect: Dialect) -> None:
    play(simulators, scenario, dialect, stream=stream)

"""Issue's scenarios of connections and answers that break: refused, silent, reset, cut, malformed, empty."""

from __future__ import annotations

import pytest
from callers import Dialect
from stage import IMPATIENT, NO_RETRY, NOBODY, Ends, Scenario, cases, each_dialect, name_of, play

from genai_spine.testing.simulator import Simulator

BILLED = ("possibly_billed",)

SCENARIOS = (
    Scenario(
        name="fault_01_connect_refused",
        upstreams={"a": NOBODY, "b": ()},
        ends=Ends(by="b", tried="a:network_error a:network_error b"),
    ),
    Scenario(
        name="fault_07_a_silent_upstream",
        upstreams={"a": "stall=head", "b": ()},
        settings=NO_RETRY,
        providers={"a": IMPATIENT},
        ends=Ends(by="b", tried="a:timeout b", notices=BILLED, at_least_s=0.25),
    ),
    Scenario(
        name="fault_07_a_silent_upstream_is_not_asked_twice_where_there_is_another",
        upstreams={"a": "stall=head", "b": ()},
        settings={"retry": {"max_retries": 3}},
        providers={"a": IMPATIENT},
        ends=Ends(by="b", tried="a:timeout b", notices=BILLED, at_least_s=0.25),
    ),
    Scenario(
        name="fault_07_a_silent_upstream_alone",
        upstreams={"a": "stall=head"},
        settings=NO_RETRY,
        providers={"a": IMPATIENT},
        ends=Ends(status=504, tried="a:timeout", at_least_s=0.25),
    ),
    Scenario(
        name="fault_08_a_stall_before_the_first_token",
        upstreams={"a": "stall=first", "b": ()},
        settings=NO_RETRY,
        providers={"a": IMPATIENT},
        ends=Ends(by="b", tried="a:timeout b", notices=BILLED, at_least_s=0.25),
    ),
    Scenario(
        name="fault_07_a_stall_in_mid_stream",
        upstreams={"a": "stall={mid}", "b": ()},
        settings=NO_RETRY,
        providers={"a": IMPATIENT},
        ends=Ends(by="b", tried="a:timeout b", notices=BILLED, at_least_s=0.25),
        streamed=Ends(by="a", breaks=True, tried="a:timeout", at_least_s=0.25),
    ),
    Scenario(
        name="fault_04_a_reset_before_the_first_byte",
        upstreams={"a": ("reset=head",)},
        ends=Ends(by="a", tried="a:network_error a", notices=BILLED),
    ),
    Scenario(
        name="fault_04_a_reset_within_the_head",
        upstreams={"a": ("reset=mid-head",)},
        ends=Ends(by="a", tried="a:server_error a", notices=BILLED),
    ),
    Scenario(
        name="fault_04_a_reset_after_the_headers",
        upstreams={"a": "reset=first", "b": ()},
        ends=Ends(by="b", tried="a:network_error a:network_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_05_a_reset_in_mid_stream",
        upstreams={"a": "reset={mid}", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:network_error b", notices=BILLED),
        streamed=Ends(by="a", breaks=True, tried="a:network_error"),
    ),
    Scenario(
        name="fault_06_a_truncation_without_terminator",
        upstreams={"a": "end={mid}", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
        streamed=Ends(by="a", breaks=True, tried="a:server_error"),
    ),
    Scenario(
        name="fault_06_a_last_event_that_is_missing",
        upstreams={"a": "ending=missing; finish=missing", "b": ()},
        kinds=(True,),
        ends=Ends(by="a", breaks=True, tried="a:server_error"),
    ),
    Scenario(
        name="fault_06_a_body_shorter_than_it_says",
        upstreams={"a": "length=+5", "b": ()},
        settings=NO_RETRY,
        kinds=(False,),
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_15_an_error_event_inside_a_200_before_anything_is_shown",
        upstreams={"a": "error_at=0", "b": ()},
        settings=NO_RETRY,
        kinds=(True,),
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_15_an_error_event_inside_a_200",
        upstreams={"a": "error_at=6; rate=300", "b": ()},
        kinds=(True,),
        ends=Ends(by="a", breaks=True, says="simulated error", tried="a:server_error"),
    ),
    Scenario(
        name="fault_15_an_error_body_with_status_200",
        upstreams={"a": "body=error", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_21_a_malformed_first_event",
        upstreams={"a": "malformed=0", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_21_a_malformed_event",
        upstreams={"a": "malformed=6; rate=300", "b": ()},
        kinds=(True,),
        ends=Ends(by="a", breaks=True, tried="a:server_error"),
    ),
    Scenario(
        name="fault_14_html_502",
        upstreams={"a": "body=html", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b"),
    ),
    Scenario(
        name="fault_14_html_502_alone",
        upstreams={"a": "body=html"},
        ends=Ends(status=502, tried="a:server_error a:server_error"),
    ),
    Scenario(
        name="fault_16_an_empty_answer",
        upstreams={"a": "body=empty", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_16_a_stream_that_ends_at_once",
        upstreams={"a": "end=0", "b": ()},
        settings=NO_RETRY,
        ends=Ends(by="b", tried="a:server_error b", notices=BILLED),
    ),
    Scenario(
        name="fault_25_a_slow_drip",
        upstreams={"a": ("drip=400; every_ms=10",)},
        ends=Ends(by="a", tried="a", at_least_s=0.01),
    ),
)


@each_dialect
@pytest.mark.parametrize(("scenario", "stream"), cases(SCENARIOS), ids=name_of)
def test_broken(simulators: dict[str, Simulator], scenario: Scenario, stream: bool, dialect: Dialect) -> None:
    play(simulators, scenario, dialect, stream=stream)

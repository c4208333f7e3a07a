"""Which test provokes which fault, as a table for docs/faults.md: made of the names of the tests themselves.

A test's name has the fault's number, `test_fault_05_…`, or a scenario's, `fault_05_…`. Those that have not are named
below. tests/docs/test_faults.py holds that each exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"

FAULTS = {
    1: "Connection refused, or not made in time",
    2: "A name that is not found, a dead IPv6 address",
    3: "TLS: a certificate that is expired or of another host",
    4: "Reset before the first byte",
    5: "Reset in mid-stream",
    6: "A stream that ends without its ending",
    7: "Silence on an open connection",
    8: "No first token",
    9: "A wrong Content-Length, a bad chunk",
    10: "A kept connection that the peer has closed",
    11: "All connections are busy",
    12: "Redirects",
    13: "Packed bombs",
    14: "A proxy's HTML page",
    15: "An error with status 200",
    16: "Status 200 and no answer",
    17: "UTF-8 and line ends cut anywhere",
    18: "What the standard of event streams allows",
    19: "A huge event",
    20: "A line without end",
    21: "A malformed event",
    22: "Odd tool calls",
    23: "Odd usage",
    24: "Data after the end",
    25: "Very many tiny pieces, and very slow ones",
    26: "A reader who does not read",
    27: "The caller leaves before the first token",
    28: "The caller leaves in mid-stream",
    29: "Heads that dribble in",
    30: "Bodies that dribble in",
    31: "Floods of idle connections",
    32: "Large bodies",
    33: "Packed bodies of requests",
    34: "Large and many headers",
    35: "Requests that can be read in two ways",
    36: "What is no JSON",
    37: "A member given twice",
    38: "Big integers in tool arguments",
    39: "Unknown fields",
    40: "Wrong types",
    41: "Odd methods and paths",
    43: "Control characters",
    44: "Headers that must not go on",
    45: "Addresses in requests",
    46: "URLs of images",
    48: "Malformed Host",
    50: "Secrets anywhere",
    51: "A provider that echoes our key",
    53: "Guessing keys",
    54: "An answer from the cache that is another caller's",
    55: "A cache that is poisoned through what its key leaves out",
    56: "Escape sequences",
    59: "Pages of other origins",
    60: "Broken settings",
    65: "429, and Retry-After in every form",
    66: "Overload: bursts, the breaker, no storm of retries",
    67: "400, 401, 403, 404, 413, 422",
    68: "All that could answer have failed",
    69: "The same call twice at the same time",
    70: "Limits, in one process and over several",
    74: "Redis down, slow, flushed",
    75: "A clock that jumps",
    77: "Settings that are broken at a reload",
    78: "SIGTERM",
    79: "A worker that dies",
    80: "No files, no port, no home",
    81: "One request that keeps the event loop busy",
    82: "Memory, sockets and reservations after hours",
    83: "Loops: routes, fallbacks, gateways",
    85: "Probes of services that bill",
}
"""Numbers are kept, and gaps stay gaps: what is missing is the affair of other parts, or has no test yet."""

ELSEWHERE = {
    7: ["engine/test_stream_guards.py::test_a_stream_below_the_floor_is_broken_once_the_window_is_full"],
    15: ["faults/test_stream_keeping.py::test_an_error_after_an_empty_beginning_is_answered_elsewhere"],
    54: ["gateway/test_cached_answers.py::test_callers_get_answers_of_their_own_key_alone"],
    55: ["gateway/test_cached_answers.py::test_a_change_of_any_member_is_another_request"],
    65: ["engine/test_limiter.py::test_a_target_that_says_how_long_it_wants_to_be_left_alone_is"],
    66: [
        "engine/test_call.py::test_retries_end_with_their_budget",
        "policy/test_breaker.py::test_a_probe_that_fails_opens_it_for_twice_as_long",
    ],
    67: ["providers/test_key_pool.py::test_one_dead_key_of_two_is_seen_once_and_no_caller_hears_of_it"],
    68: ["engine/test_call.py::test_when_all_are_busy_the_caller_hears_when_the_first_is_free"],
    70: [
        "engine/test_redis_state.py::test_three_processes_get_together_exactly_what_the_limit_allows",
        "cli/test_shared_limits.py::test_three_gateways_keep_one_limit_and_none_fails_without_the_server",
    ],
    74: [
        "engine/test_redis_state.py::test_a_server_that_is_killed_under_load_harms_no_call_and_is_used_again",
        "engine/test_redis_state.py::test_while_the_server_is_frozen_limits_are_kept_here",
        "engine/test_redis_state.py::test_nothing_is_given_out_twice_after_a_flush_or_a_loss_of_scripts",
        "engine/test_shared_budgets.py::test_one_that_asks_no_more_tells_a_flushed_server_what_it_knows",
        "engine/test_shared_budgets.py::test_what_each_spent_alone_counts_where_the_server_comes_back_empty",
        "engine/test_shared_budgets.py::test_what_was_held_up_on_the_way_to_the_server_counts_once",
    ],
    75: [
        "policy/test_breaker.py::test_a_clock_that_jumps_while_it_is_open_gives_a_probe",
        "policy/test_rate.py::test_a_clock_that_jumps_back_holds_nobody_for_longer_than_the_limit_does",
        "engine/test_health.py::test_a_clock_that_leaps_ahead_brings_one_probe_and_not_those_that_were_missed",
        "providers/test_key_pool.py::test_a_clock_that_leaps_brings_every_key_back_and_waits_are_never_negative",
    ],
    79: [
        "gateway/test_server.py::test_a_worker_that_dies_is_replaced_and_the_others_serve_on",
        "gateway/test_server.py::test_workers_end_when_the_supervisor_is_killed",
    ],
    82: ["engine/test_call.py::test_nothing_is_in_flight_when_all_is_over"],
    83: ["gateway/test_routing_http.py::test_a_gateway_that_leads_back_to_itself_is_told_so"],
    85: ["engine/test_health.py::test_nothing_that_bills_is_ever_probed_unless_settings_say_so"],
}
"""Tests whose names do not say which fault they provoke."""

_NAMED = re.compile(r'(?:def (?=test_fault_)|name=")(\w*fault_\d\d_\w+)')


def named() -> Iterator[tuple[str, str]]:
    """File and name of every test, and every scenario, that is named for a fault."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for name in _NAMED.findall(file.read_text(encoding="utf-8")):
            yield file.relative_to(TESTS).as_posix(), name


def numbers_of(name: str) -> list[int]:
    """Of `fault_02_and_68_a_name…`: 2 and 68."""
    said = re.match(r"(?:test_)?fault_(\d\d(?:_and_\d\d)*)", name)
    return [int(number) for number in said[1].split("_and_")] if said else []


def named_for_each() -> dict[int, dict[str, list[str]]]:
    """By fault and file, the names."""
    found: dict[int, dict[str, list[str]]] = {}
    for file, name in named():
        for number in numbers_of(name):
            found.setdefault(number, {}).setdefault(file, []).append(name)
    for number, others in ELSEWHERE.items():
        for other in others:
            file, _, name = other.partition("::")
            found.setdefault(number, {}).setdefault(file, []).append(name)
    return found


def table() -> str:
    lines = []
    for number, tests in sorted(named_for_each().items()):
        lines += [f"### {number}. {FAULTS[number]}", ""]
        for file, names in sorted(tests.items()):
            said = "; ".join(_sentence(name) for name in dict.fromkeys(names))
            lines.append(f"- `{file}`: {said}")
        lines.append("")
    return "\n".join(lines).rstrip()


def _sentence(name: str) -> str:
    return re.sub(r"^(test_)?(fault_\d\d(_and_\d\d)*_)?", "", name).replace("_", " ")

"""Limits on our side: all or none, lines before doors, what targets tell. Time is virtual."""

from __future__ import annotations

import asyncio
import itertools
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from virtual_loop import VirtualLoop

from genai_spine.engine.limits.limiter import Grant, Limiter
from genai_spine.model.errors import LimitReached, Overloaded, QuotaExceeded, RateLimit, RateLimitError, ServerError
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import settings_of

MINI, LARGE = Choice(provider="acme", model="mini"), Choice(provider="acme", model="large")
OTHER = Choice(provider="other", model="x")


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def limiter_of(loop: VirtualLoop, text: str = "") -> Limiter:
    """A limiter of these lines of settings, which begin within `[providers.acme]`."""
    tree = tomllib.loads(f"[providers.acme]\ntype = 'openai_compatible'\nbase_url = 'http://127.0.0.1:9'\n{text}")
    return Limiter(settings_of(tree), clock_ns=loop.clock_ns)


async def admit(
    limiter: Limiter, choice: Choice = MINI, caller: str | None = None, tokens: int = 10, **more: Any
) -> Grant:
    return await limiter.admit(choice, caller, lambda: tokens, None, **more)


def refused(loop: VirtualLoop, limiter: Limiter, *args: Any, **more: Any) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        loop.run(admit(limiter, *args, **more))
    return caught.value


# ---------------------------------------------------------------- what concerns whom


def test_where_nothing_is_limited_nothing_concerns(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    assert not limiter.concerns(MINI, None)
    assert not limiter.concerns(MINI, "key")


def test_a_providers_limit_concerns_its_calls_and_no_others(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 5\n")
    assert limiter.concerns(MINI, None)
    assert not limiter.concerns(OTHER, "key")


def test_a_limit_of_callers_concerns_all_that_have_a_key(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nmax_concurrency = 1\n")
    assert limiter.concerns(OTHER, "key")
    assert not limiter.concerns(OTHER, None)


def test_tokens_are_estimated_only_where_they_are_counted(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 5\n")

    def estimate() -> int:
        raise AssertionError("nobody needs it")

    loop.run(limiter.admit(MINI, None, estimate)).settle(5)


# ---------------------------------------------------------------- refusals


def test_the_request_beyond_the_limit_is_refused_and_told_when_to_come_back(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 2\n")
    for _ in range(2):
        loop.run(admit(limiter)).settle(5)
    error = refused(loop, limiter)
    assert error.retry_after_s == 30.0
    assert error.fallback and not error.retryable and not error.sent
    assert str(error) == "the limit of 2 requests per minute for acme is reached"
    loop.pass_s(30)
    loop.run(admit(limiter))


def test_a_callers_own_limit_is_no_reason_to_ask_elsewhere(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nrequests_per_min = 1\n")
    loop.run(admit(limiter, caller="a"))
    error = refused(loop, limiter, OTHER, caller="a")
    assert not error.fallback
    assert "for this key" in str(error)
    loop.run(admit(limiter, caller="b"))


def test_a_further_attempt_is_not_counted_among_the_callers_requests(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nrequests_per_min = 1\n")
    loop.run(admit(limiter, caller="a")).settle(0)
    loop.run(admit(limiter, OTHER, caller="a", is_first=False)).settle(5)
    refused(loop, limiter, caller="a")


def test_what_is_refused_by_one_bucket_has_taken_nothing_of_the_others(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 3\nlimits.mini = { requests_per_min = 1 }\n")
    loop.run(admit(limiter))
    for _ in range(5):
        assert "acme/mini" in str(refused(loop, limiter))
    for _ in range(2):
        loop.run(admit(limiter, LARGE))
    assert "for acme is" in str(refused(loop, limiter, LARGE))


def test_a_models_limit_is_found_by_the_users_own_name_for_it(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "custom_models = { fast = 'mini' }\nlimits.fast = { requests_per_min = 1 }\n")
    loop.run(admit(limiter))
    refused(loop, limiter)


def test_a_place_is_free_again_when_the_call_is_settled_and_only_once(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n")
    grant = loop.run(admit(limiter))
    error = refused(loop, limiter)
    assert error.retry_after_s is None
    grant.settle(None)
    grant.settle(None)
    loop.run(admit(limiter))
    refused(loop, limiter)


def test_tokens_are_set_aside_and_corrected(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "tokens_per_min = 1000\n")
    grant = loop.run(admit(limiter, tokens=900))
    refused(loop, limiter, tokens=200)
    grant.settle(100)
    grant = loop.run(admit(limiter, tokens=900))
    grant.settle(1900)  # 100 + 1900: a minute's worth of debt
    assert refused(loop, limiter, tokens=100).retry_after_s == pytest.approx(66)


def test_usage_that_nobody_knows_counts_as_estimated(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "tokens_per_min = 1000\n")
    loop.run(admit(limiter, tokens=900)).settle(None)
    refused(loop, limiter, tokens=200)


# ---------------------------------------------------------------- waiting

WAITS = "[limits]\nmax_wait = 100\n"


def test_a_call_that_may_wait_goes_when_there_is_room(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 6\n" + WAITS)
    for _ in range(6):
        loop.run(admit(limiter))
    grant = loop.run(admit(limiter))
    assert loop.time() == pytest.approx(10, abs=0.002)
    assert grant.waited_s == pytest.approx(10, abs=0.002)
    assert limiter.waiting == 0


def test_who_waits_for_a_place_is_woken_by_the_one_who_leaves(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n" + WAITS)
    grant = loop.run(admit(limiter))
    waiting = [loop.create_task(admit(limiter)) for _ in range(3)]
    for served in range(3):
        loop.pass_s(5)
        assert [task.done() for task in waiting].count(True) == served
        grant.settle(1)
        loop.settle_down()
        grant = waiting[served].result()
    assert limiter.waiting == 0


def test_tokens_given_back_wake_who_waits_for_them(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "tokens_per_min = 60\n" + WAITS)
    grant = loop.run(admit(limiter, tokens=60))
    waiting = loop.create_task(admit(limiter, tokens=50))
    loop.pass_s(1)
    assert not waiting.done()
    grant.settle(5)
    loop.settle_down()
    assert waiting.done()


def test_the_higher_priority_goes_first_and_within_it_who_came_first(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n" + WAITS)
    grant = loop.run(admit(limiter))
    served: list[str] = []

    async def call(name: str, priority: int) -> None:
        grant = await admit(limiter, priority=priority)
        served.append(name)
        await asyncio.sleep(1)
        grant.settle(1)

    tasks = [loop.create_task(call(name, priority)) for name, priority in [("a", 0), ("b", 0), ("c", 5), ("d", 5)]]
    loop.settle_down()
    grant.settle(1)
    loop.run(asyncio.wait(tasks))
    assert served == ["c", "d", "a", "b"]


def test_nobody_who_comes_later_overtakes_a_large_call(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "tokens_per_min = 60\n" + WAITS)
    loop.run(admit(limiter, tokens=30))
    large = loop.create_task(admit(limiter, tokens=60))
    loop.settle_down()
    small = loop.create_task(admit(limiter, tokens=1))
    loop.pass_s(20)
    assert not small.done()
    loop.pass_s(12)
    assert large.done() and small.done()


def test_a_call_stopped_by_its_own_key_does_not_hold_up_others(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 2\n[limits]\nmax_wait = 100\nmax_concurrency = 1\n")
    loop.run(admit(limiter, caller="a"))
    waiting = loop.create_task(admit(limiter, caller="a"))
    loop.settle_down()
    loop.run(admit(limiter, caller="b"))
    assert not waiting.done()
    waiting.cancel()


def test_from_the_callers_line_it_goes_to_the_providers(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n[limits]\nmax_wait = 100\nmax_concurrency = 1\n")
    mine = loop.run(admit(limiter, OTHER, caller="a"))
    theirs = loop.run(admit(limiter, caller="b"))
    waiting = loop.create_task(admit(limiter, caller="a"))
    loop.settle_down()
    mine.settle(1)
    loop.settle_down()
    assert not waiting.done()
    theirs.settle(1)
    loop.settle_down()
    assert waiting.done()


def test_a_wait_ends_with_the_longest_wait_and_with_the_calls_deadline(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n" + WAITS)
    loop.run(admit(limiter))
    refused(loop, limiter)
    assert loop.time() == pytest.approx(100)
    with pytest.raises(LimitReached):
        loop.run(limiter.admit(MINI, None, lambda: 1, wait_until_s=loop.time() + 7))
    assert loop.time() == pytest.approx(107)
    refused(loop, limiter, max_wait_s=0)
    assert loop.time() == pytest.approx(107)


def test_who_cannot_have_a_turn_in_time_is_told_at_once(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 1\n[limits]\nmax_wait = 30\n")
    loop.run(admit(limiter))
    assert refused(loop, limiter).retry_after_s == 60
    assert loop.time() == 0


def test_only_so_many_wait(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n[limits]\nmax_wait = 100\nmax_waiting = 2\n")
    loop.run(admit(limiter))
    waiting = [loop.create_task(admit(limiter)) for _ in range(2)]
    loop.settle_down()
    assert "2 calls wait for it already" in str(refused(loop, limiter))
    for task in waiting:
        task.cancel()


def test_a_cancelled_waiter_leaves_no_trace(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n" + WAITS)
    grant = loop.run(admit(limiter))
    first, second = (loop.create_task(admit(limiter)) for _ in range(2))
    loop.settle_down()
    first.cancel()
    loop.settle_down()
    grant.settle(1)
    loop.settle_down()
    second.result().settle(1)
    assert limiter.waiting == 0
    loop.run(admit(limiter))


def test_one_who_is_cancelled_just_when_woken_wakes_the_next(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "max_concurrency = 1\n" + WAITS)
    grant = loop.run(admit(limiter))
    first, second = (loop.create_task(admit(limiter)) for _ in range(2))
    loop.settle_down()
    grant.settle(1)
    first.cancel()
    loop.settle_down()
    assert second.done()


# ---------------------------------------------------------------- what targets tell


def test_a_target_that_says_how_long_it_wants_to_be_left_alone_is(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=20))
    assert limiter.concerns(OTHER, None)
    error = refused(loop, limiter, OTHER)
    assert error.retry_after_s == pytest.approx(20, abs=0.01) and error.fallback
    assert str(error) == "other/x asked us to wait"
    loop.pass_s(20)
    loop.run(admit(limiter, OTHER))
    assert not limiter.concerns(OTHER, None)


def test_a_call_with_patience_waits_where_the_target_asked_for_it_and_nowhere_else(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "requests_per_min = 1\n")
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=20))
    refused(loop, limiter, OTHER, patience_s=10)
    assert loop.time() == 0
    loop.run(admit(limiter, OTHER, patience_s=30))
    assert loop.time() == pytest.approx(20, abs=0.01)
    loop.run(admit(limiter))
    refused(loop, limiter, patience_s=100)
    assert loop.time() == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize(
    ("hold_s", "calls", "gap_s"), [(20, 5, 0.1), (20, 100, 0.1), (1, 51, 0.01), (0.045, 6, 0.004)], ids=str
)
def test_those_who_waited_out_a_retry_after_go_one_after_the_other(
    loop: VirtualLoop, hold_s: float, calls: int, gap_s: float
) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=hold_s))
    gone_s: list[float] = []

    async def go() -> None:
        await admit(limiter, OTHER, patience_s=60)
        gone_s.append(loop.time())

    loop.run(asyncio.wait([loop.create_task(go()) for _ in range(calls)]))
    assert len(gone_s) == calls
    assert gone_s[0] == pytest.approx(hold_s, abs=0.01)
    gaps = [later - earlier for earlier, later in itertools.pairwise(gone_s)]
    # Where they are many for so short a hold, all have gone when half as much time has passed again.
    assert gaps == pytest.approx([gap_s] * len(gaps), abs=0.001)
    assert limiter.waiting == 0
    loop.run(admit(limiter, OTHER))  # at once: nobody waits any more
    assert loop.time() == pytest.approx(gone_s[-1], abs=0.001)
    assert not limiter.concerns(OTHER, None)


def test_when_the_first_of_them_is_refused_again_the_others_have_not_gone(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=5))
    gone_s: list[float] = []

    async def go() -> None:
        grant = await admit(limiter, OTHER, patience_s=60)
        gone_s.append(loop.time())
        await asyncio.sleep(0.05)  # the target's answer
        if loop.time() < 9:
            error = RateLimitError("not yet", retry_after_s=5)
            limiter.failed(OTHER, error)
            grant.settle(0, error=error)

    loop.run(asyncio.wait([loop.create_task(go()) for _ in range(20)]))
    assert [round(moment) for moment in gone_s[:2]] == [5, 10]


def test_who_comes_while_they_go_stands_behind_them_and_may_wait_as_they_did(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=5))
    gone: list[str] = []

    async def go(name: str, patience_s: float = 60) -> None:
        await admit(limiter, OTHER, patience_s=patience_s)
        gone.append(name)

    tasks = [loop.create_task(go(name)) for name in "abc"]
    loop.pass_s(5.05)
    assert gone == ["a"]
    refused(loop, limiter, OTHER)
    loop.run(asyncio.wait([*tasks, loop.create_task(go("late"))]))
    assert gone == ["a", "b", "c", "late"]


def test_of_those_who_left_while_they_waited_no_trace_is_left(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=5))
    tasks = [loop.create_task(admit(limiter, OTHER, patience_s=60)) for _ in range(3)]
    loop.pass_s(1)
    for task in tasks:
        task.cancel()
    loop.pass_s(5)
    loop.run(admit(limiter, OTHER))
    assert not limiter.concerns(OTHER, None)


def test_overload_holds_back_too_and_nothing_else_does(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.failed(OTHER, Overloaded("too much", retry_after_s=20))
    refused(loop, limiter, OTHER)
    limiter.failed(MINI, ServerError("broken"))
    limiter.failed(MINI, LimitReached("ours", retry_after_s=20))
    limiter.failed(MINI, QuotaExceeded("no money"))
    assert not limiter.concerns(MINI, None)


def test_what_is_left_of_a_told_limit_is_given_out_and_no_more(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.learn(OTHER, (RateLimit("requests", 100, 2, 30.0),))
    for _ in range(2):
        loop.run(admit(limiter, OTHER))
    error = refused(loop, limiter, OTHER)
    assert str(error) == "other/x told us that its limit of requests is used up"
    assert error.retry_after_s == pytest.approx(30)
    loop.pass_s(30)
    loop.run(admit(limiter, OTHER))


def test_an_answer_that_tells_of_plenty_ends_it(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, WAITS)
    little = [(b"x-ratelimit-limit-requests", b"100"), (b"x-ratelimit-remaining-requests", b"0"),
              (b"x-ratelimit-reset-requests", b"90s")]  # fmt: skip
    limiter.heard("other", "x", little)
    waiting = loop.create_task(admit(limiter, OTHER))
    loop.pass_s(1)
    assert not waiting.done()
    limiter.heard("other", "x", [(b"x-ratelimit-limit-requests", b"100"), (b"x-ratelimit-remaining-requests", b"99")])
    loop.settle_down()
    assert waiting.done()
    assert not limiter.concerns(OTHER, None)


def test_a_limit_with_much_left_is_not_looked_to(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop)
    limiter.heard("other", "x", [(b"x-ratelimit-limit-requests", b"100"), (b"x-ratelimit-remaining-requests", b"50")])
    limiter.heard("other", "x", [(b"x-ratelimit-remaining-requests", b"**REDACTED**")])
    assert not limiter.concerns(OTHER, None)


def test_who_does_not_want_to_learn_does_not(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nlearned = false\n")
    limiter.learn(OTHER, (RateLimit("requests", 100, 0, 30.0),))
    limiter.failed(OTHER, RateLimitError("slow down", retry_after_s=20))
    assert not limiter.concerns(OTHER, None)


def test_calls_at_a_time_are_cut_for_a_target_that_refuses(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nadaptive = true\n")
    grants = [loop.run(admit(limiter, OTHER)) for _ in range(10)]
    for grant in grants:
        grant.settle(0, error=RateLimitError("slow down"))
    grants = [loop.run(admit(limiter, OTHER)) for _ in range(7)]
    assert "does not bear more than 7 calls" in str(refused(loop, limiter, OTHER))
    for _ in range(2):
        for grant in grants:
            grant.settle(5)
        grants = [loop.run(admit(limiter, OTHER)) for _ in range(7)]
    loop.run(admit(limiter, OTHER))
    refused(loop, limiter, OTHER)


def test_a_caller_who_left_says_nothing_about_the_target(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "[limits]\nadaptive = true\n")
    loop.run(admit(limiter, OTHER)).settle(0, error=RateLimitError("slow down"))
    for _ in range(20):
        loop.run(admit(limiter, OTHER)).settle(None, left=True)
    grant = loop.run(admit(limiter, OTHER))
    refused(loop, limiter, OTHER)
    grant.settle(1)


def test_one_freed_by_its_key_stands_behind_who_waited_longer_at_the_provider(loop: VirtualLoop) -> None:
    limiter = limiter_of(loop, "tokens_per_min = 60\n[limits]\nmax_wait = 100\nmax_concurrency = 1\n")
    of_a, of_b = (loop.run(admit(limiter, OTHER, caller=caller)) for caller in "ab")
    loop.run(admit(limiter, caller="x", tokens=30))
    large = loop.create_task(admit(limiter, caller="b", tokens=60))
    loop.settle_down()
    small = loop.create_task(admit(limiter, caller="a", tokens=1))
    loop.settle_down()
    of_b.settle(1)  # the large one now stands before the provider
    loop.settle_down()
    of_a.settle(1)  # there is room for the small one, and the large one came first
    loop.pass_s(20)
    assert not small.done() and not large.done()
    loop.pass_s(12)
    assert large.done() and small.done()

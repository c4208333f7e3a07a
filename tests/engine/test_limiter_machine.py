"""The limiter under any sequence of calls, endings, cancellations and time, as a state machine.

What must hold: no bucket gives out more than it has in any time; what a call used counts, what it left does
not; whoever waits is served as soon as there is room, in order, or refused by its deadline; nothing stays behind.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any, NamedTuple

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from virtual_loop import VirtualLoop

from genai_spine.engine.limits.limiter import Grant, Limiter
from genai_spine.engine.limits.state import Bucket, Kind, LocalState
from genai_spine.model.errors import LimitReached, RateLimitError
from genai_spine.policy.limits import MINUTE_US
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import settings_of

LIMITS = {"requests_per_min": 12, "tokens_per_min": 600, "max_concurrency": 4}
MODEL = {"requests_per_min": 6, "tokens_per_min": 300, "max_concurrency": 2}
CALLER = {"requests_per_min": 8, "tokens_per_min": 400, "max_concurrency": 3}
ACME = {"type": "openai_compatible", "base_url": "http://127.0.0.1:9", **LIMITS, "limits": {"mini": MODEL}}
TREE: dict[str, Any] = {"providers": {"acme": ACME}, "limits": {**CALLER, "max_wait": 45, "max_waiting": 5}}
SETTING: dict[Kind, str] = {
    "requests": "requests_per_min",
    "tokens": "tokens_per_min",
    "places": "max_concurrency",
}
LATE_S = 0.0025
"""A timer is a millisecond wide, and a waiter that moves to another line needs two."""


class Call:
    """One call, from its coming to its end."""

    def __init__(self, number: int, choice: Choice, caller: str, tokens: int, priority: int, came_s: float) -> None:
        self.number, self.choice, self.caller, self.priority = number, choice, caller, priority
        self.estimate = self.counted = tokens
        self.came_s = came_s
        self.admitted_s: float | None = None
        self.grant: Grant | None = None
        self.task: asyncio.Task[None] | None = None
        self.refused: LimitReached | None = None
        self.was_held_back = False

    @property
    def waits(self) -> bool:
        return self.task is not None and not self.task.done()

    def buckets(self) -> list[tuple[str, dict[str, int]]]:
        own = [(f"caller:{self.caller}", CALLER), ("provider:acme", LIMITS)]
        return [*own, ("model:acme/mini", MODEL)] if self.choice.model == "mini" else own


class Spent(NamedTuple):
    at_s: float
    amount: int


class LimiterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.state = LocalState(self.loop.clock_ns)
        self.limiter = Limiter(settings_of(TREE), self.state, clock_ns=self.loop.clock_ns)
        self.calls: list[Call] = []
        self.served: list[Call] = []
        self.held_until_s = 0.0

    # ------------------------------------------------------------ what happens

    @rule(
        model=st.sampled_from(["mini", "large"]),
        caller=st.sampled_from("ab"),
        tokens=st.integers(1, 250),
        priority=st.sampled_from([0, 0, 0, 1]),
    )
    def come(self, model: str, caller: str, tokens: int, priority: int) -> None:
        call = Call(len(self.calls), Choice(provider="acme", model=model), caller, tokens, priority, self.loop.time())
        self.calls.append(call)
        call.task = self.loop.create_task(self._admitted(call))
        self.loop.settle_down()

    async def _admitted(self, call: Call) -> None:
        try:
            grant = await self.limiter.admit(call.choice, call.caller, lambda: call.estimate, None, call.priority)
        except LimitReached as error:
            call.refused = error
        else:
            call.grant, call.admitted_s = grant, self.loop.time()
            call.was_held_back = call.choice.model == "mini" and self.loop.time() < self.held_until_s
            self.served.append(call)

    @precondition(lambda self: self._open())
    @rule(pick=st.integers(0, 50), used=st.one_of(st.none(), st.integers(0, 250)), again=st.booleans())
    def end(self, pick: int, used: int | None, again: bool) -> None:
        call = self._open()[pick % len(self._open())]
        used = min(used, call.estimate) if used is not None else None
        assert call.grant is not None
        call.grant.settle(used)
        if again:
            call.grant.settle(0)
        call.grant, call.counted = None, call.estimate if used is None else used
        self.loop.settle_down()

    @precondition(lambda self: self._waiting())
    @rule(pick=st.integers(0, 50), others=st.booleans())
    def go_away(self, pick: int, others: bool) -> None:
        call = self._waiting()[pick % len(self._waiting())]
        assert call.task is not None
        if others and (grant := next((c for c in self._open()), None)) is not None:
            assert grant.grant is not None
            grant.grant.settle(grant.estimate)
            grant.grant = None
        call.task.cancel()
        self.loop.settle_down()

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 10.0, 46.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.pass_s(seconds)

    @rule(seconds=st.sampled_from([2.0, 60.0]))
    def be_held_back(self, seconds: float) -> None:
        error = RateLimitError("slow down", retry_after_s=seconds)
        self.limiter.failed(Choice(provider="acme", model="mini"), error)
        self.held_until_s = max(self.held_until_s, self.loop.time() + seconds - 0.006)

    # ------------------------------------------------------------ what must hold

    @invariant()
    def no_more_is_given_out_than_the_limits_allow(self) -> None:
        spent: dict[tuple[str, int, str], list[Spent]] = {}
        for call in self.served:
            assert call.admitted_s is not None
            for door, limits in call.buckets():
                for kind, amount in (("requests_per_min", 1), ("tokens_per_min", call.counted)):
                    spent.setdefault((door, limits[kind], kind), []).append(Spent(call.admitted_s, amount))
        for (door, limit, kind), entries in spent.items():
            for first, begin in enumerate(entries):
                total = 0
                for entry in entries[first:]:
                    total += entry.amount
                    elapsed_us = round((entry.at_s - begin.at_s) * 1e6) + 2
                    assert total * MINUTE_US <= limit * (MINUTE_US + elapsed_us), (door, kind)

    @invariant()
    def no_more_run_at_a_time_than_there_are_places(self) -> None:
        running: dict[tuple[str, int], int] = {}
        for call in self._open():
            for door, limits in call.buckets():
                key = (door, limits["max_concurrency"])
                running[key] = running.get(key, 0) + 1
        for (door, places), count in running.items():
            assert count <= places, door

    @invariant()
    def none_is_served_while_the_target_wants_to_be_left_alone(self) -> None:
        assert not any(call.was_held_back for call in self.served)

    @invariant()
    def whoever_is_first_waits_for_good_reason(self) -> None:
        """The earliest of all that wait finds no room; had there been any, it would have been woken."""
        waiting = sorted(self._waiting(), key=lambda call: (-call.priority, call.number))
        if not waiting:
            return
        call, then_us = waiting[0], round((self.loop.time() - LATE_S) * 1e6)
        if call.choice.model == "mini" and self.loop.time() - LATE_S < self.held_until_s + 0.006:
            return
        for door, limits in call.buckets():
            for kind, setting in SETTING.items():
                bucket = Bucket(door=door, kind=kind, limit=limits[setting])
                limit = copy.copy(self.state.limit(bucket))
                if limit.wait_us(call.estimate if kind == "tokens" else 1, then_us) != 0:
                    return
        raise AssertionError(f"call {call.number} waits, and there is room")

    @invariant()
    def none_waits_beyond_its_time(self) -> None:
        for call in self._waiting():
            assert self.loop.time() <= call.came_s + 45 + LATE_S

    @invariant()
    def none_is_overtaken_by_one_who_came_later_the_same_way(self) -> None:
        last: dict[tuple[str, str | None, int], int] = {}
        waiting = {(c.caller, c.choice.model, c.priority, c.number) for c in self._waiting()}
        for call in self.served[-10:]:
            way = (call.caller, call.choice.model, call.priority)
            assert last.get(way, -1) < call.number
            last[way] = call.number
            assert not any(w[:3] == way and w[3] < call.number for w in waiting)

    @invariant()
    def refusals_say_whose_limit_it_was(self) -> None:
        for call in self.calls[-3:]:
            if call.refused is not None:
                assert call.refused.fallback == ("this key" not in str(call.refused))

    @invariant()
    def the_count_of_those_who_wait_is_right(self) -> None:
        assert self.limiter.waiting == len(self._waiting()) <= 3 * 5 * 2

    def teardown(self) -> None:
        for call in self._waiting():
            assert call.task is not None
            call.task.cancel()
        for call in self._open():
            assert call.grant is not None
            call.grant.settle(call.estimate)
            call.grant = None
        self.loop.settle_down()
        assert self.limiter.waiting == 0
        self.loop.pass_s(600)
        now_us = self.loop.clock_ns() // 1000
        assert all(limit.is_idle(now_us) for limit in self.state._limits.values())
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()

    def _open(self) -> list[Call]:
        return [call for call in self.served if call.grant is not None]

    def _waiting(self) -> list[Call]:
        return [call for call in self.calls if call.waits]


LimiterMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLimiter = LimiterMachine.TestCase

"""One timer for all who wait to be late: each is called when it is due, and a little later at most."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from virtual_loop import VirtualLoop

from genai_spine.engine.hedge import Alarm

CLOCK = 1e-9
"""What a clock of floats may be off."""


class Caller:
    def __init__(self, call: Callable[[], object], *, is_over: bool = False) -> None:
        self.begin: Any = call
        self.is_over = is_over


@pytest.mark.parametrize("seed", range(20))
def test_each_is_called_once_when_it_is_due_and_a_step_later_at_most(seed: int) -> None:
    loop, alarm, chance = VirtualLoop(), Alarm(), random.Random(seed)
    called: dict[int, float] = {}
    due: dict[int, float] = {}

    def note(number: int) -> None:
        called[number] = loop.time()

    async def main() -> None:
        for number in range(100):
            due[number] = at_s = loop.time() + chance.choice((0.0, 0.001, 0.02, 0.5)) * chance.random()
            alarm.set(loop, at_s, Caller(partial(note, number)))
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.001, 0.05)))
        await asyncio.sleep(1.0)

    loop.run(main())
    assert called.keys() == due.keys()
    assert all(-CLOCK <= called[number] - due[number] <= alarm.STEP_S + CLOCK for number in due)


@pytest.mark.parametrize("seed", range(5))
def test_there_is_one_timer_however_the_moments_follow_each_other(seed: int) -> None:
    class Counted(Alarm):
        rings = 0

        def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
            self.rings += 1
            super()._ring(loop)

    loop, alarm, chance = VirtualLoop(), Counted(), random.Random(seed)

    async def main() -> None:
        for _ in range(500):  # a target that is late soon, and one that is late after a long while
            alarm.set(loop, loop.time() + chance.choice((0.02, 2.0)), Caller(lambda: None))
            await asyncio.sleep(0.03)
        await asyncio.sleep(3.0)

    loop.run(main())
    assert len(alarm) == 0
    assert 0 < alarm.rings <= 500, "each that is called needs one ring at most"


def test_one_that_raises_does_not_keep_the_others_waiting() -> None:
    loop, alarm, called = VirtualLoop(), Alarm(), list[str]()
    loop.set_exception_handler(lambda loop, context: called.append(str(context["exception"])))

    def fails() -> None:
        raise ValueError("of its own")

    async def main() -> None:
        alarm.set(loop, loop.time() + 0.1, Caller(fails))
        alarm.set(loop, loop.time() + 0.1, Caller(partial(called.append, "the other")))
        await asyncio.sleep(1.0)

    loop.run(main())
    assert called == ["of its own", "the other"]


def test_another_loop_begins_anew() -> None:
    alarm, called = Alarm(), list[str]()
    for name in ("first", "second"):
        loop = VirtualLoop()
        alarm.set(loop, loop.time() + 0.1, Caller(partial(called.append, name)))
        if name == "second":
            loop.run(asyncio.sleep(1.0))
        loop.close()
    assert called == ["second"]


def test_those_that_are_over_are_not_kept_until_they_would_have_been_late() -> None:
    loop, alarm, called = VirtualLoop(), Alarm(), list[int]()
    for number in range(20_000):
        alarm.set(loop, 60.0 + number % 7, Caller(partial(called.append, number), is_over=number % 100 != 0))
        assert len(alarm) <= 2 * (number / 100 + 1) + alarm.MOST_OVER
    loop.run(asyncio.sleep(100.0))
    assert {number for number in called if number % 100 == 0} == set(range(0, 20_000, 100))

"""An event loop whose clock jumps: an hour of waiting passes as fast as its events can be worked off.

    clock = take_over()             # before what is to be simulated is imported
    clock.run(main())

Nothing waits: where the loop would sleep until its next timer, the clock is set to that timer. What runs on it is
the engine as it is, so `time` tells the same clock: to the whole process, which therefore does nothing else
(simulate.py starts it). Real sockets and threads have no place there, and a program that waits for something that
no timer will bring is told so instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH_S = 1_790_000_000.0
"""What `time.time()` says when the clock says 0: a day in 2026."""


class NothingHappens(Exception):
    """Every task waits for another one, and no timer is set."""


class VirtualClock:
    """Seconds since the simulation began."""

    __slots__ = ("now_s",)

    def __init__(self) -> None:
        self.now_s = 0.0

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(self)) as runner:
            return runner.run(main)


class _Jumps(selectors.SelectSelector):
    """Waits for nothing: the time that would have been waited has passed."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise NothingHappens(f"at {self._clock.now_s:g} s")
        if timeout > 0:
            self._clock.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_Jumps(clock))
        self._clock = clock

    def time(self) -> float:
        return self._clock.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        raise RuntimeError("a thread lives in real time: this cannot be simulated")


def take_over() -> VirtualClock:
    """A clock that `time` tells from now on. Default arguments hold on to functions: import what uses them later."""
    clock = VirtualClock()
    time.monotonic = time.perf_counter = lambda: clock.now_s
    time.monotonic_ns = time.perf_counter_ns = lambda: round(clock.now_s * 1e9)
    time.time = lambda: EPOCH_S + clock.now_s
    return clock

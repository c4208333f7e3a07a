"""Two attempts for one answer: the second starts where the first is late, the first good answer wins.

Nearly every first one is in time, so nothing is made for it that only a late one needs: no task, and no timer of its
own. Must not know: what is sent, and why it is late (policy/hedge.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Generic, Protocol, TypeVar

from genai_spine.engine.tasks import end

T = TypeVar("T")
Start = Callable[[], Coroutine[Any, Any, T]]


async def race(
    first: Start[T],
    second: Start[T],
    after_s: float,
    *,
    may_start: Callable[[], bool] | None = None,
    discard: Callable[[T], Awaitable[object]] | None = None,
    alarm: Alarm | None = None,
) -> T:
    """The first good answer of two attempts, of which the second starts when the first is not there after `after_s`.

    `may_start` is asked at that moment, and only then, so that a budget pays for nothing but what is sent. The
    loser is cancelled and awaited: it sees a `CancelledError`, in which it can settle. One that had its answer
    in the same moment sees none: its answer goes to `discard`, which closes what is open. The first runs in the
    caller's task, since most are in time and a task costs more than all else here; so one that clings to its work
    when it is cancelled holds its caller up, as it would under a timeout. The second has a task of its own.

    Raises: the first attempt's error, at once where the second has not started, else when both have failed.
    The caller's cancellation, which cancels both.
    """
    loop = asyncio.get_running_loop()
    late = _Second(second, may_start, asyncio.current_task(loop))
    alarm = Alarm() if alarm is None else alarm  # one that nobody waits for is false
    alarm.set(loop, loop.time() + after_s, late)
    won = is_outrun = False
    try:
        try:
            return await first()
        finally:
            is_outrun = late.lets_go()
    except asyncio.CancelledError:
        if not is_outrun:
            raise
        won = True
        return late.answer()
    except Exception:
        if not await late.is_good():
            raise
        won = True
        return late.answer()
    finally:
        if late.task is not None and not won:
            await end([late.task], discard)


class Late(Protocol):
    """Who may turn out to be late."""

    @property
    def is_over(self) -> bool: ...
    def begin(self) -> None: ...


class Alarm:
    """Begins who is late, or up to `STEP_S` later: one timer for all who wait, since nearly all of them are over before
    it rings, and a timer each would cost more than the rest of the race. Who is over is left out now and then."""

    __slots__ = ("_count", "_loop", "_most", "_rings_at", "_timer", "_waiting")

    STEP_S = 0.005
    MOST_OVER = 1000

    def __init__(self) -> None:
        self._count = count()
        self._waiting: list[tuple[float, int, Late]] = []
        self._most = self.MOST_OVER
        self._rings_at = inf
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def set(self, loop: asyncio.AbstractEventLoop, at_s: float, late: Late) -> None:
        """`at_s` is by the loop's clock."""
        if loop is not self._loop:  # another one, the first having ended
            self._waiting, self._rings_at, self._timer, self._loop = [], inf, None, loop
        heappush(self._waiting, (at_s, next(self._count), late))
        if len(self._waiting) > self._most:
            self._waiting = [each for each in self._waiting if not each[2].is_over]
            heapify(self._waiting)
            self._most = 2 * len(self._waiting) + self.MOST_OVER
        if at_s < self._rings_at:
            self._ring_at(loop, at_s)

    def _ring_at(self, loop: asyncio.AbstractEventLoop, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()  # each that rings sets the next: two would never become one again
        self._rings_at, self._timer = at_s, loop.call_at(at_s, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        waiting, now_s = self._waiting, loop.time()
        self._rings_at, self._timer = inf, None
        try:
            while waiting and waiting[0][0] <= now_s:
                heappop(waiting)[2].begin()
        finally:
            if waiting:
                self._ring_at(loop, max(waiting[0][0], now_s + self.STEP_S))


class _Second(Generic[T]):
    """The second attempt: not there until the first is late. Where it wins, it cancels who waits for the first."""

    __slots__ = ("_cancelling", "_context", "_has_cancelled", "_may_start", "_start", "_waiting", "task")

    def __init__(
        self, start: Start[T], may_start: Callable[[], bool] | None, waiting: asyncio.Task[Any] | None
    ) -> None:
        self._start: Start[T] | None = start
        self._may_start = may_start
        self._waiting = waiting
        self._cancelling = waiting.cancelling() if waiting is not None else 0
        self._context = copy_context()  # the call's own: the alarm rings in that of whoever has set it
        self._has_cancelled = False
        self.task: asyncio.Task[T] | None = None

    @property
    def is_over(self) -> bool:
        return self._waiting is None

    def begin(self) -> None:
        start, self._start = self._start, None
        if start is not None and (self._may_start is None or self._may_start()):
            self.task = asyncio.create_task(start(), context=self._context)
            self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        waiting = self._waiting
        if waiting is None or waiting.cancelling() > self._cancelling or not _is_good(task):
            return  # the first is over, or ends already because its caller has left
        self._has_cancelled = True
        waiting.cancel()

    def lets_go(self) -> bool:
        """The first is over. Whether it was for us alone that it was cancelled; see `asyncio.Task.uncancel`."""
        waiting, self._waiting = self._waiting, None  # else an error and this keep each other, and the prompt, alive
        self._start = self._may_start = None
        return waiting is not None and self._has_cancelled and waiting.uncancel() <= self._cancelling

    async def is_good(self) -> bool:
        """Whether it has answered, or does yet."""
        if self.task is None:
            return False
        await asyncio.wait((self.task,))
        return _is_good(self.task)

    def answer(self) -> T:
        assert self.task is not None
        return self.task.result()


def _is_good(attempt: asyncio.Task[Any]) -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None

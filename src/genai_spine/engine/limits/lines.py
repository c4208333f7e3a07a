"""Calls that wait for room, in line before a door: by priority, and in the order in which they came.

Only the first in a line tries; it is woken when there may be room, and whoever leaves a line, served, refused
or cancelled, wakes the next. One who gets through one door and not through the next stands there as long as
they have waited already. So nobody is overtaken by who came later with the same priority.
"""

from __future__ import annotations

import asyncio
import itertools
from bisect import insort
from collections.abc import Iterable

from genai_spine.engine.tasks import wake

Order = tuple[int, int]
"""Priority, the highest first, and a number in the order of coming."""


class Waiter:
    """One call in line. It sleeps until its time, or until it is woken."""

    __slots__ = ("_asleep", "_woken", "order")

    def __init__(self, order: Order) -> None:
        self.order = order
        self._asleep: asyncio.Future[None] | None = None
        self._woken = False

    def __lt__(self, other: Waiter) -> bool:
        return self.order < other.order

    def wake(self) -> None:
        self._woken = True
        if (asleep := self._asleep) is not None:
            wake(asleep)

    async def sleep(self, most_s: float) -> None:
        """So long, or until woken; not at all where it was woken since it last slept."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            self._asleep = loop.create_future()
            # A timer of some loops is a millisecond wide; one of nothing would spin.
            timer = loop.call_later(max(most_s, 0.001), self.wake)
            try:
                if not self._woken:  # by another thread, meanwhile
                    await self._asleep
            finally:
                timer.cancel()
                self._asleep = None
        self._woken = False


class Lines:
    """The lines before all doors. A line that nobody stands in is not kept."""

    __slots__ = ("_count", "doors")

    def __init__(self) -> None:
        self.doors: dict[str, list[Waiter]] = {}
        """Those before which somebody waits."""
        self._count = itertools.count()

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self.doors.values()))

    def __bool__(self) -> bool:
        return bool(self.doors)

    def waiting(self, door: str) -> int:
        return len(self.doors.get(door, ()))

    def newcomer(self, priority: int) -> Waiter:
        return Waiter((-priority, next(self._count)))

    def ahead(self, priority: int, doors: Iterable[str]) -> str | None:
        """The first of these doors where somebody stands whom one who comes now may not overtake."""
        for door in doors:
            if (line := self.doors.get(door)) and line[0].order[0] <= -priority:
                return door
        return None

    def before(self, waiter: Waiter, doors: Iterable[str]) -> str | None:
        """The first of these doors where somebody stands whose turn is earlier; None: there is none."""
        for door in doors:
            if (line := self.doors.get(door)) and line[0] < waiter:
                return door
        return None

    def enter(self, waiter: Waiter, door: str) -> None:
        insort(self.doors.setdefault(door, []), waiter)

    def leave(self, waiter: Waiter, door: str) -> None:
        line = self.doors[door]
        line.remove(waiter)
        if line:
            line[0].wake()
        else:
            del self.doors[door]

    def wake(self, door: str) -> None:
        """There may be room before this door."""
        if line := self.doors.get(door):
            line[0].wake()

"""What attempts that take a while may cost at most, written down while they are under way.

A process that is killed cannot say it any more. Before an attempt is sent it would cost as much as all else that is
written of it, and most are over soon: so whoever is still under way at the next look is told of, once. What a budget
has set aside is written down from the start.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genai_spine.engine.attempt import Attempt

EVERY_S = 0.5
MOST_AT_ONCE_S = 0.01
"""Of the event loop's time: a request with many images takes some milliseconds to read."""
_PAUSE_S = 0.05


class UnderWay:
    """The attempts of one manager since the last look."""

    __slots__ = ("_attempts", "_loop", "_timer")

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, attempt: Attempt) -> None:
        self._attempts.append(attempt)
        loop = asyncio.get_running_loop()
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(EVERY_S, self._look)

    def close(self) -> None:
        self._attempts = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        attempts = [attempt for attempt in self._attempts if attempt.account is not None]
        self._attempts = attempts
        ends_s = time.monotonic() + MOST_AT_ONCE_S
        while attempts and time.monotonic() < ends_s:
            attempt = attempts.pop()
            if attempt.account is not None:
                attempt.account.bound(attempt)
        if attempts and self._loop is not None:
            self._timer = self._loop.call_later(_PAUSE_S, self._look)

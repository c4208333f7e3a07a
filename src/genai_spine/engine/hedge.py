"""Two attempts for one answer: the second starts where the first is late, the first good answer wins.

Must not know: what is sent, and why it is late (policy/hedge.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from genai_spine.engine.tasks import end

T = TypeVar("T")


async def race(
    first: Callable[[], Coroutine[Any, Any, T]],
    second: Callable[[], Coroutine[Any, Any, T]],
    after_s: float,
    *,
    may_start: Callable[[], bool] | None = None,
    discard: Callable[[T], Awaitable[object]] | None = None,
) -> T:
    """The first good answer of two attempts, of which the second starts when the first is not there after `after_s`.

    `may_start` is asked at that moment, and only then, so that a budget pays for nothing but what is sent. The
    loser is cancelled and awaited: it sees a `CancelledError`, in which it can settle. One that had its answer
    in the same moment sees none: its answer goes to `discard`, which closes what is open. Each attempt runs in a
    task of its own, so a stream that it opens is read by another task than the one that opened it.

    Raises: the first attempt's error, at once where the second has not started, else when both have failed.
    The caller's cancellation, which cancels both.
    """
    attempts = [asyncio.create_task(first())]
    winner: asyncio.Task[T] | None = None
    try:
        done, running = await asyncio.wait(attempts, timeout=after_s)
        if running and (may_start is None or may_start()):
            attempts.append(asyncio.create_task(second()))
            running.add(attempts[1])
        while running and not any(map(_is_good, attempts)):
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        winner = next(filter(_is_good, attempts), None)
    finally:
        await end([attempt for attempt in attempts if attempt is not winner], discard)
    try:
        return (winner or attempts[0]).result()
    finally:
        del attempts, done, running, winner  # else an error and this frame keep each other, and the prompt, alive


def _is_good(attempt: asyncio.Task[Any]) -> bool:
    return attempt.done() and not attempt.cancelled() and attempt.exception() is None

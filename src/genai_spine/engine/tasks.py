"""Ending tasks that nobody waits for any more: cancelled, awaited, and what they brought all the same put away.
And waking who waits, in whatever event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_S = 1.0
"""How long the end of a task is waited for; one that clings to its work ends behind the caller's back."""

logger = logging.getLogger(__name__)

_ending: set[asyncio.Task[None]] = set()
"""The event loop holds tasks weakly: these would else vanish with what they hold."""


async def end(
    tasks: Iterable[asyncio.Task[T]], discard: Callable[[T], Awaitable[object]] | None = None, grace_s: float = GRACE_S
) -> None:
    """Cancels the tasks and waits until they have ended, `grace_s` at most.

    One that was done already, or brings a result though it was cancelled, has it given to `discard`. Raises
    nothing but the caller's own cancellation, and then goes on all the same.
    """
    endings = [asyncio.create_task(_end(task, discard)) for task in tasks]
    if not endings:
        return
    for ending in endings:
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)
    _, late = await asyncio.wait(endings, timeout=grace_s)
    if late:
        logger.warning("%d cancelled task(s) did not end within %g s", len(late), grace_s)


async def _end(task: asyncio.Task[Any], discard: Callable[[Any], Awaitable[object]] | None) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if task.cancelled() or task.exception() is not None or discard is None:
        return  # to have asked for the exception keeps asyncio from reporting it as never retrieved
    try:
        await discard(task.result())
    except Exception:
        logger.warning("what a cancelled task brought could not be put away", exc_info=True)


def wake(asleep: asyncio.Future[None]) -> None:
    """Let go on who waits for this, also in another thread's event loop: threads may have loops of their own, and one
    manager."""
    loop = asleep.get_loop()
    if asyncio._get_running_loop() is loop:
        _wake(asleep)
        return
    with suppress(RuntimeError):  # that loop is closed, and nobody waits there
        loop.call_soon_threadsafe(_wake, asleep)


def _wake(asleep: asyncio.Future[None]) -> None:
    if not asleep.done():
        asleep.set_result(None)

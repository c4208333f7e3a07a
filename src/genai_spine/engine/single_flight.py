"""Identical calls at the same time share one: the first one's work is done once, and all get what it brings.

Must not know: what makes calls identical. The key holds all that may change the answer, and whose call it is.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from genai_spine.engine.tasks import end
from genai_spine.model.errors import ProviderError

T = TypeVar("T")


class _Flight:
    __slots__ = ("callers", "is_shared", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.callers = 0
        self.is_shared = False


class SingleFlight:
    """The work under way, by key. What is done is forgotten: this is no cache."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: Hashable) -> bool:
        """Whether a call with this key would share the work of another."""
        flight = self._flights.get(key)
        return flight is not None and not flight.task.done()

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `work` brings, done once for all who ask with the same key meanwhile.

        The work runs in a task of its own, in the first caller's context. Who leaves does not end it for the
        others; when the last leaves it is cancelled and awaited. All get the same result, so it is a value,
        and of an error each gets an instance of its own: tracebacks would pile up in a common one.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
        else:
            flight.is_shared = True
        flight.callers += 1
        try:
            await asyncio.wait((flight.task,))
        finally:
            flight.callers -= 1
            if not flight.callers:
                if self._flights.get(key) is flight:  # else a later one has its place
                    del self._flights[key]
                if not flight.task.done():
                    await end((flight.task,))
                elif not flight.task.cancelled():
                    flight.task.exception()  # else asyncio reports that nobody asked for it, where this caller left
        error = _error_of(flight)
        if error is not None:
            try:
                raise error
            finally:
                del error, flight  # else the error and this frame keep each other, and the prompt, alive
        result: T = flight.task.result()
        return result


def _error_of(flight: _Flight) -> BaseException | None:
    task = flight.task
    if task.cancelled():
        # Raised as it is, it would look as if this caller had been cancelled.
        return ProviderError("the call that this one shared was cancelled", code="cancelled")
    error = task.exception()
    if error is None or not flight.is_shared:
        return error
    try:
        own = copy.copy(error)
    except Exception:
        return error  # its class cannot be copied
    own.__cause__ = error
    return own

"""The connections to one origin: at most so many, the last used first, and a bounded queue for more.

A `Lane` never makes a task. Whoever needs a connection opens it himself, and a slot that comes free
is handed to the one who has waited longest: as a connection, or as the right to open one.

Must not know: what is sent, bytes, TLS. It opens connections through the function that it is given.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from genai_spine.model.errors import APIConnectionError, PoolExhausted
from genai_spine.providers.connection import Connection


class PoolLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for each origin. `max_waiting` is how many may queue for a connection before the next
    is refused at once. `idle_expiry_s` is shorter than what servers and balancers commonly keep
    (60 s and more), so that we close first and seldom meet a stale connection."""

    max_connections: int = 1000
    max_idle: int = 100
    max_waiting: int = 1000
    idle_expiry_s: float = 55.0


class Lane:
    """The pool for one (scheme, host, port). `peer` is its name in messages."""

    __slots__ = ("_idle", "_is_closed", "_limits", "_open", "_opening", "_waiting", "connections", "peer")

    def __init__(
        self,
        peer: str,
        limits: PoolLimits,
        open_connection: Callable[[Lane, float | None], Awaitable[Connection]],
    ) -> None:
        self.peer = peer
        self.connections: set[Connection] = set()
        self._limits = limits
        self._open = open_connection
        self._opening = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        return not (self.connections or self._opening or self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether more than one connection is in use."""
        return len(self.connections) - len(self._idle) > 1

    def take(self) -> Connection | None:
        """An idle connection, the last used first (its peer is the least likely to have closed it)."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    async def acquire(self, connect_s: float | None, pool_s: float | None, fresh: bool = False) -> Connection:
        """A connection that nobody else has; `fresh` means a new one.

        Raises: PoolExhausted, and what opening raises.
        """
        connection = None if fresh else self.take()
        if connection is not None:
            return connection
        if self._has_room:
            self._opening += 1
        elif fresh and (connection := self.take()) is not None:
            self._swap_for_opening(connection)
        else:
            connection = await self._wait(pool_s)
            if connection is not None:
                if connection.is_usable and not fresh:
                    return connection
                if connection not in self.connections:  # it died on its way to us, and its slot is given
                    return await self.acquire(connect_s, pool_s, fresh)
                self._swap_for_opening(connection)
        return await self._open_new(connect_s)

    def release(self, connection: Connection) -> None:
        """An exchange has ended well: hand the connection on, or keep it."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._is_closed or len(self._idle) >= self._limits.max_idle:
            connection.abort()
            return
        connection.deadline = connection.loop.time() + self._limits.idle_expiry_s
        self._idle.append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone, for whatever reason."""
        if connection in self._idle:
            self._idle.remove(connection)
        if connection in self.connections:
            self.connections.remove(connection)
            self._offer_room()

    def close(self) -> None:
        """Abort all; those who wait or come later fail."""
        self._is_closed = True
        for connection in list(self.connections):
            if connection.exchange is not None:
                connection.exchange.fail(closed_error(self.peer))
            connection.abort()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(closed_error(self.peer))
        self._waiting.clear()

    @property
    def _has_room(self) -> bool:
        return len(self.connections) + self._opening < self._limits.max_connections

    async def _open_new(self, connect_s: float | None) -> Connection:
        """Open in the slot that `_opening` has counted."""
        try:
            connection = await self._open(self, connect_s)
        except BaseException:
            self._opening -= 1
            self._offer_room()
            raise
        self._opening -= 1
        if self._is_closed:
            connection.abort()
            raise closed_error(self.peer)
        if connection.transport is None:  # closed again before we came to know of it
            self._offer_room()
        else:
            self.connections.add(connection)
        return connection

    async def _wait(self, pool_s: float | None) -> Connection | None:
        """A connection, or None: a slot to open one in, counted in `_opening`."""
        limits = self._limits
        if len(self._waiting) >= limits.max_waiting:
            raise self._exhausted("and as many calls wait as may wait")
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(pool_s):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            if isinstance(error, TimeoutError):
                raise self._exhausted(f"and none came free within {pool_s:g} s") from None
            raise

    def _give_back(self, granted: Connection | None) -> None:
        if granted is None:
            self._opening -= 1
            self._offer_room()
        elif granted.is_usable:
            self.release(granted)

    def _offer_room(self) -> None:
        while self._waiting and self._has_room:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._opening += 1
                waiter.set_result(None)

    def _swap_for_opening(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._opening += 1
        connection.abort()

    def _exhausted(self, how: str) -> PoolExhausted:
        busy = self._limits.max_connections
        return PoolExhausted(f"{self.peer}: all {busy} connections are busy {how}", sent=False)


def closed_error(peer: str) -> APIConnectionError:
    return APIConnectionError(f"{peer}: the transport is closed", code="transport_closed", retryable=False)

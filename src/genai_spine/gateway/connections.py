"""All the connections of one process: how many, how long, and the clock that looks after them.

No timer is made per request or per wait. A connection has deadlines, plain numbers, and one sweep every
`tick_s` compares them with the clock: a timeout is late by at most a tick, never early.

Must not know: parsing, dialects.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from genai_spine.providers.outbox import Outbox
from genai_spine.settings.tree import ServerSettings

if TYPE_CHECKING:
    from genai_spine.gateway.exchange import ASGIApp, HttpExchange
    from genai_spine.gateway.protocol import HttpConnection

WRITE_TIMEOUT_S = 60.0
"""How long a caller may take nothing of an answer that waits for it."""
MIN_BODY_RATE = 1024
"""Bytes per second below which a body is too slow, once `header_timeout` has passed."""
EVICTED_AT_ONCE = 32
MIN_IDLE_S = 1.0
"""A connection is not taken for idle before this: its request may be on the way."""
MAX_LINGERING = 256
"""Connections beyond the cap that are still being told so; more are dropped without a word."""

logger = logging.getLogger("genai_spine.gateway")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection may take, in seconds and bytes."""

    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 60.0
    max_header_bytes: int = 64 * 1024
    max_connections: int = 10_000
    max_connections_per_ip: int | None = None

    @classmethod
    def of(cls, server: ServerSettings) -> Limits:
        return cls(
            header_timeout_s=server.header_timeout,
            body_timeout_s=server.body_timeout,
            idle_timeout_s=server.idle_timeout,
            write_timeout_s=WRITE_TIMEOUT_S,
            max_header_bytes=server.max_header_kb * 1024,
            max_connections=server.max_connections,
            max_connections_per_ip=server.max_connections_per_ip,
        )

    @property
    def tick_s(self) -> float:
        """Fine enough for the shortest timeout, and never more often than 20 times a second."""
        shortest = min(self.header_timeout_s, self.body_timeout_s, self.idle_timeout_s, self.write_timeout_s)
        return min(1.0, max(0.05, shortest / 5))


class Connections:
    """The open connections and the requests under way. One per process, on one event loop."""

    def __init__(self, app: ASGIApp, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.loop = loop
        self.outbox = Outbox(loop)
        self.open: set[HttpConnection] = set()
        self.running: set[HttpExchange] = set()
        self.is_draining = False
        self.date_line = _date_line(time.time())
        self._per_ip: dict[str, int] = {}
        self._slow_bodies: set[HttpExchange] = set()
        self._tick_s = limits.tick_s
        self._is_full = False
        self._timer: asyncio.TimerHandle | None = loop.call_later(self._tick_s, self._sweep)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def admit(self, connection: HttpConnection) -> str | None:
        """Count a new connection in. The reason why not, if there are too many; `""` where none is told."""
        limits = self.limits
        self.open.add(connection)
        count = self._per_ip[connection.ip] = self._per_ip.get(connection.ip, 0) + 1
        if limits.max_connections_per_ip is not None and count > limits.max_connections_per_ip:
            if not self._evict(connection.ip):
                return "too many connections from this address (server.max_connections_per_ip)"
        elif len(self.open) > limits.max_connections and not self._evict(None):
            if not self._is_full:
                logger.warning("all %d connections are busy: new ones are refused", limits.max_connections)
            self._is_full = True
            if len(self.open) > limits.max_connections + MAX_LINGERING:
                return ""
            return "too many connections (server.max_connections)"
        else:
            self._is_full = False
        return None

    def forget(self, connection: HttpConnection) -> None:
        self.open.discard(connection)
        left = self._per_ip.get(connection.ip, 0) - 1
        if left > 0:
            self._per_ip[connection.ip] = left
        else:
            self._per_ip.pop(connection.ip, None)

    def _evict(self, ip: str | None) -> bool:
        """Close the connections that have been idle longest, of one address or of all."""
        latest = self.loop.time() - MIN_IDLE_S
        idle = [c for c in self.open if c.idle_since < latest and (ip is None or c.ip == ip)]
        count = EVICTED_AT_ONCE if ip is None else 1
        for connection in heapq.nsmallest(count, idle, key=lambda c: c.idle_since):
            connection.abort()
        return bool(idle)

    def watch_body(self, exchange: HttpExchange) -> None:
        """The application waits for a body: from now on the caller has to send it."""
        if not exchange.waits_since:
            exchange.waits_since = self.loop.time()
        self._slow_bodies.add(exchange)

    def unwatch_body(self, exchange: HttpExchange) -> None:
        self._slow_bodies.discard(exchange)

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(self._tick_s, self._sweep)
        self.date_line = _date_line(time.time())
        now = self.loop.time()
        for connection in [c for c in self.open if c.input_deadline < now or c.output_deadline < now]:
            connection.check_deadlines(now)
        for exchange in [e for e in self._slow_bodies if self._is_too_slow(e, now - e.waits_since)]:
            self._slow_bodies.discard(exchange)
            exchange.is_slow = True
            exchange.wake()

    def _is_too_slow(self, exchange: HttpExchange, waited_s: float) -> bool:
        if exchange.parts:
            return False  # it is the application that is slow
        if waited_s <= self.limits.header_timeout_s:
            return waited_s > self.limits.body_timeout_s
        return waited_s > self.limits.body_timeout_s or exchange.received < waited_s * MIN_BODY_RATE

    # The end

    def drain(self) -> None:
        """What is answered from now on says `connection: close`. Idle connections are closed a moment later: a proxy
        may have sent its next request there before it could know."""
        self.is_draining = True
        for connection in list(self.open):
            connection.close_when_quiet()

    def abort(self) -> None:
        """Drop every connection and cancel every request."""
        for exchange in list(self.running):
            if exchange.task is not None:
                exchange.task.cancel()
        for connection in list(self.open):
            connection.abort()


_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def _date_line(seconds: float) -> bytes:
    """`date: Sun, 06 Nov 1994 08:49:37 GMT`, without the import of `email` (RFC 9110 §5.6.7)."""
    t = time.gmtime(seconds)
    return b"date: %b, %02d %b %d %02d:%02d:%02d GMT\r\n" % (
        _DAYS[t.tm_wday], t.tm_mday, _MONTHS[t.tm_mon - 1], t.tm_year, t.tm_hour, t.tm_min, t.tm_sec,
    )  # fmt: skip

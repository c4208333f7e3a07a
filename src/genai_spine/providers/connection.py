"""One kept-alive HTTP/1.1 connection, and the exchange that is under way on it.

`Connection` is the side of the event loop: bytes come in, httptools reads them, the exchange is
filled. `Exchange` is the side of the caller's task: it writes the request, waits for the head, and
is the body's source. One waits, the other wakes it; there is at most one waiter.

No timer is made per wait. An exchange has one `deadline`, a number, and the transport looks at the
deadlines of all connections every `tick_s`; so a timeout is late by at most a tick, never early.

Must not know: pools (but the owner that it reports to), DNS, TLS, proxies.
Sources (read 2026-11): RFC 9112 §6.3 (where a body ends), §8 (incomplete messages), §9.3 (reuse),
RFC 9110 §15.2 (1xx come before the answer). llhttp is strict by default: CL with TE, bare LF and
bad chunk sizes are errors.
"""

from __future__ import annotations

import asyncio
from copy import copy
from math import inf
from typing import Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from genai_spine.model.errors import (
    APIConnectionError,
    BadReply,
    ProviderError,
    ProviderTimeout,
    StreamBroken,
)
from genai_spine.providers.outbox import Outbox
from genai_spine.providers.transport import Timeouts, total_timeout

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
BUFFER_BYTES = 256 * 1024
"""What a response may hold unread before the socket is no longer read; one read may overshoot it."""
WRITE_BYTES = 64 * 1024
STALE_WINDOW_S = 2.0
"""A kept-alive connection that breaks later than this after the request was not stale: the peer had it."""


class StaleConnection(Exception):
    """A reused connection was gone before one byte of an answer: the transport may try once more."""


class Owner(Protocol):
    """Whom a connection reports to: the pool's lane that opened it."""

    peer: str

    @property
    def is_busy(self) -> bool: ...
    def release(self, connection: Connection) -> None: ...
    def forget(self, connection: Connection) -> None: ...


class Exchange:
    """One request and its response. A `BodySource` once the head is there."""

    __slots__ = (
        "_loop", "_timeouts", "_total_deadline", "_waiter", "bodyless", "connection", "deadline", "error",
        "has_bytes", "headers", "is_ended", "is_sent", "parts", "peer", "phase", "sent_at", "size", "status",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        timeouts: Timeouts,
        total_deadline: float,
        bodyless: bool,
    ) -> None:
        self.connection: Connection | None = connection
        self.peer = connection.owner.peer
        self.bodyless = bodyless
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.size = 0
        self.error: Exception | None = None
        """Copies of it are raised: itself and the frames that it passes would keep each other alive, and the prompt."""
        self.has_bytes = False
        self.is_ended = False
        self.is_sent = False
        self.sent_at = inf
        self.phase = ""
        self.deadline = total_deadline
        self._total_deadline = total_deadline
        self._timeouts = timeouts
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    # The caller's side

    async def send(self, head: bytes, body: bytes, outbox: Outbox) -> None:
        """Write the request and wait for the response's head, which may come before all is written."""
        connection = self.connection
        if connection is None or connection.transport is None or connection.transport.is_closing():
            self.lose(None, connection is not None and connection.is_reused, False)
        elif len(body) <= WRITE_BYTES:
            self.is_sent = True
            write = outbox.put if connection.owner.is_busy else outbox.write
            write(connection.transport, head + body)
        else:
            await self._send_large(connection.transport, head, body, outbox)
        self.sent_at = self._loop.time()  # the first-byte clock starts here
        while not self.status and self.error is None:
            await self._wait(self._timeouts.first_byte_s, "first_byte_timeout")
        if self.error is not None and not self.status:
            raise copy(self.error)

    async def _send_large(self, transport: asyncio.WriteTransport, head: bytes, body: bytes, outbox: Outbox) -> None:
        """Write by slices, as fast as the peer takes them; stop when it has answered already."""
        outbox.put(transport, head)
        view = memoryview(body)
        for start in range(0, len(body), WRITE_BYTES):
            while self.connection is not None and self.connection.is_write_paused and not self.status:
                await self._wait(self._timeouts.idle_s, "idle_timeout")
            if self.status or self.connection is None:
                return
            outbox.put(transport, view[start : start + WRITE_BYTES])
        self.is_sent = True

    async def receive(self) -> bytes:
        """`BodySource.receive`: what came before a failure is given out before the failure is raised."""
        while not self.parts:
            if self.error is not None:
                raise copy(self.error)
            if self.is_ended:
                return b""
            await self._wait(self._timeouts.idle_s, "idle_timeout")
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.size = 0
        if self.connection is not None and self.connection.is_read_paused:
            self.connection.resume_reading()
        return data

    @property
    def is_over(self) -> bool:
        """`BodySource.is_over`."""
        return self.is_ended and not self.parts

    def close(self) -> None:
        """`BodySource.close`."""
        connection = self.connection
        if connection is not None:
            self.fail(APIConnectionError(f"{self.peer}: the response was closed by its reader", retryable=False))
            connection.abort()
        self.parts.clear()

    def abandon(self) -> None:
        """`BodySource.abandon`: only the loop's own thread may touch the socket."""
        if self.connection is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def take(self, most: int) -> bytes | None:
        """`BodySource.take`."""
        parts = self.parts
        if not self.is_ended or len(parts) != 1 or len(parts[0]) > most:
            return None
        self.size = 0
        return parts.pop()

    async def _wait(self, limit_s: float | None, phase: str) -> None:
        self._waiter = waiter = self._loop.create_future()
        self.phase = phase
        if limit_s is not None:
            self.deadline = min(self._loop.time() + limit_s, self._total_deadline)
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None
            self.deadline = self._total_deadline

    # The event loop's side

    def wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """End with an error; the first one stands. The connection is no longer ours."""
        if self.error is None and not self.is_ended:
            self.error = error
        self.connection = None
        self.wake()

    def end(self) -> None:
        self.is_ended = True
        self.connection = None
        self.wake()

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        if now >= self._total_deadline:
            self.fail(total_timeout(f"{self.peer}: not done within {self._timeouts.total_s:g} s", self._timeouts))
            return
        if self.phase == "first_byte_timeout":
            code, what = self.phase, f"no answer within {self._timeouts.first_byte_s:g} s"
        elif self.is_sent:
            code, what = self.phase, f"silent for {self._timeouts.idle_s:g} s inside the answer"
        else:
            code, what = self.phase, f"took no bytes of the request for {self._timeouts.idle_s:g} s"
        self.fail(ProviderTimeout(f"{self.peer}: {what}", code=code))

    def lose(self, reason: Exception | None, reused: bool, ends_at_eof: bool) -> None:
        """The connection is gone: `reason` is None for an orderly end, else what broke it."""
        how = "closed the connection" if reason is None else f"broke the connection ({describe(reason)})"
        error: Exception
        if self.status:
            if reason is None and ends_at_eof:
                return self.end()
            if reason is None:
                error = StreamBroken(f"{self.peer}: {how} before the end of the answer")
            else:
                error = APIConnectionError(f"{self.peer}: {how} inside the answer", code="connection_reset")
        elif self.has_bytes:
            error = BadReply(f"{self.peer}: {how} inside the answer's head")
        elif reused and min(self.sent_at, self._loop.time()) + STALE_WINDOW_S >= self._loop.time():
            error = StaleConnection()
        else:
            error = APIConnectionError(f"{self.peer}: {how} before answering", code="connection_reset")
        return self.fail(error)


class Connection(asyncio.Protocol):
    """The protocol that asyncio calls. `exchange` is None while it is idle in the pool."""

    __slots__ = (
        "_barren_bytes", "_fields", "_is_complete", "_is_interim", "_is_surplus", "_keeps_alive", "_parser",
        "deadline", "exchange", "is_read_paused", "is_reused", "is_write_paused", "loop", "owner",
        "transport",
    )  # fmt: skip

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.deadline = inf
        self.is_reused = False
        self.is_read_paused = False
        self.is_write_paused = False
        self._parser: HttpResponseParser | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._barren_bytes = 0
        self._is_complete = False
        self._is_interim = False
        self._is_surplus = False
        self._keeps_alive = False

    @property
    def is_usable(self) -> bool:
        return self.exchange is None and self.transport is not None and not self.transport.is_closing()

    def begin(self, timeouts: Timeouts, total_deadline: float, bodyless: bool) -> Exchange:
        """Start an exchange. `bodyless`: the response has no body whatever it says (HEAD)."""
        if self._parser is None:
            self._parser = HttpResponseParser(self)
        self._is_complete = False
        self._barren_bytes = 0
        self.exchange = exchange = Exchange(self, self.loop, timeouts, total_deadline, bodyless)
        return exchange

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""
        if self.transport is not None:
            self.transport.abort()

    def resume_reading(self) -> None:
        self.is_read_paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def check_deadline(self, now: float) -> None:
        exchange = self.exchange
        if (self.deadline if exchange is None else exchange.deadline) <= now:
            if exchange is not None:
                exchange.expire(now)
            self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes | memoryview) -> None:
        exchange = self.exchange
        if exchange is None or exchange.connection is None:
            # Nothing was asked (RFC 9112 §9.2), or nobody listens any more.
            self.abort()
            return
        exchange.has_bytes = True
        size = exchange.size
        try:
            self._parser.feed_data(data)  # type: ignore[union-attr]  # made by begin()
        except HttpParserUpgrade:
            exchange.error = BadReply(f"{exchange.peer}: switched to another protocol unasked")
        except HttpParserError as error:
            if self._is_complete:
                self._is_surplus = True
            else:
                exchange.error = BadReply(f"{exchange.peer}: not HTTP/1.1: {error}")
        if exchange.error is not None:
            self._drop(exchange, exchange.error)
        elif self._barren_bytes + len(data) > MAX_HEAD_BYTES and _size(exchange.headers) > MAX_HEAD_BYTES:
            exchange.status = 0
            self._drop(exchange, BadReply(f"{exchange.peer}: more than {MAX_HEAD_BYTES} bytes of headers"))
        elif self._is_complete:
            self._complete(exchange)
        elif exchange.size == size:
            # Heads, trailers and chunk extensions grow without a byte of body: bounded together.
            self._barren_bytes += len(data)
            if self._barren_bytes > MAX_HEAD_BYTES:
                self._drop(exchange, BadReply(f"{exchange.peer}: more than {MAX_HEAD_BYTES} bytes of headers"))
            elif exchange.status:
                exchange.wake()
        else:
            self._barren_bytes = 0
            if exchange.size > BUFFER_BYTES and not self.is_read_paused and self.transport is not None:
                self.is_read_paused = True
                self.transport.pause_reading()
            exchange.wake()

    def eof_received(self) -> None:
        # Told at once: an orderly close would wait until what we still write has gone.
        self._lose(None)
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)
        self.transport = None
        self._parser = None  # it holds our bound methods: a cycle
        self.owner.forget(self)

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.exchange is not None:
            self.exchange.wake()

    # HttpResponseParser

    def on_message_begin(self) -> None:
        if self._is_complete:
            self._is_surplus = True
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange, parser = self.exchange, self._parser
        if self._is_complete or exchange is None or parser is None:
            return
        status = parser.get_status_code()
        fields = self._fields
        self._fields = []  # trailers go there, and nowhere
        if len(fields) > MAX_HEADERS:
            exchange.error = BadReply(f"{exchange.peer}: more than {MAX_HEADERS} headers")
        elif status < 100:
            exchange.error = BadReply(f"{exchange.peer}: status {status:03}, which HTTP does not have")
        self._is_interim = 100 <= status < 200
        if not self._is_interim:
            exchange.headers = fields
            exchange.status = status if exchange.error is None else 0
            if exchange.bodyless:
                self._is_complete = True
                self._keeps_alive = False

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None and not self._is_complete:
            exchange.parts.append(data)
            exchange.size += len(data)

    def on_message_complete(self) -> None:
        if not self._is_interim and not self._is_complete:
            self._is_complete = True
            self._keeps_alive = self._parser is not None and self._parser.should_keep_alive()

    # Ends

    def _complete(self, exchange: Exchange) -> None:
        self.exchange = None
        if self._is_surplus and not exchange.bodyless:
            # Content-Length was too short, or the peer answers what was not asked.
            self._drop(exchange, BadReply(f"{exchange.peer}: bytes after the end of the answer"))
            return
        if self._keeps_alive and exchange.is_sent:
            if self.is_read_paused:
                self.resume_reading()
            self.is_reused = True
            exchange.end()
            self.owner.release(self)
        else:
            exchange.end()
            self.abort()

    def _drop(self, exchange: Exchange, error: Exception) -> None:
        exchange.fail(error)
        self.abort()

    def _lose(self, reason: Exception | None) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.connection is not None:
            framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in exchange.headers)
            exchange.lose(reason, self.is_reused, not framed)
        self.exchange = None


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """The same, reading into memory that all connections of a loop share: nothing is kept of it between two reads."""

    __slots__ = ("_buffer",)

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop, buffer: memoryview) -> None:
        super().__init__(owner, loop)
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])


def _size(fields: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in fields)


def describe(error: BaseException) -> str:
    """What went wrong, in the words of the system or the class's name; never what was sent."""
    match error:
        case ConnectionRefusedError():
            return "refused"
        case ConnectionResetError():
            return "reset by peer"
        case BrokenPipeError():
            return "broken pipe"
        case OSError(strerror=str(text)):
            return text
        case ProviderError():
            return error.message
        case _:
            return type(error).__name__

"""Our own transport: HTTP/1.1 on asyncio (or uvloop) and httptools, one pool lane for each origin.

The path of a request reads from top to bottom in `send`. One timer for all: every `tick_s` the
deadlines of all connections are compared with the clock, so first-byte, idle and total timeouts
may be late by one tick; connect and pool timeouts are exact.

A transport belongs to the event loop that first used it. Chosen over clients from elsewhere because
a gateway must know whether a byte was sent or read, hold nothing back, and cost little
(docs/libraries.md). What it does not speak: HTTP/2, SOCKS, https:// proxies, cookies, redirects.

Must not know: providers, models, dialects. Sources: RFC 9110, RFC 9112 (read 2026-11).
"""

from __future__ import annotations

import asyncio
from math import inf

from genai_spine.providers.connection import Connection, StaleConnection
from genai_spine.providers.dial import Dialer, Resolve, resolve
from genai_spine.providers.outbox import Outbox
from genai_spine.providers.pool import Lane, PoolLimits, closed_error
from genai_spine.providers.proxies import NO_PROXIES, Proxies
from genai_spine.providers.transport import HttpRequest, HttpResponse, Timeouts
from genai_spine.wire.http import Url, encode_head, encode_headers, finish_head

TICK_S = 0.25
CLOSE_S = 2.0


class HttpTransport:
    """The default `Transport`. Certificates are always verified: against `ca_file`, else certifi's roots."""

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        proxies: Proxies = NO_PROXIES,
        ca_file: str | None = None,
        resolve: Resolve = resolve,
        tick_s: float = TICK_S,
    ) -> None:
        self._limits = PoolLimits() if limits is None else limits
        self._dialer = Dialer(proxies=proxies, ca_file=ca_file, resolve=resolve)
        self._tick_s = tick_s
        self._lanes: dict[tuple[str, str, int], Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: Outbox
        self._ticker: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(self, request: HttpRequest) -> HttpResponse:
        """`Transport.send`."""
        url, timeouts = request.url, request.timeouts
        lane = self._lanes.get((url.scheme, url.host, url.port)) or self._new_lane(url)
        head = finish_head(self._encode_head(request), request.method, len(request.body))
        loop = self._running_loop()
        deadline = inf if timeouts.total_s is None else loop.time() + timeouts.total_s
        connection = lane.take() or await self._acquire(lane, timeouts, deadline)
        is_bodyless = request.method == "HEAD"
        try:
            exchange = connection.begin(timeouts, deadline, is_bodyless)
            await exchange.send(head, request.body, self._outbox)
        except StaleConnection:
            # The peer closed it while we wrote (RFC 9112 §9.3.1). Once, and on a new one.
            connection = await self._acquire(lane, timeouts, deadline, fresh=True)
            exchange = connection.begin(timeouts, deadline, is_bodyless)
            await exchange.send(head, request.body, self._outbox)
        return HttpResponse(exchange.status, exchange.headers, exchange)

    async def close(self) -> None:
        """`Transport.close`. Returns when the sockets are closed."""
        self._is_closed = True
        for lane in self._lanes.values():
            lane.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                # connection_lost comes some turns of the loop after abort(); no event would be simpler.
                while any(lane.connections for lane in self._lanes.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0)
        except TimeoutError:
            pass
        if self._ticker is not None:
            self._ticker.cancel()
        self._lanes.clear()

    async def _acquire(self, lane: Lane, timeouts: Timeouts, deadline: float, fresh: bool = False) -> Connection:
        connect_s, pool_s = timeouts.connect_s, timeouts.pool_s
        if timeouts.total_s is not None:
            left_s = max(deadline - self._running_loop().time(), 0.0)
            connect_s = left_s if connect_s is None else min(connect_s, left_s)
            pool_s = left_s if pool_s is None else min(pool_s, left_s)
        return await lane.acquire(connect_s, pool_s, fresh)

    def _encode_head(self, request: HttpRequest) -> bytes:
        url = request.url
        proxy = self._dialer.proxies.find(url) if url.scheme == "http" else None
        headers, unique = request.headers, b""
        if request.unique:
            headers, unique = headers[: -request.unique], encode_headers(headers[-request.unique :])
        if proxy is None:
            return encode_head(request.method, url, headers) + unique
        head = encode_head(request.method, url, headers, absolute=True) + unique
        if proxy.authorization is not None:
            head += f"proxy-authorization: {proxy.authorization}\r\n".encode()
        return head

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and any(not lane.is_empty for lane in self._lanes.values()):
                raise RuntimeError("a transport belongs to the event loop that first used it")
            self._loop = loop
            self._outbox = Outbox(loop)
            self._ticker = None
        return loop

    def _new_lane(self, url: Url) -> Lane:
        if self._is_closed:
            raise closed_error(url.peer)

        async def open_connection(lane: Lane, connect_s: float | None) -> Connection:
            connection = await self._dialer.dial(url, lane, connect_s)
            if self._ticker is None:
                self._ticker = connection.loop.call_later(self._tick_s, self._tick)
            return connection

        lane = Lane(url.peer, self._limits, open_connection)
        self._lanes[url.scheme, url.host, url.port] = lane
        return lane

    def _tick(self) -> None:
        """Compare every deadline with the clock; sleep again while there is any connection."""
        assert self._loop is not None
        self._ticker = None
        now = self._loop.time()
        any_left = False
        for lane in self._lanes.values():
            for connection in tuple(lane.connections):
                any_left = True
                connection.check_deadline(now)
        if any_left and not self._is_closed:
            self._ticker = self._loop.call_later(self._tick_s, self._tick)

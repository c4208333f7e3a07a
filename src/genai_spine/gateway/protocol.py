"""One HTTP/1.1 connection of a caller: what stands between the socket and the application.

httptools parses; this class bounds it (time, sizes, counts), refuses what could be read in two ways, and
hands each request to the application in a task of its own, in order. Refusals are JSON, then the
connection is closed. How the application talks back is in `exchange.py`, the clock in `connections.py`.

Why not uvicorn's HttpToolsProtocol: of its methods none was left unreplaced, and its timers, events and
writes were a good third of what a request cost: 31 µs of CPU, here 19 (bench/server_cost.py).

What llhttp refuses by itself, in httptools 0.6.4 and 0.9 alike (tests/gateway/test_protocol.py): double or
odd Content-Length, Content-Length with Transfer-Encoding, bare LF and CR, obs-fold, NUL, a space before
the colon, odd chunk sizes, unknown methods. Added here: Host, HTTP/0.9 and 2.0, Transfer-Encoding other
than `chunked`, and all limits.

Must not know: routes, dialects, keys.
Sources (read 2026-11): RFC 9112 §2.2, §3.2 (targets, Host), §6 (bodies), §9 (persistence, closing).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from math import inf
from typing import cast
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from genai_spine.gateway.connections import Connections
from genai_spine.gateway.exchange import LINGER_S, REFUSAL_HEAD, STATUS_LINES, HttpExchange, Scope, refusal_body
from genai_spine.gateway.known_head import KnownHead
from genai_spine.gateway.request_head import Refused, check_fields, split_target

MAX_URL_BYTES = 16 * 1024
BUFFER_BYTES = 64 * 1024
"""What a body may hold unread before the socket is no longer read; one read may overshoot it."""
MAX_PIPELINED = 16
"""Requests that wait behind one, before the socket is no longer read."""
MOST_PIPELINED = 1000
"""What one read may hold of them."""
QUIET_S = 1.0
"""How long an idle connection stays when the server drains: what crosses our close on its way is lost."""

_ASGI = {"version": "3.0", "spec_version": "2.4"}

logger = logging.getLogger("genai_spine.gateway")


class HttpConnection(asyncio.Protocol):
    __slots__ = (
        "_chunked_bytes", "_client", "_exchange", "_has_begun", "_head_bytes",
        "_headers", "_is_chunked", "_is_deaf", "_is_fresh", "_is_head_new", "_is_lingering", "_is_read_paused",
        "_known_head", "_known_host", "_left", "_lessons", "_parser", "_pipeline", "_reading", "_refusal",
        "_segment_bytes", "_server", "_starting", "_taken", "_url", "connections", "idle_since", "input_deadline", "ip",
        "is_write_paused", "output_deadline", "transport",
    )  # fmt: skip

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.transport: asyncio.Transport
        self.ip = ""
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        # Deadlines: of what the caller has to send, and of what it has to take
        self.input_deadline = inf
        self.output_deadline = inf
        self.idle_since = inf
        self.is_write_paused = False
        self._taken = 0
        self._is_read_paused = False
        self._is_deaf = False
        self._is_lingering = False
        self._is_fresh = True
        # The head that is being read
        self._has_begun = False
        self._is_head_new = False
        self._head_bytes = 0
        self._segment_bytes = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._known_host: bytes | None = None
        self._is_chunked = False
        self._known_head: KnownHead | None = None
        self._lessons = 4
        # The request whose body is being read, the one that is answered, and those behind it
        self._reading: HttpExchange | None = None
        self._left = 0
        self._chunked_bytes = 0
        self._starting: Scope | None = None
        self._exchange: HttpExchange | None = None
        self._pipeline: list[tuple[HttpExchange, Scope]] = []
        self._refusal: Refused | None = None

    # The transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if isinstance(peer, tuple):
            self._client = peer[0], peer[1]
            self.ip = peer[0]
        if isinstance(own, tuple):
            self._server = own[0], own[1]
        self.idle_since = self.connections.loop.time()
        self.input_deadline = self.idle_since + self.connections.limits.header_timeout_s
        reason = self.connections.admit(self)
        if reason:
            self._refuse(Refused(503, "too_many_connections", reason))
        elif reason is not None:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.forget(self)
        self._is_deaf = True
        self._parser = None
        self._pipeline.clear()
        self._reading = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.connections.unwatch_body(exchange)
            exchange.lose()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf or self._parser is None:
            return
        if self._left and not (data := self._read_left(data)):
            return
        is_next = self._exchange is None and not self._has_begun
        if is_next and self._known_head is not None and self._begin_known(self._known_head, data):
            return
        begun, is_again = data, is_next and not self._is_fresh
        while True:
            self._segment_bytes = len(data)
            try:
                self._parser.feed_data(data)
                break
            except HttpParserUpgrade as upgrade:
                data = self._without_upgrade(self._parser, data[upgrade.args[0] :])
            except HttpParserError as error:
                self._fail(error)
                return
        if self._starting is not None and self._exchange is not None:
            if is_again and self._lessons:  # many a connection is used once
                self._lessons -= 1
                self._known_head = KnownHead.of(begun, self._starting) or self._known_head
            self._start(self._exchange, self._starting)
        if self._has_begun:
            self._expect_rest_of_head(len(data))
        elif self._reading is not None and self._is_chunked:
            self._bound_chunks(self._reading, len(data))

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._taken = _bytes_taken(self.transport)
        self.output_deadline = self.connections.loop.time() + self.connections.limits.write_timeout_s

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if not self._is_deaf:
            self.output_deadline = inf
        if self._exchange is not None:
            self._exchange.wake_writer()

    # The parser's calls

    def on_message_begin(self) -> None:
        self._has_begun = self._is_head_new = True
        self._head_bytes = 0
        self._url = b""
        self._headers = []
        self._is_chunked = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > MAX_URL_BYTES:
            raise Refused(414, "uri_too_long", f"the request's URL is longer than {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise Refused(405, "method_not_allowed", "this is a gateway for LLMs, not an HTTP proxy")
            return
        version = parser.get_http_version()
        is_http10 = version == "1.0"
        if version != "1.1" and not is_http10:
            raise Refused(505, "http_version_not_supported", f"HTTP/{version} is not spoken here")
        headers = self._headers
        named = check_fields(headers, is_http10, self._known_host)
        self._known_host = named.get(b"host")
        self._is_chunked = b"transfer-encoding" in named
        if self._segment_bytes + self._head_bytes > self.connections.limits.max_header_bytes:
            self._check_head_size(self._measure_head())
        self._has_begun = False
        self._is_fresh = False
        self.idle_since = self.input_deadline = inf
        self._chunked_bytes = 0
        method = parser.get_method().decode()
        exchange = HttpExchange(
            self,
            method == "HEAD",
            is_http10,
            not is_http10 and parser.should_keep_alive(),
            b"expect" in named and named[b"expect"].lower() == b"100-continue" and not is_http10,
        )
        path, query = split_target(self._url)
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": self._server,
            "extensions": {"genai_spine.disconnect": exchange, "genai_spine.reply": exchange},
        }
        self._headers = []  # trailers are counted, and go nowhere
        self._reading = exchange
        if self._exchange is None:
            self._exchange = exchange
            self._starting = scope  # when all that came with the head has been read
        else:
            self._pipeline.append((exchange, scope))
            if len(self._pipeline) > MOST_PIPELINED:
                raise Refused(400, "too_many_pipelined", f"more than {MOST_PIPELINED} requests at once")
            if len(self._pipeline) >= MAX_PIPELINED:
                self._pause_reading()

    def on_body(self, body: bytes) -> None:
        exchange = self._reading
        if exchange is None:
            return
        exchange.parts.append(body)
        exchange.received += len(body)
        exchange.buffered += len(body)
        if exchange.buffered > BUFFER_BYTES:
            self._pause_reading()
        exchange.wake()

    def on_message_complete(self) -> None:
        exchange, self._reading = self._reading, None
        if exchange is None:
            return
        exchange.is_whole = True
        if exchange.waits_since:
            self.connections.unwatch_body(exchange)
            exchange.wake()

    # Of a head that is known

    def _begin_known(self, known: KnownHead, data: bytes) -> bool:
        """Whether a request has begun that needs no parser: all but its body was parsed before."""
        found = known.read(data)
        if found is None:
            return False
        scope, body, self._left = found
        self._exchange = exchange = HttpExchange(self, False, False, True, False)
        exchange.known_head = known
        scope["extensions"] = {"genai_spine.disconnect": exchange, "genai_spine.reply": exchange}
        self.idle_since = self.input_deadline = inf
        self._is_chunked = False
        self._reading = exchange
        if body:
            self.on_body(body)
        if not self._left:
            self.on_message_complete()
        self._start(exchange, scope)
        return True

    def _read_left(self, data: bytes) -> bytes:
        """The rest of such a request's body. What comes behind it is returned."""
        body = data[: self._left]
        self._left -= len(body)
        self.on_body(body)
        if not self._left:
            self.on_message_complete()
        return data[len(body) :]

    # Requests in and out

    def write(self, data: bytes) -> None:
        """Bytes for the caller. Where there are others, they leave with theirs, at the end of the loop's turn."""
        connections = self.connections
        write = connections.outbox.put if len(connections.running) > 1 else connections.outbox.write
        write(self.transport, data)

    def _start(self, exchange: HttpExchange, scope: Scope) -> None:
        self._starting = None
        connections = self.connections
        connections.running.add(exchange)
        # With a name of its own: one is made up for each task otherwise.
        exchange.task = asyncio.Task(exchange.run(connections.app, scope), loop=connections.loop, name="request")

    def finish_exchange(self, exchange: HttpExchange) -> None:
        """A response is complete: on to the next request, or to the end of the connection."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if not exchange.keep_alive:
            self._close(is_read=exchange.is_whole)
        elif self._pipeline:
            self._exchange, scope = self._pipeline.pop(0)
            self._start(self._exchange, scope)
            self.resume_reading()
        elif self._refusal is not None:
            self._refuse(self._refusal)
        else:
            now, limits = self.connections.loop.time(), self.connections.limits
            if self._has_begun:  # a head that came in part while it was not its turn
                self.input_deadline = now + limits.header_timeout_s
            else:
                self.idle_since, self.input_deadline = now, now + limits.idle_timeout_s
                if self.connections.is_draining:
                    self.close_when_quiet()
            self.resume_reading()

    def _without_upgrade(self, parser: HttpRequestParser, rest: bytes) -> bytes:
        """An upgrade that is not done is an ordinary request (RFC 9110 §7.8): the bytes to read it again as one.

        Java's HttpClient asks for h2c with every first POST; llhttp then gives no body.
        """
        version = parser.get_http_version().encode()
        kept = [b"%b: %b\r\n" % header for header in self._headers if header[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n%b\r\n" % (parser.get_method(), self._url, version, b"".join(kept))
        self._parser = HttpRequestParser(self)
        return head + rest

    def _expect_rest_of_head(self, size: int) -> None:
        """A head that came in part: its time runs, and what came of it counts."""
        limits = self.connections.limits
        if not self._is_head_new:
            self._head_bytes += size
        else:
            self._is_head_new = False
            self._head_bytes = min(size, self._measure_head())
            self.idle_since = inf
            if not self._is_fresh:
                self.input_deadline = self.connections.loop.time() + limits.header_timeout_s
        if self._head_bytes > limits.max_header_bytes:
            try:
                self._check_head_size(self._head_bytes)
            except Refused as refused:
                self._fail(refused)

    def _measure_head(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _check_head_size(self, size: int) -> None:
        limit = self.connections.limits.max_header_bytes
        if size > limit:
            raise Refused(431, "headers_too_large", f"the request's head is larger than {limit} bytes")

    def _bound_chunks(self, exchange: HttpExchange, size: int) -> None:
        """Chunk extensions and trailers are read by nobody: they may not be endless."""
        self._chunked_bytes += size
        if self._chunked_bytes > 8 * exchange.received + self.connections.limits.max_header_bytes:
            self._fail(Refused(400, "bad_request", "the request's chunks are all extension and no body"))

    # Refusals and the end

    def _fail(self, error: Exception) -> None:
        """What came cannot be read on: answer it in its turn, and listen no more."""
        cause = error if isinstance(error, Refused) else error.__context__
        if not isinstance(cause, Refused):
            cause = Refused(400, "bad_request", f"the request is not HTTP/1.1: {error}")
        self._is_deaf = True
        broken, self._reading = self._reading, None
        if self._starting is not None and self._exchange is not None and self._exchange is not broken:
            self._start(self._exchange, self._starting)
        if self._exchange is None:
            self._refuse(cause)
        elif broken is None or broken is not self._exchange:
            self._pipeline = [waiting for waiting in self._pipeline if waiting[0] is not broken]
            self._refusal = cause
        else:
            self._exchange, self._starting = None, None
            self.connections.unwatch_body(broken)
            if broken.is_head_sent:
                self.abort()
            else:
                self._refuse(cause)
            broken.lose()

    def _refuse(self, refused: Refused) -> None:
        logger.info("refused a request from %s: %d %s", self.ip, refused.status, refused.message)
        body = refusal_body(refused.status, refused.code, refused.message)
        retry = b"retry-after: 1\r\n" if refused.status == 503 else b""
        head = STATUS_LINES[refused.status] + self.connections.date_line + REFUSAL_HEAD + retry
        self.write(head + b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
        self._close(is_read=False)

    def _close(self, is_read: bool) -> None:
        """Close when all is written. If the caller still sends, closing would reset what it has not read."""
        self._is_deaf = True
        self.connections.outbox.flush()
        self.idle_since = self.input_deadline = inf
        now = self.connections.loop.time()
        self._taken = _bytes_taken(self.transport)
        if is_read:
            self.output_deadline = now + self.connections.limits.write_timeout_s
            self.transport.close()
        else:
            self._is_lingering = True
            self.output_deadline = now + LINGER_S
            self._pipeline.clear()
            self.resume_reading()
            if not self.transport.is_closing():
                self.transport.write_eof()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self._is_deaf = True
        self.transport.abort()

    def close_when_quiet(self) -> None:
        """The server drains: closed, unless a request comes within `QUIET_S`, whose response then says that it was the
        last. One whose head is sent already has not said so."""
        self.connections.loop.call_later(QUIET_S, self._close_if_quiet)

    def _close_if_quiet(self) -> None:
        if self._exchange is None and not self._has_begun and not self._is_deaf:
            self._close(is_read=True)

    def check_deadlines(self, now: float) -> None:
        """Called by the sweep when a deadline has passed."""
        if self.output_deadline < now:
            taken = _bytes_taken(self.transport)
            if taken > self._taken and not self._is_lingering:
                self._taken = taken
                self.output_deadline = now + self.connections.limits.write_timeout_s
            else:
                self.abort()
        elif self._has_begun and self._exchange is None:
            self._refuse(Refused(408, "request_timeout", "the request's head did not come in time"))
        elif self._exchange is None:
            self._close(is_read=True)
        else:
            self.input_deadline = inf  # the head of a pipelined request: its turn has not come

    def _pause_reading(self) -> None:
        if not self._is_read_paused:
            self._is_read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._is_read_paused and len(self._pipeline) < MAX_PIPELINED:
            self._is_read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()


def _bytes_taken(transport: asyncio.Transport) -> int:
    """A number that grows while the caller takes what we send.

    On Linux what its kernel has acknowledged: `tcpi_bytes_acked`, a u64 at 120 (linux/tcp.h). Elsewhere
    what the transport got rid of, which grows only when a whole write is done.
    """
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None:
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        except OSError:
            return 0
        if len(info) >= 128:
            return int.from_bytes(info[120:128], sys.byteorder)
    return -transport.get_write_buffer_size()

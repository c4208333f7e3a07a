"""One request and its response, as the application sees them.

An application of plain ASGI uses `receive` and `send` and needs to know nothing of this module. Two
extensions of the scope, both this same object, give what ASGI has no word for:

- `scope["extensions"]["genai_spine.disconnect"]`: set `callback`, and it is called once, at once, when
  the client goes away before the response is complete. `is_disconnected` says whether it already has.
- `scope["extensions"]["genai_spine.reply"]`: `reply(status, head, body)` writes a whole response;
  `start`, `write`, `drain` and `finish` write a stream. They are what `send` itself stands on, without
  a message, a coroutine and a list of headers in between. `head` comes from `encode_headers`.

The head of a response goes out with the first byte of its body, as ASGI has it: one write, one packet.
Must not know: parsing, timeouts' clocks, dialects.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genai_spine.gateway.known_head import KnownHead
    from genai_spine.gateway.protocol import HttpConnection

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_S = 2.0
"""How long what a refused caller still sends is thrown away, so that it can read why (RFC 9112 §9.6)."""
ONE_WRITE_BYTES = 64 * 1024
"""Up to here head and body are joined into one write; beyond, copying costs more than a second write."""
BODYLESS = frozenset({204, 304})
STATUS_LINES = {
    **{code: b"HTTP/1.1 %d \r\n" % code for code in range(200, 600)},
    **{status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus},
}
# RFC 9110 §5.1, §5.5: a name is a token; a value has no CR, LF or NUL, or it would end too early.
_HEADER_BLOCK = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")

logger = logging.getLogger("genai_spine.gateway")


class SlowBody(TimeoutError):
    """The caller did not send the body in time: raised by `receive`; 408 if nobody catches it."""


def encode_headers(headers: Collection[tuple[bytes, bytes]]) -> bytes:
    """The lines of a response's head, each with its CRLF.

    Raises: ValueError for a name that is no token or a value with a control character.
    """
    block = b"".join([b"%b: %b\r\n" % header for header in headers])
    if block.count(b"\n") != len(headers) or _HEADER_BLOCK.fullmatch(block) is None:
        raise ValueError("a response header has a character that headers cannot have")
    return block


class HttpExchange:
    """The state of one request and its response; `connection` does the writing."""

    __slots__ = (
        "_announced", "_drained", "_expects_continue", "_has_begun", "_head", "_is_chunked", "_is_delivered",
        "_left", "_news", "buffered", "callback", "connection", "is_complete", "is_disconnected",
        "is_head_method", "is_head_sent", "is_http10", "is_slow", "is_whole", "keep_alive", "known_head", "parts",
        "received", "task", "waits_since",
    )  # fmt: skip

    def __init__(
        self,
        connection: HttpConnection,
        is_head_method: bool,
        is_http10: bool,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.connection = connection
        self.callback: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_disconnected = False
        self.keep_alive = keep_alive
        self.known_head: KnownHead | None = None
        """What is known of its head, where the one before it on the connection had the same."""
        self.is_http10 = is_http10
        # The request's body
        self.parts: list[bytes] = []
        self.buffered = 0
        self.received = 0
        self.is_whole = False
        self.is_slow = False
        self.waits_since = 0.0
        self._is_delivered = False
        self._expects_continue = expects_continue
        self._news: asyncio.Future[None] | None = None
        # The response
        self.is_head_method = is_head_method
        self.is_head_sent = False
        self.is_complete = False
        self._announced: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._has_begun = False
        self._head = b""
        self._is_chunked = False
        self._left: int | None = None
        self._drained: asyncio.Future[None] | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """The application's task: whatever it does, the connection is left in a state that is clear."""
        try:
            if self.connection.is_write_paused:
                await self.drain()  # who takes no answers and asks on would have them all kept here
            if not self.is_disconnected:
                await app(scope, self.receive, self.send)
        except SlowBody as error:
            if not self.is_head_sent:
                self.refuse(408, "request_timeout", str(error))
        except asyncio.CancelledError:
            pass  # the client has gone, or the server ends: both are known to those who must know
        except Exception as error:
            logger.error("the application failed", exc_info=error)
        finally:
            self.task = None
            self.connection.connections.running.discard(self)
            if not self.is_complete and not self.is_disconnected:
                if not self.is_head_sent:
                    self.refuse(500, "internal_error", "the gateway failed to answer; its log says why")
                else:
                    self.connection.abort()

    # What the application calls: plain ASGI

    async def receive(self) -> Message:
        """The next piece of the body, then `http.disconnect`.

        Raises: SlowBody if the caller takes longer than `server.body_timeout`, or sends next to nothing.
        """
        while not self.is_disconnected and not self.is_complete:
            if self.parts or (self.is_whole and not self._is_delivered):
                return {"type": "http.request", "body": self.take(), "more_body": not self.is_whole}
            if self.is_slow:
                raise SlowBody("the request's body did not come in time (server.body_timeout)")
            await self._wait_for_news()
        return {"type": "http.disconnect"}

    def take(self) -> bytes:
        """What has come of the body and was not taken. `is_whole` says whether that is its end."""
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.buffered = 0
        self._is_delivered = self.is_whole
        self.connection.resume_reading()
        return body

    async def _wait_for_news(self) -> None:
        connection = self.connection
        if not self.is_whole:
            if self._expects_continue and not self.is_head_sent:  # RFC 9110 §10.1.1
                connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
            connection.connections.watch_body(self)
        if self._news is None or self._news.done():
            self._news = connection.connections.loop.create_future()
        await self._news

    async def send(self, message: Message) -> None:
        if self.connection.is_write_paused:
            await self.drain()
        if self.is_disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self._announced is not None:
            self._send_first(*self._announced, message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.body" and message.get("more_body", False):
            self.write(message.get("body", b""))
        elif kind == "http.response.body":
            self.finish(message.get("body", b""))
        elif kind == "http.response.start" and self._announced is None and not self._has_begun:
            self._announced = message["status"], list(message.get("headers", ()))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _send_first(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, more_body: bool) -> None:
        head, length = self._read_headers(headers)
        self._announced = None
        if not more_body and (length is None or length == len(body)):
            self.reply(status, head, body)
            return
        self.start(status, head, length)
        if more_body:
            self.write(body)
        else:
            self.finish(body)

    def _read_headers(self, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, int | None]:
        """The headers' lines but for those that are ours to write, and the declared length."""
        length = None
        kept = []
        for name, value in headers:
            match name.lower():
                case b"content-length":
                    length = int(value)
                case b"transfer-encoding" | b"date":
                    pass
                case b"connection":
                    self.keep_alive = self.keep_alive and b"close" not in value.lower()
                case _:
                    kept.append((name, value))
        return encode_headers(kept), length

    # What the application may call instead: the extension `genai_spine.reply`

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Write a whole response; `head` without content-length, date and connection, which are added."""
        self._begin()
        if self.is_disconnected:
            return
        connection = self.connection
        ending = b"\r\n" if self._stays_open() else b"connection: close\r\n\r\n"
        length = b"" if status in BODYLESS else b"content-length: %d\r\n" % len(body)
        if self.is_head_method or not length:
            body = b""
        self.is_head_sent = True
        parts = (STATUS_LINES[status], connection.connections.date_line, head, length, ending)
        if len(body) <= ONE_WRITE_BYTES:
            connection.write(b"".join((*parts, body)))
        else:
            connection.write(b"".join(parts))
            connection.write(body)
        self._complete()

    def start(self, status: int, head: bytes, length: int | None = None) -> None:
        """Begin a stream. Its head goes out with the first `write`; `write(b"")` sends the head alone."""
        self._begin()
        if self.is_head_method or status in BODYLESS:
            self._left = None if self.is_head_method else 0
            framing = b"" if length is None or status in BODYLESS else b"content-length: %d\r\n" % length
        elif length is not None:
            self._left = length
            framing = b"content-length: %d\r\n" % length
        elif self.is_http10:
            self.keep_alive = False  # RFC 9112 §6.3: the end of the connection is the end of the body
            framing = b""
        else:
            self._is_chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        ending = b"\r\n" if self._stays_open() else b"connection: close\r\n\r\n"
        date = self.connection.connections.date_line
        self._head = b"".join((STATUS_LINES[status], date, head, framing, ending))

    def write(self, chunk: bytes) -> bool:
        """Write a piece of a stream; True if the client is slow and `drain` must be awaited before more."""
        if self.is_disconnected:
            return False
        data = self._frame(chunk)
        if data:
            self.connection.write(data)
        return self.connection.is_write_paused

    def finish(self, chunk: bytes = b"") -> None:
        """Write the last piece of a stream and end it."""
        if self.is_disconnected:
            return
        data = self._frame(chunk)
        if self._is_chunked:
            data += b"0\r\n\r\n"
        if self._left:
            raise RuntimeError("the response is shorter than its content-length")
        if data:
            self.connection.write(data)
        self._complete()

    async def drain(self) -> None:
        """Wait until the client has taken enough, or has gone."""
        while self.connection.is_write_paused and not self.is_disconnected:
            if self._drained is None or self._drained.done():
                self._drained = self.connection.connections.loop.create_future()
            await self._drained

    def _begin(self) -> None:
        if self._has_begun or self._announced is not None:
            raise RuntimeError("the response has begun already")
        self._has_begun = True

    def _stays_open(self) -> bool:
        """Whether the connection lives on: not with a body that nobody reads, and not while draining."""
        if not self.is_whole or self.connection.connections.is_draining:
            self.keep_alive = False
        return self.keep_alive

    def _frame(self, chunk: bytes) -> bytes:
        if not self._has_begun or self.is_complete:
            raise RuntimeError("the response has not begun, or has ended")
        if self.is_head_method:
            chunk = b""
        elif self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        elif self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise RuntimeError("the response is longer than its content-length")
        if not self.is_head_sent:
            self.is_head_sent = True
            chunk = self._head + chunk
            self._head = b""
        return chunk

    def _complete(self) -> None:
        self.is_complete = True
        self.callback = None
        self.wake()
        self.connection.finish_exchange(self)

    # What the connection calls

    def wake(self) -> None:
        """There is something new to receive: bytes, the end, a timeout."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def lose(self) -> None:
        """The client has gone: tell the application, once."""
        if self.is_disconnected or self.is_complete:
            return
        self.is_disconnected = True
        self.wake()
        self.wake_writer()
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer in the application's stead, and close."""
        self._announced = None
        self._has_begun = False
        self.keep_alive = False
        self.reply(status, REFUSAL_HEAD, refusal_body(status, code, message))


REFUSAL_HEAD = b"content-type: application/json\r\n"


def refusal_body(status: int, code: str, message: str) -> bytes:
    """An error in OpenAI's shape, where no dialect is known yet; `message` is ours, plain ASCII."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    text = message.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{"error":{{"message":"{text}","type":"{kind}","code":"{code}","param":null}}}}'.encode()

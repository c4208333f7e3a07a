"""One HTTP request and its answer, on bare ASGI.

On our own server its exchange (exchange.py) is used directly: a callback when the caller leaves, in place of
a task that waits for it, and answers written in one go. On any other server, plain ASGI does the same. Must
not know: dialects, the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol

from genai_spine.engine.ids import Ids
from genai_spine.gateway.exchange import LINGER_S, HttpExchange, Receive, Scope, Send
from genai_spine.gateway.known_head import KnownHead
from genai_spine.model.errors import InvalidRequest, SpineError

HeaderList = list[tuple[bytes, bytes]]

JSON = b"application/json"
LONGEST_VALUE = 1000
"""Of a header's value made of a text."""
CLOSING = frozenset({408, 413, 415})
"""Statuses after which the connection closes: what is left of the request's body is not worth reading."""

_ids = Ids("req_")


class CallerGone(Exception):
    """The caller closed the connection before its request was whole."""


class Framing(Protocol):
    """Makes something else of a stream's events, as a caller wants them."""

    CONTENT_TYPE: bytes

    def add(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def only(self, element: bytes) -> bytes:
        """All of it where there is no stream."""
        ...


class Request:
    """What a handler needs of one request. `id` names it in answers and logs."""

    __slots__ = (
        "_is_writing",
        "_leave",
        "_own",
        "_poke",
        "_receive",
        "_send",
        "_task",
        "_watcher",
        "begun",
        "bytes_out",
        "extra_headers",
        "framing",
        "headers",
        "id",
        "is_gone",
        "is_started",
        "method",
        "notes",
        "path",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        root = scope.get("root_path")
        self.path: str = _path_under(root, scope["path"]) if root else scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = _ids.new()
        self.begun = time.perf_counter()
        self.status = 0
        self.bytes_out = 0
        self.is_started = False
        self.is_gone = False
        """Whether the caller has left, and `when_gone` was told."""
        self.notes = ""
        """For the access log: who answered."""
        self.extra_headers: HeaderList = []
        """On every answer to this request, whatever it is."""
        self.framing: Framing | None = None
        # Our own server's exchange: both of its extensions are the same object (exchange.py).
        self._own: HttpExchange | None = (scope.get("extensions") or {}).get("genai_spine.reply")
        self._watcher: asyncio.Task[None] | None = None
        self._leave: Callable[[], object] | None = None
        self._is_writing = False
        self._task: asyncio.Task[Any] | None = None

    # ------------------------------------------------------------ in

    def values(self, names: Set[bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """The headers of these names that were sent, sorted; one sent twice is one list (RFC 9110 §5.3)."""
        if names.isdisjoint(self.headers):
            return ()
        return tuple(
            (name, b", ".join([value for key, value in self.scope["headers"] if key == name]))
            for name in sorted(names & self.headers.keys())
        )

    async def body(self, max_bytes: int, timeout_s: float) -> bytes:
        """The whole body.

        Raises: InvalidRequest with status 413 (before reading, where the length is said), 408 or 415;
        CallerGone.
        """
        encoding = self.headers.get(b"content-encoding", b"identity")
        if encoding.strip().lower() not in (b"identity", b""):
            raise InvalidRequest(
                "compressed request bodies are not taken: send the JSON as it is",
                status_code=415,
                code="unsupported_encoding",
            )
        length = self.headers.get(b"content-length")
        if length is not None and int(length) > max_bytes:
            raise _too_large(max_bytes)
        try:
            if self._own is not None:  # our own server watches the clock itself, and how fast the bytes come
                if self._own.is_whole and not self._own.is_disconnected and self._own.received <= max_bytes:
                    return self._own.take()
                return await self._read_body(max_bytes)
            async with asyncio.timeout(timeout_s):
                return await self._read_body(max_bytes)
        except TimeoutError:
            raise InvalidRequest(
                f"the request's body did not arrive in time ({timeout_s:g} s, server.body_timeout)",
                status_code=408,
                code="request_timeout",
            ) from None

    async def _read_body(self, max_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise CallerGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)

    @property
    def known_head(self) -> KnownHead | None:
        """What is known of its head, where our own server has seen the same one before."""
        return self._own.known_head if self._own is not None else None

    @property
    def task(self) -> asyncio.Task[Any]:
        """The task that handles this request. Our own server knows it; asyncio makes a system call to tell."""
        task = (self._own.task if self._own is not None else None) or self._task
        if task is None:
            task = self._task = asyncio.current_task()
        assert task is not None, "a request is handled in a task"
        return task

    def cancel_when_gone(self) -> None:
        """From now on this task is cancelled when the caller leaves. Call it when the body is read."""
        self.when_gone(self.task.cancel)

    def when_gone(self, leave: Callable[[], object]) -> None:
        """Call `leave` when the caller leaves, in place of what was to be called before."""
        self._leave = leave
        if self._own is not None:
            self._own.callback = self._gone
            if self._own.is_disconnected and not self.is_gone:
                self._gone()
        elif self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        self.is_gone = True
        if self._leave is not None:
            self._leave()

    def done(self) -> None:
        """The answer is out: the caller may go."""
        if self._own is not None:
            self._own.callback = None
        elif self._watcher is not None:
            self._watcher.cancel()

    # ------------------------------------------------------------ out

    async def reply(
        self,
        status: int,
        body: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        content_type: bytes = JSON,
    ) -> None:
        """A whole answer, JSON unless said otherwise."""
        if (framing := self.framing) is not None:
            body = framing.only(body) if content_type == JSON else framing.add(body) + framing.end()
            content_type = framing.CONTENT_TYPE
        self.status = status
        self.is_started = True
        self.bytes_out = len(body)
        if self._own is not None:
            self._own.keep_alive = self._own.keep_alive and status not in CLOSING
            self._own.reply(status, self._head(content_type, headers), body)
            return
        lines = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.id.encode()),
            *self.extra_headers,
            *headers,
        ]
        is_closing = status in CLOSING
        if is_closing:
            lines.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body, "more_body": is_closing})
        if is_closing:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})

    async def _linger(self) -> None:
        """Take what is left of the body. A server that closes with bytes unread has the connection reset, and
        the caller may lose the answer that says why."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (message := await self._receive())["type"] == "http.request" and message.get("more_body"):
                    pass

    async def start(self, content_type: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """The head of a streamed answer."""
        self.status = 200
        self.is_started = True
        if self.framing is not None:
            content_type = self.framing.CONTENT_TYPE
        headers = [(b"cache-control", b"no-cache"), *headers]
        if self._own is not None:
            self._own.start(200, self._head(content_type, headers))
            return
        lines = [
            (b"content-type", content_type),
            (b"x-request-id", self.id.encode()),
            *self.extra_headers,
            *headers,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": lines})

    async def write(self, data: bytes) -> None:
        if self.framing is not None:
            data = self.framing.add(data)
        self.bytes_out += len(data)
        if self._own is None:
            await self._send_more(data)
        elif self._own.write(data):
            await self._own.drain()

    async def _send_more(self, data: bytes) -> None:
        if self.is_gone:
            return
        self._is_writing = True
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._is_writing = False

    @property
    def is_held_up(self) -> bool:
        """Whether the caller has not taken yet what was written."""
        return self._is_writing if self._own is None else self._own.connection.is_write_paused

    def poke(self, data: bytes) -> None:
        """Write something between two writes of the handler, without waiting; not to a caller who is slow."""
        if self.is_held_up or self.is_gone:
            return
        self.bytes_out += len(data)
        if self._own is not None:
            self._own.write(data)
        else:
            self._poke = asyncio.create_task(self._send_more(data))

    @property
    def is_timed(self) -> bool:
        """Whether the server itself drops a caller who takes nothing, as ours does."""
        return self._own is not None

    async def finish(self) -> None:
        end = b"" if self.framing is None else self.framing.end()
        self.bytes_out += len(end)
        if self._own is not None:
            self._own.finish(end)
            return
        self._is_writing = True  # the last of it: nothing comes between
        with suppress(OSError):
            await self._send({"type": "http.response.body", "body": end})

    def _head(self, content_type: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The lines of a head. Values are ours, or went through `header_value`."""
        own = b"content-type: %b\r\nx-request-id: %b\r\n" % (content_type, self.id.encode())
        return own + b"".join([b"%b: %b\r\n" % header for header in (*self.extra_headers, *headers)])


def _path_under(root: str, path: str) -> str:
    """The path as it is here, where another application has mounted this one at `root`, or a proxy's prefix is told so.

    By ASGI a path begins with its root, as Starlette and uvicorn have it (github.com/encode/starlette/issues/1774);
    others leave it out, as Django-Bolt's mounts (bolt.farhana.li/topics/asgi-mounts; both read 2026-11).
    """
    root = root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        return path
    return "/" + path.removeprefix(root).lstrip("/")


def header_value(text: str) -> bytes:
    """Text as a header's value: one line, ASCII, of bounded length."""
    return _header_value(text[:LONGEST_VALUE])


@lru_cache(1000)  # of what is cut already: texts may be as long as a request
def _header_value(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace").translate(None, _CONTROLS)[:LONGEST_VALUE]


_CONTROLS = bytes(range(32)) + b"\x7f"


def plain_amount(amount: Decimal) -> bytes:
    """An amount without an exponent, which `str` writes for very small ones."""
    text = str(amount)
    return (text if "E" not in text else format(amount, "f")).encode()


def _too_large(max_bytes: int) -> SpineError:
    return InvalidRequest(
        f"the request's body is larger than {max_bytes / 1_000_000:g} MB; server.max_body_mb sets the limit",
        status_code=413,
        code="request_too_large",
    )

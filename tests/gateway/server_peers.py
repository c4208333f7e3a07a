"""A server in a thread of its own, an application that does what its path says, and raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvloop

from genai_spine.gateway import server as serving
from genai_spine.settings.tree import ServerSettings

POST = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"


class PathApp:
    """Answers what the path asks for, and remembers what it was told."""

    def __init__(self) -> None:
        self.draining = False
        self.scopes: list[dict[str, Any]] = []
        self.gone: list[float] = []
        """When the disconnect callback was called."""
        self.cancelled: list[str] = []
        self.written = 0
        self.lifespan: list[str] = []
        self.aborting = asyncio.Event()

    def abort_streams(self) -> None:
        self.aborting.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        task = asyncio.current_task()
        assert task is not None

        def gone() -> None:
            self.gone.append(time.monotonic())
            task.cancel()

        scope["extensions"]["genai_spine.disconnect"].callback = gone
        try:
            await self._answer(scope, receive, send)
        except asyncio.CancelledError:
            self.cancelled.append(scope["path"])
            raise

    async def _live(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            self.lifespan.append(message["type"])
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        fast = scope["extensions"]["genai_spine.reply"]
        match scope["path"]:
            case "/echo":
                await answer(send, 200, await read_body(receive))
            case "/reply":
                await read_body(receive)
                fast.reply(200, b"content-type: text/plain\r\n", b"fast")
            case "/reply-64k":
                await read_body(receive)
                self.written += 65536
                fast.reply(200, b"content-type: text/plain\r\n", b"x" * 65536)
            case "/plain":
                await answer(send, 200, b"plain")
            case "/bodyless":
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            case "/split-header":
                headers = [(b"x-model", b"a\r\nset-cookie: evil=1")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": b"x"})
            case "/crash":
                raise RuntimeError("a fault of the application")
            case "/crash-later":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"first", "more_body": True})
                raise RuntimeError("a fault of the application")
            case "/silent":
                await read_body(receive)
                await asyncio.sleep(60)
            case "/unhurried":
                await asyncio.sleep(0.6)
                await answer(send, 200, b"")
            case "/refuse":
                await answer(send, 413, b"too large")
            case "/stream":
                await self._stream(receive, send, 3, 0.02)
            case "/endless":
                await self._stream(receive, send, 10_000, 0.05)
            case "/fast-stream":
                await read_body(receive)
                fast.start(200, b"content-type: text/event-stream\r\n")
                for number in range(3):
                    if fast.write(b"data: %d\n\n" % number):
                        await fast.drain()
                fast.finish()
            case "/flood":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                    self.written += 65536
                    await asyncio.sleep(0)
            case "/tiny-flood":
                fast.start(200, b"")
                while True:
                    for _ in range(100):
                        self.written += 1
                        if fast.write(b"x"):
                            await fast.drain()
                    await asyncio.sleep(0)
            case _:
                await answer(send, 404, json.dumps({"path": scope["path"]}).encode())

    async def _stream(self, receive: Any, send: Any, count: int, pause_s: float) -> None:
        await read_body(receive)
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(count):
            if self.aborting.is_set():
                await send({"type": "http.response.body", "body": b"event: error\n\n", "more_body": True})
                break
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.sleep(pause_s)
        await send({"type": "http.response.body", "body": b""})


async def read_body(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Served:
    """A running server: its address, its application, and the means to stop it."""

    def __init__(self, app: Any, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings
        self.port = 0
        self.error: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stop = asyncio.Event()
            await serving.serve(lambda: self.app, self.settings, ready=self._note, stop=self._stop)

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    def _note(self, host: str, port: int) -> None:
        self.port = port
        self._ready.set()

    def start(self) -> None:
        self.thread.start()
        assert self._ready.wait(5)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self.thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)

    def connect(self, timeout_s: float = 5.0, receive_buffer: int | None = None) -> socket.socket:
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout_s)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, raw: bytes, timeout_s: float = 5.0) -> bytes:
        """Send raw bytes and read until the server closes or a whole response is there."""
        with self.connect(timeout_s) as sock:
            sock.sendall(raw)
            return read_response(sock)


@contextlib.contextmanager
def served(app: Any = None, **settings: Any) -> Iterator[Served]:
    settings = {"port": 0, "drain_timeout": 0.2, **settings}
    running = Served(app or PathApp(), ServerSettings(**settings))
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.thread.join(10)
        assert not running.thread.is_alive()


def read_until_closed(sock: socket.socket) -> bytes:
    """All that comes until the server closes. Raises: TimeoutError if it does not."""
    parts = []
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            break
        if not data:
            break
        parts.append(data)
    return b"".join(parts)


def read_response(sock: socket.socket, rest: bytes = b"") -> bytes:
    """One response: by content-length, by chunks, or until the server closes."""
    data = rest
    while True:
        head, separator, body = data.partition(b"\r\n\r\n")
        if separator:
            lower = head.lower()
            if b"transfer-encoding: chunked" in lower:
                if body.endswith(b"0\r\n\r\n"):
                    return data
            elif b"content-length: " in lower:
                length = int(lower.partition(b"content-length: ")[2].split(b"\r\n")[0])
                if len(body) >= length:
                    return data
            elif head.startswith((b"HTTP/1.1 204", b"HTTP/1.1 100")):
                return data
        piece = sock.recv(65536)
        if not piece:
            return data
        data += piece


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1]) if response else 0


def error_of(response: bytes) -> dict[str, Any]:
    """The `error` of a JSON refusal."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower(), response
    error: dict[str, Any] = json.loads(body)["error"]
    return error


def is_still(value: Callable[[], int], for_s: float = 0.1) -> bool:
    before = value()
    time.sleep(for_s)
    return before > 0 and value() == before


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return condition()

"""Hand-written HTTP peers on loopback, most of which misbehave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from genai_spine.providers.transport import HttpRequest, Timeouts, Transport
from genai_spine.wire.http import Url, parse_url

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server; knows how many connections came, what heads they sent, and which have ended."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections = 0
        self.asked = asyncio.Event()
        self.ended = asyncio.Event()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    def url(self, target: str = "/v1", scheme: str = "http", host: str = "127.0.0.1") -> Url:
        return parse_url(f"{scheme}://{host}:{self.port}{target}")

    def request(self, target: str = "/v1", **fields: Any) -> HttpRequest:
        fields.setdefault("method", "POST")
        fields.setdefault("body", b"{}")
        url = self.url(target, fields.pop("scheme", "http"), fields.pop("host", "127.0.0.1"))
        return HttpRequest(url=url, **fields)

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """The head of the next request; its body is read and noted."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        self.bodies.append(await reader.readexactly(length))
        self.asked.set()
        return head

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # asyncio.streams of Python 3.11 complains about a cancelled handler
        finally:
            self.tasks.discard(task)
            self.ended.set()
            writer.close()


@asynccontextmanager
async def serve(make_handler: Callable[[Peer], Handler], **options: Any):
    """Run a peer. `make_handler(peer)` gives the function for one connection."""
    peer = Peer(lambda reader, writer: make_handler(peer)(reader, writer))
    server = await asyncio.start_server(peer, "127.0.0.1", 0, limit=2**22, **options)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in list(peer.tasks):
            task.cancel()
        await asyncio.gather(*peer.tasks, return_exceptions=True)


def answering(*answers: bytes, then: str = "wait") -> Callable[[Peer], Handler]:
    """A peer that answers each request with the next of these bytes, the last one for ever.

    `then` is what comes after each answer: "wait" for the next request, "close", "reset" or "hang".
    """

    left = list(answers)

    def make(peer: Peer) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await peer.read_request(reader)
                answer = left.pop(0) if len(left) > 1 else left[0]
                writer.write(answer)
                await writer.drain()
                if then == "close":
                    return
                if then == "reset":
                    await asyncio.sleep(0.05)
                    reset(writer)
                    return
                if then == "hang":
                    await reader.read()
                    return

        return handle

    return make


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def ok(body: bytes = b"fine", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s" % (status, lines, len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def short(**seconds: Any) -> Timeouts:
    return Timeouts(**seconds)


async def within(awaitable: Awaitable[Any], seconds: float = 5.0) -> Any:
    """Fail rather than hang."""
    async with asyncio.timeout(seconds):
        return await awaitable


async def exchange(transport: Transport, request: HttpRequest) -> bytes:
    """Send and read, as one."""
    return await (await transport.send(request)).read()

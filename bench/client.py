"""The load generator: a lean HTTP/1.1 client on uvloop, in a process of its own.

It reads one JSON specification (`Load`) from its arguments and talks to the harness by lines: it prints
`warm` when its warm-up is done, waits for a line on stdin, runs, and prints one line of JSON
(`Outcome`). Every answer is checked: status, length, end of the chunked body, text, number of events.
The first that is wrong ends the run with `{"error": …}`, so a gateway that fails fast cannot look fast.
Connections are kept alive; one that the gateway closes is an error too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send, how often, and what a right answer has."""

    port: int
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    count: int = 1  # requests; in mode "open", streams
    warmup: int = 0
    concurrency: int = 32
    markers: list[str] = field(default_factory=list)  # texts that every answer contains
    events: int = 0  # least number of events; 0: a plain answer
    event_mark: str = "data: "  # what every event of a stream has in it
    mode: str = "requests"  # or "open": open `count` streams and hold them until a line comes

    def request(self) -> bytes:
        """The request's bytes, the same every time."""
        body = self.body.encode()
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json",
            "Accept: */*",
            *(f"{name}: {value}" for name, value in self.headers.items()),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run gave; latencies are from write to the last byte."""

    count: int
    seconds: float
    bytes: int
    p50_us: float
    p95_us: float


class WrongAnswer(Exception):
    """An answer that is not what was expected; the message shows its beginning."""


def unchunk(body: bytes) -> bytes | None:
    """The content of a chunked body; None while it is incomplete. Raises: WrongAnswer."""
    pieces: list[bytes] = []
    place = 0
    while True:
        end = body.find(b"\r\n", place)
        if end < 0:
            return None
        try:
            size = int(body[place:end].split(b";", 1)[0], 16)
        except ValueError:
            raise WrongAnswer(f"bad chunk size {body[place:end][:40]!r}") from None
        place = end + 2
        if len(body) < place + size + 2:
            return None
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[place : place + size])
        place += size + 2


class Caller(asyncio.Protocol):
    """One connection that sends the request again as soon as the answer is complete and right."""

    def __init__(self, load: Load, on_answer: Callable[[Caller, int], None], on_error: Callable[[str], None]) -> None:
        self.request = load.request()
        self.markers = [marker.encode() for marker in load.markers]
        self.events, self.event_mark = load.events, load.event_mark.encode()
        self.on_answer, self.on_error = on_answer, on_error
        self.latencies_us: list[float] = []
        self.idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def send(self) -> None:
        self.buffer = bytearray()
        self.body_at = 0
        self.length: int | None = None
        self.idle = False
        self.sent_ns = time.perf_counter_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        try:
            if not self.body_at:
                self.read_head()
            if self.body_at and self.is_complete():
                self.latencies_us.append((time.perf_counter_ns() - self.sent_ns) / 1000)
                self.idle = True
                self.on_answer(self, len(self.buffer))
        except WrongAnswer as wrong:
            self.on_error(str(wrong))

    def read_head(self) -> None:
        """Finds where the body begins and how it ends. Raises: WrongAnswer unless the status is 200."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        if self.idle or self.buffer[9:12] != b"200":
            raise WrongAnswer(f"unexpected answer: {bytes(self.buffer[:600])!r}")
        head = bytes(self.buffer[:end]).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            self.length = int(rest.split(b"\r\n", 1)[0])
        elif b"\r\ntransfer-encoding: chunked" not in head:
            raise WrongAnswer(f"neither a length nor chunks: {head!r}")
        self.body_at = end + 4

    def is_complete(self) -> bool:
        """Whether the body is all there, and right. Raises: WrongAnswer."""
        content: bytes | None
        if self.length is not None:
            surplus = len(self.buffer) - self.body_at - self.length
            if surplus < 0:
                return False
            if surplus:
                raise WrongAnswer(f"{surplus} bytes more than Content-Length")
            content = bytes(self.buffer[self.body_at :])
        else:
            if not self.buffer.endswith(b"0\r\n\r\n"):
                return False
            content = unchunk(bytes(self.buffer[self.body_at :]))
            if content is None:
                return False
        missing = [marker for marker in self.markers if marker not in content]
        if missing:
            raise WrongAnswer(f"answer without {missing}: {content[:400]!r} … {content[-200:]!r}")
        if self.events and (found := content.count(self.event_mark)) < self.events:
            raise WrongAnswer(f"{found} events instead of {self.events}: {content[:400]!r} … {content[-200:]!r}")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if not self.idle:
            self.on_error(f"the connection was closed within an answer: {error or 'end of file'}")
        else:
            self.on_error("the connection was closed between two requests")


class Holder(Caller):
    """One connection that holds an endless stream open and counts its events."""

    seen = 0

    def data_received(self, data: bytes) -> None:
        if not self.body_at:
            self.buffer += data
            try:
                self.read_head()
            except WrongAnswer as wrong:
                self.on_error(str(wrong))
                return
            data = bytes(self.buffer)
        before = self.seen
        self.seen += data.count(b"data: ")
        if self.seen and not before:
            self.on_answer(self, 0)


async def _line() -> str:
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


def _say(message: str) -> None:
    print(message, flush=True)


class Run:
    """Requests over kept-alive connections until a number of answers has come."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.left = self.pending = self.bytes = 0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.callers: list[Caller] = []
        self.closing = False
        self.free = asyncio.Semaphore(load.concurrency)

    def fail(self, message: str) -> None:
        if not self.closing and not self.finished.done():
            self.finished.set_exception(WrongAnswer(message))
            self.free.release()  # wakes `opened`, which looks at `finished`

    async def connect(self, kind: type[Caller], on_answer: Callable[[Caller, int], None]) -> Caller:
        loop = asyncio.get_running_loop()
        caller = kind(self.load, on_answer, self.fail)
        await loop.create_connection(lambda: caller, "127.0.0.1", self.load.port)
        self.callers.append(caller)
        return caller

    def on_answer(self, caller: Caller, size: int) -> None:
        self.bytes += size
        if self.left:
            self.left -= 1
            caller.send()
            return
        self.pending -= 1
        if not self.pending and not self.finished.done():
            self.finished.set_result(None)

    async def send(self, count: int) -> Outcome:
        """Sends `count` requests. Raises: WrongAnswer."""
        self.finished = asyncio.get_running_loop().create_future()
        self.bytes = 0
        for caller in self.callers:
            caller.latencies_us.clear()
        started = time.perf_counter()
        self.pending = min(count, len(self.callers))
        self.left = count - self.pending
        for caller in self.callers[: self.pending]:
            caller.send()
        await self.finished
        seconds = time.perf_counter() - started
        latencies = sorted(one for caller in self.callers for one in caller.latencies_us)
        p50_us, p95_us = (latencies[int(len(latencies) * share)] for share in (0.50, 0.95))
        return Outcome(count=count, seconds=seconds, bytes=self.bytes, p50_us=p50_us, p95_us=p95_us)

    async def requests(self) -> dict[str, Any]:
        for _ in range(self.load.concurrency):
            await self.connect(Caller, self.on_answer)
        if self.load.warmup:
            await self.send(self.load.warmup)
        _say("warm")
        await _line()
        outcome = await self.send(self.load.count)
        self.closing = True
        return asdict(outcome)

    async def opened(self) -> None:
        """Waits until one stream more has had its first event. Raises: WrongAnswer."""
        await self.free.acquire()
        if self.finished.done():
            self.finished.result()

    async def hold(self) -> dict[str, Any]:
        """Opens the streams, at most `concurrency` waiting for their first event; holds them until told."""
        for _ in range(self.load.count):
            await self.opened()
            caller = await self.connect(Holder, lambda _caller, _size: self.free.release())
            caller.send()
        for _ in range(self.load.concurrency):
            await self.opened()
        holders = [caller for caller in self.callers if isinstance(caller, Holder)]
        _say("warm")
        seen, started = [holder.seen for holder in holders], time.perf_counter()
        told = asyncio.ensure_future(_line())
        told.add_done_callback(lambda _: None if self.finished.done() else self.finished.set_result(None))
        await self.finished
        grown = [holder.seen - before for holder, before in zip(holders, seen, strict=True)]
        self.closing = True
        for holder in holders:
            holder.transport.abort()
        return {"seconds": time.perf_counter() - started, "least_events": min(grown), "events": sum(grown)}


async def run(load: Load) -> dict[str, Any]:
    """Runs a load and returns its outcome, or `{"error": …}`."""
    one = Run(load)
    try:
        return await (one.hold() if load.mode == "open" else one.requests())
    except (WrongAnswer, OSError) as error:
        one.closing = True
        return {"error": str(error)[:1500]}


def main() -> None:
    load = Load(**json.loads(sys.argv[1]))
    _say(json.dumps(uvloop.run(run(load))))


if __name__ == "__main__":
    main()

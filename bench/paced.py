"""Upstream of paced OpenAI streams: `python bench/paced.py --port P --interval S [--events N]`.

One timer wheel serves all streams, so that a thousand open streams cost the machine little. Every event
is one chunk and one packet, as a model's tokens come. `--events 0` streams until the caller leaves.
`GET /open` answers how many streams are open now, which tells whether a gateway lets go of its
upstream.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import count
from typing import cast

import uvloop

from answers import openai_events

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
SLOTS = 20


def _chunk(frame: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(frame), frame)


class Wheel:
    """Streams spread over 20 slots; each slot's streams get their next event once per interval."""

    def __init__(self, interval_s: float, events: int) -> None:
        frames = [_chunk(frame) for frame in openai_events()]
        self.first, self.word = frames[0], frames[1]
        self.endless = events == 0
        # A bounded stream repeats the static one; its last packet carries finish, usage, [DONE] and the end.
        self.frames = [*frames[: events - 2], b"".join([*frames[events - 2 :], b"0\r\n\r\n"])]
        self.interval_s = interval_s
        self.slots: list[set[Connection]] = [set() for _ in range(SLOTS)]
        self.numbers = count()

    @property
    def open(self) -> int:
        return sum(len(slot) for slot in self.slots)

    def add(self, connection: Connection) -> None:
        connection.slot = next(self.numbers) % SLOTS
        connection.sent = 1
        self.slots[connection.slot].add(connection)

    def remove(self, connection: Connection) -> None:
        self.slots[connection.slot].discard(connection)

    async def turn(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        for slot in (self.slots[number % SLOTS] for number in count()):
            due = max(due + self.interval_s / SLOTS, loop.time() - 1)
            await asyncio.sleep(due - loop.time())
            for connection in list(slot):
                self.step(connection)

    def step(self, connection: Connection) -> None:
        if self.endless:
            connection.transport.write(self.word)
            return
        connection.transport.write(self.frames[connection.sent])
        connection.sent += 1
        if connection.sent == len(self.frames):
            self.remove(connection)


class Connection(asyncio.Protocol):
    """One kept-alive connection: reads a request by its Content-Length, then hands itself to the wheel."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel
        self.buffer = bytearray()
        self.slot = self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.buffer[:end]).lower()
        _, found, length = head.partition(b"content-length:")
        size = int(length.split(b"\r\n", 1)[0]) if found else 0
        if not found and b"chunked" in head:
            if not self.buffer.endswith(b"0\r\n\r\n"):
                return
        elif len(self.buffer) < end + 4 + size:
            return
        self.buffer.clear()
        if head.startswith(b"get /open"):
            answer = b"%d" % self.wheel.open
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
            return
        self.transport.write(_HEAD + self.wheel.first)
        self.wheel.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.wheel.remove(self)


async def serve(port: int, interval_s: float, events: int) -> None:
    wheel = Wheel(interval_s, events)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(wheel), "127.0.0.1", port, backlog=4096)
    async with server:
        await wheel.turn()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--interval", type=float, required=True, help="seconds between two events of a stream")
    parser.add_argument("--events", type=int, default=0, help="events per stream; 0: endless")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.interval, options.events))


if __name__ == "__main__":
    main()

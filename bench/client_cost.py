"""What the upstream client costs: µs of CPU per exchange, in this process only.

The peer is a canned server in a process of its own, so its cost is not counted. Run by hand:

    .venv/bin/python bench/client_cost.py [--requests 20000] [--loop uvloop|asyncio]

Each figure is the median of several rounds; `post` is a keep-alive POST of 1 KB with an answer of
0.8 KB in one segment, `stream` an answer of 100 server-sent events in as many chunks, `memory` the
memory that one open stream takes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import resource
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
import uvloop

from genai_spine.providers.http_transport import HttpTransport
from genai_spine.providers.transport import HttpRequest
from genai_spine.wire.http import parse_url

ANSWER = b'{"id":"x","choices":[{"message":{"content":"' + b"a" * 700 + b'"}}]}'
FIELDS = b"".join(b"x-header-%d: some value of a header\r\n" % n for n in range(12))
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s" % (
    FIELDS,
    len(ANSWER),
    ANSWER,
)
EVENT = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n%stransfer-encoding: chunked\r\n\r\n" % FIELDS
BODY = b'{"model":"m","messages":[{"role":"user","content":"' + b"q" * 950 + b'"}]}'
HEADERS = (
    ("content-type", "application/json"),
    ("authorization", "Bearer sk-" + "x" * 40),
    ("user-agent", "genai-spine"),
    ("accept", "*/*"),
)


class Peer(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if b"\r\n\r\n" not in self.buffer or not self.buffer.endswith(b"}"):
            return
        path = self.buffer.split(b" ", 2)[1]
        self.buffer = b""
        if path == b"/post":
            self.transport.write(PLAIN)
        elif path == b"/hang":
            self.transport.write(STREAM_HEAD + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        else:
            self.task = asyncio.ensure_future(self.stream())

    async def stream(self) -> None:
        self.transport.write(STREAM_HEAD)
        for _ in range(100):
            self.transport.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            await asyncio.sleep(0.0001)
        self.transport.write(b"0\r\n\r\n")


def serve(pipe: Connection) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Peer, "127.0.0.1", 0, backlog=2048)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    uvloop.run(main())


Exchange = Callable[[str], Awaitable[int]]


async def cost_of(exchange: Exchange, path: str, count: int, width: int) -> float:
    """CPU seconds of this process per exchange, `width` at a time."""

    async def worker(n: int) -> None:
        for _ in range(n):
            await exchange(path)

    await asyncio.gather(*(worker(20) for _ in range(width)))
    start = time.process_time()
    await asyncio.gather(*(worker(count // width) for _ in range(width)))
    return (time.process_time() - start) / (count // width * width)


async def measure(port: int, count: int, rounds: int) -> None:
    base = f"http://127.0.0.1:{port}"
    transport = HttpTransport()
    session = aiohttp.ClientSession(auto_decompress=False)
    requests = {
        path: HttpRequest(method="POST", url=parse_url(base + path), headers=HEADERS, body=BODY)
        for path in ("/post", "/stream", "/hang")
    }

    async def own(path: str) -> int:
        response = await transport.send(requests[path])
        if path == "/post":
            return len(await response.read())
        return sum([len(chunk) async for chunk in response.chunks()])

    async def other(path: str) -> int:
        async with session.post(base + path, data=BODY, headers=dict(HEADERS)) as response:
            if path == "/post":
                return len(await response.read())
            return sum([len(chunk) async for chunk in response.content.iter_any()])

    for path, n, width in (("/post", count, 1), ("/post", count, 32), ("/stream", count // 50, 8)):
        for name, exchange in (("own", own), ("aiohttp", other)):
            costs = [await cost_of(exchange, path, n, width) * 1e6 for _ in range(rounds)]
            print(f"{path:8} x{width:<3} {name:8} {statistics.median(costs):8.1f} µs  (least {min(costs):.1f})")
    await session.close()

    gc.collect()
    before_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = [await transport.send(requests["/hang"]) for _ in range(900)]
    for response in held:
        await response.receive()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_rss
    print(f"memory of an open stream: {(after - before) / 900 / 1024:.2f} KiB Python, {rss / 900:.2f} KiB RSS")
    await transport.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    run = uvloop.run if arguments.loop == "uvloop" else asyncio.run
    run(measure(ours.recv(), arguments.requests, arguments.rounds))
    process.terminate()


if __name__ == "__main__":
    main()

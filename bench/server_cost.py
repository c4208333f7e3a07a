"""What the HTTP server costs: µs of CPU per request, in the server's process only, with a trivial application.

    .venv/bin/python bench/server_cost.py [--requests 20000] [--rounds 5]

`uvicorn` is the stock one (httptools, uvloop, no access log), `asgi` our server under the same plain ASGI
application, `reply` our server under one that uses the extension `genai_spine.reply`. `post` is a
keep-alive POST of 1 KB with an answer of 0.6 KB, `stream` an answer of 100 server-sent events in as many
writes. Each figure is the least of several interleaved rounds; kernel time is included.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
from collections import defaultdict
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
import uvloop

from genai_spine.gateway.exchange import encode_headers
from genai_spine.gateway.server import serve
from genai_spine.settings.tree import ServerSettings

CLIENTS = 16
BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"' + b"a" * 930 + b'"}]}'
FIELDS = b"".join(
    b"%b: %b\r\n" % field
    for field in (
        (b"host", b"127.0.0.1:8100"), (b"content-type", b"application/json"), (b"accept", b"application/json"),
        (b"authorization", b"Bearer sk-0123456789012345678901234567"), (b"user-agent", b"OpenAI/Python 3.3"),
        (b"accept-encoding", b"gzip, deflate"), (b"x-stainless-lang", b"python"), (b"x-stainless-os", b"Linux"),
    )
)  # fmt: skip
ANSWER = b"x" * 600
EVENT = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
HEADERS = [
    (b"content-type", b"application/json"), (b"x-request-id", b"req_0123456789abcdef"),
    (b"x-spine-provider", b"openai"), (b"x-spine-model", b"gpt-4o-mini"), (b"x-spine-attempts", b"1"),
]  # fmt: skip


async def plain(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive())["more_body"]:
        pass
    if scope["path"] == "/post":
        headers = [*HEADERS, (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    for _ in range(100):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


async def fast(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    while (await receive())["more_body"]:
        pass
    exchange = scope["extensions"]["genai_spine.reply"]
    if scope["path"] == "/post":
        exchange.reply(200, encode_headers(HEADERS), ANSWER)
        return
    exchange.start(200, encode_headers(HEADERS))
    for _ in range(100):
        if exchange.write(EVENT):
            await exchange.drain()
        await asyncio.sleep(0)
    exchange.finish()


async def _live(receive: Any, send: Any) -> None:
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})


async def _serve_ours(app: Any, ready: Callable[[int], None]) -> None:
    await serve(lambda: app, ServerSettings(port=0), ready=lambda _, port: ready(port))


async def _serve_uvicorn(app: Any, ready: Callable[[int], None]) -> None:
    config = uvicorn.Config(
        app, port=0, http="httptools", lifespan="on", ws="none", access_log=False, log_config=None,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0.01)
    ready(server.servers[0].sockets[0].getsockname()[1])
    await serving


SERVERS: dict[str, tuple[Callable[..., Awaitable[None]], Any]] = {
    "uvicorn": (_serve_uvicorn, plain),
    "asgi": (_serve_ours, plain),
    "reply": (_serve_ours, fast),
}


def server_process(name: str, pipe: Connection) -> None:
    """Serves; answers each message on the pipe with the CPU seconds used so far."""
    starter, app = SERVERS[name]

    def tell() -> None:
        pipe.recv()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(usage.ru_utime + usage.ru_stime)

    def ready(port: int) -> None:
        asyncio.get_running_loop().add_reader(pipe.fileno(), tell)
        pipe.send(port)

    uvloop.run(starter(app, ready))


class Caller(asyncio.Protocol):
    """Asks `left` times on one connection, one after the other."""

    def __init__(self, request: bytes, ending: bytes, left: int) -> None:
        self.request, self.ending, self.left = request, ending, left
        self.tail = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-len(self.ending) :]
        if self.tail != self.ending:
            return
        self.tail = b""
        self.left -= 1
        if self.left:
            self.transport.write(self.request)
        else:
            self.done.set_result(None)
            self.transport.close()


async def ask(port: int, path: bytes, requests: int) -> None:
    head = b"POST %b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n" % (path, FIELDS, len(BODY))
    ending = ANSWER[-20:] if path == b"/post" else b"\r\n0\r\n\r\n"
    callers = [Caller(head + BODY, ending, requests // CLIENTS) for _ in range(CLIENTS)]
    loop = asyncio.get_running_loop()
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", port)
    await asyncio.gather(*(caller.done for caller in callers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    ports: dict[str, int] = {}
    for name in SERVERS:
        pipes[name], other = context.Pipe()
        context.Process(target=server_process, args=(name, other), daemon=True).start()
        ports[name] = pipes[name].recv()
    costs: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        for kind, requests in (("post", options.requests), ("stream", options.requests // 20)):
            for name in SERVERS:
                before = _cpu_seconds(pipes[name])
                uvloop.run(ask(ports[name], b"/" + kind.encode(), requests))
                used = _cpu_seconds(pipes[name]) - before
                costs[name, kind].append(used / (requests // CLIENTS * CLIENTS) * 1e6)
    for (name, kind), values in costs.items():
        print(f"{kind:7} {name:8} {min(values):7.1f} µs")


def _cpu_seconds(pipe: Connection) -> float:
    pipe.send(None)
    seconds: float = pipe.recv()
    return seconds


if __name__ == "__main__":
    main()

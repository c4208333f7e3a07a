"""Callers without end: three dialects, plain and streamed, with tools, faults, and disconnects at any moment."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from typing import Any

MODELS = ("sim-long-40", "sim-long-40+rate=200", "sim-echo", "sim-unicode", "sim-think", "sim-long-300")
FAULTS = (
    "status=429,retry_after_ms=20", "status=503", "status=529", "status=502,body=html", "body=error", "body=empty",
    "reset=head", "reset=mid-head", "reset=first", "reset=6", "close=6", "end=6", "ending=missing",
    "error_at=6,rate=300", "malformed=6,rate=300", "stall=head", "stall=first", "stall=6", "bad_chunk=3",
    "length=%2B5", "usage=missing", "usage=twice", "pings", "newline=crlf", "drip=100,every_ms=2", "coding=gzip",
    "status=400", "status=401", "status=404", "huge=200000",
)  # fmt: skip
"""No 500 among them: whoever answers 500 is the gateway."""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
PATHS = {"oa": "/v1/chat/completions", "an": "/v1/messages", "ol": "/api/chat"}


def body_of(dialect: str, model: str, *, stream: bool, tools: bool, text: str) -> bytes:
    body: dict[str, Any] = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    if dialect == "an":
        body["max_tokens"] = 500
    if tools and dialect == "an":
        body["tools"] = [{"name": "weather", "input_schema": SCHEMA}]
    elif tools:
        body["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    return json.dumps(body).encode()


class Traffic:
    """What so many callers have seen: how answers ended, by status, and how often they left. Until `stop`."""

    def __init__(self, port: int, key: str, seed: int = 0) -> None:
        self.port = port
        self.key = key
        self.statuses: Counter[int] = Counter()
        self.left = 0
        self.cut = 0
        """Answers whose own framing did not come to its end: never to happen to who stays."""
        self.server_errors: list[bytes] = []
        self._random = random.Random(seed)
        self._ends = asyncio.Event()

    def stop(self) -> None:
        self._ends.set()

    @property
    def calls(self) -> int:
        return sum(self.statuses.values()) + self.left

    async def caller(self) -> None:
        """One after the other, until the end."""
        chance = self._random
        while not self._ends.is_set():
            with suppress(ConnectionError):
                await self._connection(chance.randrange(1, 20))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), chance.random() * 0.05)

    async def _connection(self, requests: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        try:
            for _ in range(requests):
                if self._ends.is_set() or not await self.ask(reader, writer):
                    return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request, of any kind. False where the connection cannot be used again."""
        chance = self._random
        dialect = chance.choice(tuple(PATHS))
        provider = dialect if chance.random() < 0.5 else chance.choice(tuple(PATHS))
        fault = f"+{chance.choice(FAULTS)}" if chance.random() < 0.3 else ""
        model = f"{provider}/{'sim-long-40' if fault else chance.choice(MODELS)}{fault}"
        text = "weather " * chance.choice((1, 1, 1, 500))
        body = body_of(dialect, model, stream=chance.random() < 0.6, tools=chance.random() < 0.2, text=text)
        request = (
            f"POST {PATHS[dialect]} HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(request.encode() + body)
        leaves_after_s = chance.random() * 0.2 if chance.random() < 0.1 else None
        try:
            async with asyncio.timeout(leaves_after_s if leaves_after_s is not None else 60):
                status, whole, keeps = await _answer(reader)
        except TimeoutError:
            assert leaves_after_s is not None, f"no answer within a minute: {model}"
            self.left += 1
            writer.transport.abort()
            return False
        except asyncio.IncompleteReadError:
            self.cut += 1
            return False
        self.statuses[status] += 1
        if status == 500:
            self.server_errors.append(whole[-400:])
        return keeps


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection stays."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if "content-length" in fields:
        body = await reader.readexactly(int(fields["content-length"]))
    else:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    return status, body, fields.get("connection") != "close"

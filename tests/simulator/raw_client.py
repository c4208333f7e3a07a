"""A client that hides nothing: bytes on a socket, and how the connection ended."""

from __future__ import annotations

import socket
import time
from typing import Any

import msgspec

from genai_spine.testing.simulator import Simulator

HELLO = [{"role": "user", "content": "hello there"}]


class Reply(msgspec.Struct):
    """`end` is close, reset or silence; `reads` the sizes of what each read brought; `at_s` when."""

    raw: bytes
    end: str
    reads: list[int]
    at_s: list[float]

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def raw_body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def is_whole(self) -> bool:
        """Whether HTTP's own framing says that the body is complete."""
        if self.headers.get("transfer-encoding") == "chunked":
            return self.raw_body.endswith(b"0\r\n\r\n")
        return len(self.raw_body) == int(self.headers["content-length"])

    @property
    def body(self) -> bytes:
        """As far as it came, without chunk framing."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.raw_body
        body, rest = b"", self.raw_body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body, rest = body + rest[:length], rest[length + 2 :]
        return body

    @property
    def frames(self) -> list[bytes]:
        end = b"\n" if "ndjson" in self.headers["content-type"] else b"\n\n"
        return [frame for frame in self.body.split(end) if frame]

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def connect(simulator: Simulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", simulator.port), timeout=10)


def request_bytes(path: str, body: Any = None, headers: dict[str, str] | None = None, version: str = "1.1") -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    fields = {"host": "simulator", "content-length": str(len(content)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    method = "GET" if body is None else "POST"
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode() + content


def read_to_end(sock: socket.socket, silence_s: float = 0.6, most: int = 1 << 26) -> Reply:
    raw, reads, at_s = bytearray(), [], []
    sock.settimeout(silence_s)
    end = "enough"
    while len(raw) < most:
        try:
            data = sock.recv(1 << 20)
        except TimeoutError:
            end = "silence"
            break
        except ConnectionResetError:
            end = "reset"
            break
        if not data:
            end = "close"
            break
        raw += data
        reads.append(len(data))
        at_s.append(time.monotonic())
    return Reply(raw=bytes(raw), end=end, reads=reads, at_s=at_s)


def exchange(
    simulator: Simulator,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    silence_s: float = 0.6,
    most: int = 1 << 26,
) -> Reply:
    """One request on a connection of its own, which is read until nothing comes any more.

    It asks for `connection: close`, so that the end of a whole answer is a close, not a silence.
    """
    with connect(simulator) as sock:
        sock.sendall(request_bytes(path, body, {"connection": "close", **(headers or {})}))
        return read_to_end(sock, silence_s, most)


PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}


def ask(
    simulator: Simulator, dialect: str = "openai", fault: str | None = None, *, silence_s: float = 0.6,
    most: int = 1 << 26, **members: Any,
) -> Reply:  # fmt: skip
    """A chat in one of the dialects, with a fault in the header."""
    body = {"model": "sim-echo", "messages": HELLO, "stream": False, "max_tokens": 1000, **members}
    if dialect == "openai" and body["stream"]:
        body["stream_options"] = {"include_usage": True}
    headers = {"x-simulate": fault} if fault is not None else {}
    return exchange(simulator, PATHS[dialect], body, headers, silence_s=silence_s, most=most)

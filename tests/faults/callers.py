"""Callers of a gateway that hide nothing, the three dialects as those see them, and peers that misbehave."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from genai_spine.testing.fixtures import RunningGateway
from genai_spine.testing.simulator import Simulator

KEY = "sk-upstream-0123456789abcdef"
"""The key of every provider in these tests."""


def plain_settings(simulator: Simulator) -> dict[str, object]:
    return {
        "providers": {
            "oa": {"type": "openai_compatible", "base_url": simulator.urls.openai, "api_key": KEY},
            "an": {"type": "anthropic", "base_url": simulator.urls.anthropic, "api_key": KEY},
            "ol": {
                "type": "ollama",
                "base_url": simulator.urls.ollama,
                "api_key": KEY,
                "dialect": "ollama_chat",
            },
        },
        "retry": {"max_retries": 0},
        "costs": {"unknown_price": "allow"},  # nobody knows what these models cost
        "limits": {"learned": False},  # what one test's provider asks for is no other test's affair
        "timeouts": {"connect": 1, "first_token": 5, "idle": 0.4, "total": 20},
    }


# ── one caller ────────────────────────────────────────────────────────────────────────────────────


class Answer(msgspec.Struct, kw_only=True):
    """`is_whole`: HTTP's own framing says so. `is_closed`: the gateway closed the connection after it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_whole: bool
    is_closed: bool = False

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection to a gateway."""

    def __init__(self, gateway: RunningGateway, timeout_s: float = 10, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout_s)
        self.sock.connect(("127.0.0.1", gateway.port))
        self.data = b""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        fields = {"host": "gateway", "content-type": "application/json", **(headers or {})}
        if body is not None and "transfer-encoding" not in fields:
            fields.setdefault("content-length", str(len(content)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + content)

    def more(self) -> bool:
        """Read what is there; False at the end."""
        try:
            piece = self.sock.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.data += piece
        return bool(piece)

    def read_until(self, mark: bytes) -> bytes:
        """What has come, up to and with `mark`; the rest stays."""
        while mark not in self.data:
            assert self.more(), self.data[-500:]
        found, _, self.data = self.data.partition(mark)
        return found + mark

    def answer(self, method: str = "POST") -> Answer:
        """One answer, to its end."""
        head = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in head[1:] if line)]
        answer = Answer(status=int(head[0].split()[1]), headers=headers, body=b"", is_whole=True)
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        length = answer.header("content-length")
        if length is not None:
            while len(self.data) < int(length) and self.more():
                pass
            answer.is_whole = len(self.data) >= int(length)
            answer.body, self.data = self.data[: int(length)], self.data[int(length) :]
        else:
            answer.body, answer.is_whole = self._chunks()
        if answer.header("connection") == "close" or not answer.is_whole:
            while self.more():
                pass
            answer.is_closed = True
        return answer

    def _chunks(self) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        try:
            while size := int(self.read_until(b"\r\n"), 16):
                while len(self.data) < size + 2:
                    if not self.more():
                        return b"".join([*parts, self.data]), False
                parts.append(self.data[:size])
                self.data = self.data[size + 2 :]
            self.read_until(b"\r\n")
        except AssertionError:
            return b"".join(parts), False
        return b"".join(parts), True


def ask(
    gateway: RunningGateway,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
    timeout_s: float = 10,
) -> Answer:
    """One request on a connection of its own."""
    method = method or ("GET" if body is None else "POST")
    with Caller(gateway, timeout_s) as caller:
        caller.send(method, path, body, headers)
        return caller.answer(method)


# ── the three dialects, as their clients see them ─────────────────────────────────────────────────


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    path: str
    provider: str
    """The provider of the tests that speaks it."""
    body: Callable[..., dict[str, Any]]
    error: Callable[[Any], dict[str, Any]]
    """An error's body as {message, type, code}, after a look at its shape."""
    ended: Callable[[bytes], bool]
    """Whether a stream has the dialect's own ending."""
    broken: Callable[[bytes], dict[str, Any] | None]
    """The error that a stream ends with."""
    text: Callable[[bytes], str]
    """The text of a stream."""
    answer_text: Callable[[Any], str]

    def request(self, model: str, *, stream: bool = False, text: str = "hello there", **more: Any) -> Any:
        return self.body(model, text) | {"stream": stream, **more}


def _events(body: bytes) -> list[tuple[str, str]]:
    """Event name and data of each frame; what is no whole frame is a fault of ours."""
    assert body == b"" or body.endswith(b"\n\n") or b"\r" in body, body[-200:]
    found = []
    for frame in re.sub(r"\r\n?", "\n", body.decode()).split("\n\n"):
        lines = [line for line in frame.split("\n") if line and not line.startswith(":")]
        fields = [line.partition(":") for line in lines]
        data = "\n".join(value.removeprefix(" ") for name, _, value in fields if name == "data")
        names = [value.strip() for name, _, value in fields if name == "event"]
        if data:
            found.append((names[-1] if names else "", data))
    return found


def _lines(body: bytes) -> list[Any]:
    assert body == b"" or body.endswith(b"\n"), body[-200:]
    return [json.loads(line) for line in body.split(b"\n") if line.strip()]


def _openai_error(value: Any) -> dict[str, Any]:
    error = value["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}, value
    assert isinstance(error["message"], str), value
    assert isinstance(error["type"], str), value
    assert error["request_id"].startswith("req_"), value
    return error  # type: ignore[no-any-return]


def _anthropic_error(value: Any) -> dict[str, Any]:
    assert value["type"] == "error", value
    assert value["request_id"].startswith("req_"), value
    assert set(value["error"]) == {"type", "message"}, value
    return {**value["error"], "code": None, "request_id": value["request_id"]}


def _ollama_error(value: Any) -> dict[str, Any]:
    assert isinstance(value["error"], str), value
    assert value["request_id"].startswith("req_"), value
    return {"message": value["error"], "type": None, "code": None, "request_id": value["request_id"]}


def _openai_broken(body: bytes) -> dict[str, Any] | None:
    events = _events(body)
    if not events or events[-1][1] == "[DONE]":
        return None
    last = json.loads(events[-1][1])
    return _openai_error(last) if "error" in last else None


def _anthropic_broken(body: bytes) -> dict[str, Any] | None:
    events = _events(body)
    return _anthropic_error(json.loads(events[-1][1])) if events and events[-1][0] == "error" else None


def _ollama_broken(body: bytes) -> dict[str, Any] | None:
    lines = _lines(body)
    return _ollama_error(lines[-1]) if lines and "error" in lines[-1] else None


def _openai_text(body: bytes) -> str:
    chunks = [json.loads(data) for _, data in _events(body) if data != "[DONE]"]
    deltas = [choice.get("delta") or {} for chunk in chunks for choice in chunk.get("choices") or ()]
    return "".join(delta.get("content") or "" for delta in deltas)


def _anthropic_text(body: bytes) -> str:
    deltas = [json.loads(data).get("delta") or {} for name, data in _events(body)]
    return "".join(delta.get("text") or "" for delta in deltas)


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


OPENAI = Dialect(
    name="openai",
    path="/v1/chat/completions",
    provider="oa",
    body=lambda model, text: {"model": model, "messages": _said(text)},
    error=_openai_error,
    ended=lambda body: bool(_events(body)) and _events(body)[-1][1] == "[DONE]",
    broken=_openai_broken,
    text=_openai_text,
    answer_text=lambda value: value["choices"][0]["message"]["content"],
)
ANTHROPIC = Dialect(
    name="anthropic",
    path="/v1/messages",
    provider="an",
    body=lambda model, text: {"model": model, "max_tokens": 4096, "messages": _said(text)},
    error=_anthropic_error,
    ended=lambda body: bool(_events(body)) and _events(body)[-1][0] == "message_stop",
    broken=_anthropic_broken,
    text=_anthropic_text,
    answer_text=lambda value: "".join(block.get("text", "") for block in value["content"]),
)
OLLAMA = Dialect(
    name="ollama",
    path="/api/chat",
    provider="ol",
    body=lambda model, text: {"model": model, "messages": _said(text)},
    error=_ollama_error,
    ended=lambda body: bool(_lines(body)) and _lines(body)[-1].get("done") is True,
    broken=_ollama_broken,
    text=lambda body: "".join((line.get("message") or {}).get("content", "") for line in _lines(body)),
    answer_text=lambda value: value["message"]["content"],
)
GENERATE = msgspec.structs.replace(
    OLLAMA,
    name="generate",
    path="/api/generate",
    body=lambda model, text: {"model": model, "prompt": text},
    text=lambda body: "".join(line.get("response", "") for line in _lines(body)),
    answer_text=lambda value: value["response"],
)
DIALECTS = (OPENAI, ANTHROPIC, OLLAMA)
PROVIDERS = ("oa", "an", "ol")
PAIRS = [(dialect, provider) for dialect in DIALECTS for provider in PROVIDERS]
PAIRS += [(GENERATE, "ol"), (GENERATE, "an")]
"""Every caller at every provider: relayed where both speak the same, translated otherwise."""
PAIR_NAMES = [f"{dialect.name}-{provider}" for dialect, provider in PAIRS]

SECRETS = re.compile(r"sk-upstream|Traceback|\.py\b|127\.0\.0\.1:\d|http://")
"""What no answer of ours may hold: keys, traces, addresses of providers."""


def refused(dialect: Dialect, answer: Answer, status: int) -> dict[str, Any]:
    """The error of an answer, after a look at all that every error keeps to."""
    assert answer.status == status, answer
    assert answer.header("content-type") == "application/json"
    assert answer.is_whole
    error = dialect.error(answer.json())
    assert error["request_id"] == answer.header("x-request-id")
    assert SECRETS.search(answer.body.decode()) is None, answer.body
    assert SECRETS.search(str(answer.headers)) is None, answer.headers
    return error


def failed_upstream(dialect: Dialect, answer: Answer, status: int) -> dict[str, Any]:
    """`refused` for a provider's failure: clients must not try the exhausted chain again."""
    error = refused(dialect, answer, status)
    assert answer.header("x-should-retry") == "false"
    return error


def broken(dialect: Dialect, answer: Answer) -> dict[str, Any]:
    """The error that a stream ends with; the connection's own framing is in order."""
    assert answer.status == 200, answer
    assert answer.is_whole, answer
    error = dialect.broken(answer.body)
    assert error is not None, answer.body[-500:]
    assert not dialect.ended(answer.body)
    assert error["request_id"] == answer.header("x-request-id")
    assert SECRETS.search(error["message"]) is None, error
    return error


# ── peers that misbehave in ways that the simulator does not ──────────────────────────────────────


class Peer:
    """A provider made of bytes: to each request it says what `answers` gives next, and at the last one
    stays. `requests` holds what came, `closed_at` when connections were closed by the gateway."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.closed_at: list[float] = []
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a second piece waits 40 ms for the first
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while (request := _read_request(sock)) is not None:
                    self.requests.append(request)
                    answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                    if callable(answer):
                        answer(sock)
                    else:
                        sock.sendall(answer)
                        if b"content-length" not in answer and b"chunked" not in answer:
                            return
            except OSError:
                pass
            self.closed_at.append(time.monotonic())


def _read_request(sock: socket.socket) -> bytes | None:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if len(body) >= (int(length[1]) if length else 0):
                return data
        piece = sock.recv(1 << 16)
        if not piece:
            return None
        data += piece


@contextmanager
def peer(*answers: bytes | Callable[[socket.socket], None]) -> Iterator[Peer]:
    running = Peer(*answers)
    try:
        yield running
    finally:
        running.close()


def http(body: bytes, content_type: str = "application/json", status: str = "200 OK", more: str = "") -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body

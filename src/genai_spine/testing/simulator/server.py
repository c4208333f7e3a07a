"""The simulator's server: HTTP/1.1 on a raw socket, so that every fault is the real thing.

    async with Simulator(key="sk-test") as simulator:
        ...  # point a client at simulator.urls.openai
        simulator.received[-1].json()

Where a fault comes from: the request's `x-simulate` header, else what follows the plus in the model's name,
else the script. See faults.py for the grammar and script.py for scripts.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import cast

import httptools
import msgspec

from genai_spine.model.errors import ConfigError, InvalidRequest, SpineError
from genai_spine.testing.simulator.answers import Answer, Received, failure
from genai_spine.testing.simulator.bill import DEFAULT_RATES, Bill, Rates
from genai_spine.testing.simulator.bill import PATH as BILL_PATH
from genai_spine.testing.simulator.damage import damaged
from genai_spine.testing.simulator.delivery import Broken, Wire, deliver, whole
from genai_spine.testing.simulator.faults import HEADER, NO_FAULT, Fault, parse_fault, split_model
from genai_spine.testing.simulator.routes import Asked, Route
from genai_spine.testing.simulator.script import Script, Step, load_script
from genai_spine.testing.simulator.services import (
    check_key,
    fault_error,
    fault_headers,
    faulty_answer,
    find_route,
    not_found,
)

DEFAULT_PORT = 8199
_MOST_PIECES_AT_ONCE = 2000
_MAX_BODY_BYTES = 256 * 1024 * 1024
_LINGER_STEPS = 250


class BaseUrls(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients are pointed, by dialect."""

    root: str

    @property
    def openai(self) -> str:
        return f"{self.root}/v1"

    @property
    def anthropic(self) -> str:
        return self.root

    @property
    def ollama(self) -> str:
        return self.root

    @property
    def gemini(self) -> str:
        return f"{self.root}/v1beta"

    def of(self, dialect: str) -> str:
        """The base URL that a provider's row gives for this dialect."""
        if dialect.startswith("gemini"):
            return self.gemini
        return self.openai if dialect.startswith("openai") else self.root


class Simulator:
    """The services of services.py on one port. `received` holds the last `keep` requests."""

    def __init__(
        self,
        *,
        script: Script | None = None,
        key: str | None = None,
        keep: int = 1000,
        rates: Mapping[str, Rates] = DEFAULT_RATES,
    ) -> None:
        self.script = script or Script()
        self.key = key
        self.bill = Bill(rates)
        self.received: deque[Received] = deque(maxlen=keep)
        self.connections: set[_Connection] = set()
        self.connections_made = 0
        self._requests = 0
        self._used: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._host = "127.0.0.1"

    # ------------------------------------------------------------ the server

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises: ConfigError where the port is taken or the host is not ours."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Connection(self), host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"port {port} on {host} is in use: stop what listens there, or choose another with --port"
                ) from None
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        self._host = host

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def urls(self) -> BaseUrls:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self._host, self._host)
        return BaseUrls(root=f"http://{f'[{host}]' if ':' in host else host}:{self.port}")

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.drop()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------ one request

    def run(self, *steps: Step | Fault | str, repeat: bool = False) -> None:
        """A new script: these faults for the next requests, one each."""
        self.script = Script(steps, repeat=repeat)

    def number(self) -> str:
        self._requests += 1
        return f"req_sim_{self._requests:06d}"

    def early_answer(self, received: Received) -> Answer | None:
        """For a fault with `early`: the answer while the body is still on its way."""
        if received.wish is None and not self.script.steps:
            return None
        try:
            fault = parse_fault(received.wish or "")
        except InvalidRequest:
            return None
        if received.wish is None and (step := self.script.find(received.path, None)) is not None and step.fault.early:
            fault = step.fault
            self.script.take(received.path, None)
        route = find_route(received)
        if not fault.early or route is None:
            return None
        fault = fault if fault.status is not None else msgspec.structs.replace(fault, status=413)
        received.fault = fault
        return self._framed(faulty_answer(fault, received.request_id, route.encode_error) or Answer(), received)

    def answer(self, received: Received) -> Answer:
        """What is answered, and in `received.fault` what goes wrong with it on the socket."""
        if received.path == BILL_PATH and received.method == "GET":
            return self._framed(Answer(pieces=(msgspec.json.encode(self.bill.told()),)), received)
        route = find_route(received)
        if route is None:
            return self._framed(not_found(received), received)
        try:
            if self.key is not None:
                check_key(received, self.key)
            asked = route.ask(received)
            fault, model, words = self._chosen(received, asked)
            received.fault, received.model = fault, model
            answer = self._answered(received, route, asked, words)
        except SpineError as error:
            answer = failure(error, received.request_id, route.encode_error)
        if answer.work is not None and not received.fault.is_unread:
            self.bill.add(received.request_id, received.path, received.model, answer.work)
        return self._framed(answer, received)

    def _answered(self, received: Received, route: Route, asked: Asked, words: str | None) -> Answer:
        fault = received.fault
        if fault is NO_FAULT or fault == NO_FAULT:
            return asked.answer(received.model, fault, words)
        answer = faulty_answer(fault, received.request_id, route.encode_error)
        if answer is None:
            answer = asked.answer(received.model, fault, words)
            if fault.status is not None and fault.error_at is None:
                answer = msgspec.structs.replace(answer, status=fault.status)
        error_event = asked.error(fault_error(fault)) if fault.error_at is not None and asked.error else None
        if fault.error_at is not None and error_event is not None and answer.work is not None:
            answer = msgspec.structs.replace(answer, work=answer.work.until(fault.error_at))
        answer = damaged(answer, fault, error_event)
        if fault.content_type is not None:
            answer = msgspec.structs.replace(answer, content_type=fault.content_type.encode())
        return answer

    def _framed(self, answer: Answer, received: Received) -> Answer:
        request_id = received.request_id.encode()
        headers = (
            *answer.headers,
            (b"x-request-id", request_id),
            (b"request-id", request_id),
            *fault_headers(received.fault, time.time()),
        )
        received.status = answer.status
        return msgspec.structs.replace(answer, headers=headers)

    def _chosen(self, received: Received, asked: Asked) -> tuple[Fault, str | None, str | None]:
        """The fault, the model's name without it, and the words that a script gives."""
        model, written = split_model(asked.model) if asked.model is not None else (None, None)
        if received.wish is not None:
            written = received.wish
        if written is not None:
            fault = parse_fault(written)
            if fault.times is not None:
                self._used[f"{model}+{written}"] += 1
                if self._used[f"{model}+{written}"] > fault.times:
                    return NO_FAULT, model, None
            return fault, model, None
        if self.script.steps and (step := self.script.take(received.path, model)) is not None:
            return step.fault, model, step.answer
        return NO_FAULT, model, None


class _Connection(asyncio.Protocol):
    """One connection: requests in, answers out, one at a time and in order."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Received, bool, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._current: Received | None = None
        self._number = 0

    # ------------------------------------------------------------ the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._wire = Wire(self._transport)
        self._simulator.connections.add(self)
        self._simulator.connections_made += 1
        self._number = self._simulator.connections_made

    def connection_lost(self, exc: Exception | None) -> None:
        self._simulator.connections.discard(self)
        if self._current is not None and self._current.outcome == "open":
            self._current.outcome = "gone"
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a mistake of ours: asyncio logs it and closes the connection
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n%b\n"
                % str(error).encode()
            )
            self._transport.close()

    def pause_writing(self) -> None:
        self._wire.pause()

    def resume_writing(self) -> None:
        self._wire.resume()

    def drop(self) -> None:
        self._transport.abort()

    # ------------------------------------------------------------ httptools' callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._wish: str | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._received: Received | None = None
        self._answered_early = False
        self._complete = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == HEADER:
            self._wish = value.decode("latin-1")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        received = self._received = Received(
            method=self._parser.get_method().decode(),
            path=path,
            query=query,
            headers=tuple(self._headers),
            request_id=self._simulator.number(),
            connection=self._number,
            wish=self._wish,
        )
        self._simulator.received.append(received)
        if (answer := self._simulator.early_answer(received)) is not None:
            self._answered_early = True
            self._start(self._deliver_early(received, answer))
        elif (b"expect", b"100-continue") in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= _MAX_BODY_BYTES and not self._answered_early:
            self._body.append(body)

    def on_message_complete(self) -> None:
        received = self._received
        assert received is not None
        self._complete = True
        if self._answered_early:
            return
        received.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        keep_alive = self._parser.should_keep_alive()
        old = self._parser.get_http_version() == "1.0"
        self._waiting.append((received, keep_alive, old))
        if self._task is None:
            self._next()

    # ------------------------------------------------------------ answers

    def _next(self) -> None:
        """Answer what waits; without a fault at once, and with one in a task, after which this goes on."""
        while self._waiting and not self._transport.is_closing():
            received, keep_alive, old = self._waiting.popleft()
            answer = self._simulator.answer(received)
            self._current = received
            bodiless = received.method == "HEAD"
            if received.fault.connection == "close":
                keep_alive = False
            if received.fault is not NO_FAULT or len(answer.pieces) > _MOST_PIECES_AT_ONCE:
                self._start(self._deliver(received, answer, keep_alive, old, bodiless))
                return
            received.outcome = "answered"  # before the client can know
            for data in whole(answer, keep_alive=keep_alive, old=old, bodiless=bodiless):
                if self._transport.is_closing():
                    break  # the client has gone: asyncio would warn of every further piece
                self._transport.write(data)
            if not keep_alive or (old and answer.streamed):
                self._transport.close()

    def _start(self, delivery: Coroutine[None, None, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(delivery)

    async def _deliver(self, received: Received, answer: Answer, keep_alive: bool, old: bool, bodiless: bool) -> None:
        fault = received.fault
        try:
            await deliver(self._wire, answer, fault, keep_alive=keep_alive, old=old, bodiless=bodiless)
        except Broken:
            received.outcome = "broken"
            return
        received.outcome = "answered"
        if self._answered_early:
            await self._linger()
        self._task = None
        if not keep_alive or fault.framing == "until-close" or (old and answer.streamed):
            self._transport.close()
        self._next()

    async def _linger(self) -> None:
        """Let the rest of an upload come, for a while: a close at once would be a reset to the peer."""
        for _ in range(_LINGER_STEPS):
            if self._complete:
                return
            await asyncio.sleep(0.02)

    async def _deliver_early(self, received: Received, answer: Answer) -> None:
        self._current = received
        await self._deliver(received, answer, False, False, False)


async def serve(
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    script: Script | str | Path | None = None,
    key: str | None = None,
    rates: Mapping[str, Rates] = DEFAULT_RATES,
    ready: Callable[[BaseUrls], None] | None = None,
) -> None:
    """Run a simulator until SIGINT or SIGTERM, or until cancelled; `ready` is told where it listens.

    Raises: ConfigError for a port in use or a script that cannot be read.
    """
    if isinstance(script, str | Path):
        script = load_script(script)
    simulator = Simulator(script=script, key=key, keep=0, rates=rates)
    await simulator.start(host, port)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stopped.set)
    try:
        if ready is not None:
            ready(simulator.urls)
        await stopped.wait()
    finally:
        for number in signals:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)
        await simulator.close()

"""Serving: sockets, the application's life, signals and the drain. Worker processes are in `workers.py`.

    run(create_gateway, settings, ready=announce)        # blocks; returns when drained: exit code 0
    await serve(create_gateway, settings.server)         # the same on a running loop

What the application may have, beside being ASGI, whose lifespan's exceptions come out here:

    draining               set to True when the server no longer takes requests
    abort_streams()        plain or a coroutine; ends each open stream with an error event: the drain has taken too long
    join(folder, place)    it is the worker of this number, of several that share a folder
    write_timeout_s        how long its callers may take nothing of an answer

Must not know: routes, dialects, providers. Prints nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import inspect
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import msgspec
import uvloop

from genai_spine.gateway.connections import Connections, Limits
from genai_spine.gateway.exchange import ASGIApp, Message
from genai_spine.gateway.protocol import HttpConnection
from genai_spine.model.errors import ConfigError
from genai_spine.settings.tree import ServerSettings, Settings

Ready = Callable[[str, int], None]
"""Called once with the address and the port that are listened on."""

BACKLOG = 2048
ABORT_S = 2.0
"""How long aborted streams have for their last event."""
LIFESPAN_S = 10.0
"""How long the application may take to end."""
SPARE_FILES = 64
FEW_CONNECTIONS = 1000
"""With fewer than these possible, the operator is told."""
FILES_PER_CONNECTION = 2  # the caller's and the provider's

logger = logging.getLogger("genai_spine.gateway")


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGHUP is among them, which a terminal sends as it is closed, unless it is ignored, as under nohup."""
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGTERM, signal.SIGINT) if is_kept else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(app_factory: Callable[[Settings], ASGIApp], settings: Settings, *, ready: Ready | None = None) -> None:
    """Serve until a signal of `stop_signals`, then drain. With several workers, `app_factory` must be importable.

    Raises: ConfigError if the address cannot be had or may not be; whatever the application's start raises.
    """
    from genai_spine.gateway.workers import run_workers  # noqa: PLC0415  # multiprocessing, only where it is used

    raise_file_limit()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sockets = open_sockets(settings.server)
    try:
        if settings.server.workers > 1:
            run_workers(app_factory, settings, sockets, ready)
        else:
            run_here(partial(app_factory, settings), settings.server, sockets, ready)
    finally:
        for sock in sockets:
            sock.close()


def run_here(
    app_factory: Callable[[], ASGIApp],
    server: ServerSettings,
    sockets: Sequence[socket.socket],
    ready: Ready | None,
    stop_when_readable: int | None = None,
) -> None:
    """One process, one event loop. `stop_when_readable` is a pipe that says stop, in place of signals."""
    _calm_garbage_collection()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(app_factory, server, ready=ready, sockets=sockets, stop_when_readable=stop_when_readable))


def _calm_garbage_collection() -> None:
    """What is loaded by now stays for good and need not be searched; what a request leaves behind has few
    cycles. Measured: 5 to 10 % of a request's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def serve(
    app_factory: Callable[[], ASGIApp],
    server: ServerSettings,
    *,
    ready: Ready | None = None,
    stop: asyncio.Event | None = None,
    sockets: Sequence[socket.socket] | None = None,
    stop_when_readable: int | None = None,
) -> None:
    """Serve until a signal, or until `stop` is set; then drain and return.

    Raises: as `run`.
    """
    loop = asyncio.get_running_loop()
    stopping = _Stop(stop or asyncio.Event())
    own_sockets = open_sockets(server) if sockets is None else sockets
    listeners: list[asyncio.Server] = []
    try:
        app = app_factory()
        async with _lifespan(app):
            connections = Connections(app, _bound_by_files(_limits_of(server, app)), loop)
            try:
                with stopping.listen_to_signals(loop, stop_when_readable):
                    for sock in own_sockets:
                        make = partial(HttpConnection, connections)
                        listeners.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))
                    if ready is not None:
                        ready(*own_sockets[0].getsockname()[:2])
                    await stopping.first.wait()
                    _close(listeners, own_sockets)
                    await _drain(app, connections, server.drain_timeout, stopping.second)
            finally:  # before the application ends: what is cancelled has no drain
                _close(listeners, own_sockets)
                connections.abort()
                connections.close()
    finally:
        _close(listeners, own_sockets)


def _close(listeners: Sequence[asyncio.Server], sockets: Sequence[socket.socket]) -> None:
    for listener in listeners:
        listener.close()
    for sock in sockets:
        sock.close()


def _limits_of(server: ServerSettings, app: ASGIApp) -> Limits:
    limits, write_timeout_s = Limits.of(server), getattr(app, "write_timeout_s", None)
    return msgspec.structs.replace(limits, write_timeout_s=write_timeout_s) if write_timeout_s is not None else limits


# Addresses


def open_sockets(server: ServerSettings) -> list[socket.socket]:
    """Bound sockets for every address of `server.host`, not yet listening.

    Raises: ConfigError where there is no such address, it is taken, or it may be reached by others
    and no key is set.
    """
    host, port = server.host, server.port
    sockets: list[socket.socket] = []
    for family, address in addresses_of(server):
        try:
            sockets.append(_bind(family, address, port, is_wild=host == "::"))
        except OSError as error:
            if sockets and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # localhost where there is no IPv6
            for sock in sockets:
                sock.close()
            raise _cannot_bind(host, port, error) from None
        port = sockets[0].getsockname()[1]
    return sockets


def addresses_of(server: ServerSettings) -> list[tuple[int, str]]:
    """Family and address of each that `server.host` means. Binds none.

    Raises: ConfigError where there is none, or one may be reached by others and no key is set.
    """
    try:
        found = socket.getaddrinfo(server.host or None, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f'cannot listen on "{server.host}" (server.host): {getattr(error, "strerror", None) or error}; '
            "use 127.0.0.1, or an address of this machine"
        ) from None
    addresses = list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))
    _check_exposure(server.host, [address for _, address in addresses], any(server.all_keys))
    return addresses


def _bind(family: int, address: str, port: int, is_wild: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_wild)
        sock.bind((address, port))
        sock.listen(BACKLOG)  # here, so that a port in use is known before the application starts
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _cannot_bind(host: str, port: int, error: OSError) -> ConfigError:
    where = f"cannot listen on {host}:{port} (server.host, server.port)"
    match error.errno:
        case errno.EADDRINUSE:
            mend = "the port is in use: stop the other program, or choose another port with --port"
        case errno.EACCES | errno.EPERM:
            mend = "not permitted: ports below 1024 need privileges; choose another with --port"
        case errno.EADDRNOTAVAIL:
            mend = "this machine has no such address: use 127.0.0.1, or 0.0.0.0 for all"
        case _:
            mend = error.strerror or str(error)
    return ConfigError(f"{where}: {mend}")


def _check_exposure(host: str, addresses: Sequence[str], has_keys: bool) -> None:
    if has_keys or all(_is_loopback(address) for address in addresses):
        return
    raise ConfigError(
        f'will not listen on "{host}" without a key (server.api_keys): anyone who reaches this machine could '
        "spend on your providers' accounts. Make a key with\n"
        '    python -c "import secrets; print(secrets.token_urlsafe(32))"\n'
        "and set it as api_keys in [server] or as GENAI_SERVER__API_KEYS; or listen on 127.0.0.1"
    )


def _is_loopback(address: str) -> bool:
    return address == "::1" or address.removeprefix("::ffff:").startswith("127.")


def raise_file_limit() -> None:
    """Each connection is a file: take all that the system gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS: the hard limit may be more than it grants
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _bound_by_files(limits: Limits) -> Limits:
    """No more connections than there are files for them: beyond, the answer is 503 and not EMFILE."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return limits
    possible = max(1, (soft - SPARE_FILES) // FILES_PER_CONNECTION)
    if possible >= limits.max_connections:
        return limits
    logger.log(
        logging.WARNING if possible < FEW_CONNECTIONS else logging.INFO,
        "at most %d connections at a time, not %d (server.max_connections): the limit of open files is %d; "
        "raise it with ulimit -n",
        possible, limits.max_connections, soft,
    )  # fmt: skip
    return msgspec.structs.replace(limits, max_connections=possible)


# The application's life


@contextlib.asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """ASGI's lifespan, to its end also where serving is cancelled. An application that does not know it is served
    without.

    Raises: what the application raises before it has started; ConfigError for `lifespan.startup.failed`.
    """
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()

    async def receive() -> Message:
        return await inbox.get()

    async def send(message: Message) -> None:
        outbox.put_nowait(message)

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}

    async def live() -> None:
        await app(scope, receive, send)

    task = asyncio.create_task(live())
    try:
        await inbox.put({"type": "lifespan.startup"})
        if failure := await _answer(task, outbox):
            raise ConfigError(failure)
        try:
            yield
        finally:
            await inbox.put({"type": "lifespan.shutdown"})
            with contextlib.suppress(TimeoutError):
                if failure := await asyncio.wait_for(_answer(task, outbox), LIFESPAN_S):
                    logger.error("the application did not end well: %s", failure)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _answer(task: asyncio.Task[None], outbox: asyncio.Queue[Message]) -> str | None:
    """What the application's lifespan says next: None if all is well, else why not."""
    waiting = asyncio.create_task(outbox.get())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if not waiting.done() or waiting.cancelled():
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return None
    message = waiting.result()
    return str(message.get("message") or message["type"]) if message["type"].endswith(".failed") else None


# The end


class _Stop:
    """The first signal asks for a drain, the second for an end."""

    def __init__(self, first: asyncio.Event) -> None:
        self.first = first
        self.second = asyncio.Event()

    def ask(self) -> None:
        if self.first.is_set():
            self.second.set()
        self.first.set()

    @contextlib.contextmanager
    def listen_to_signals(self, loop: asyncio.AbstractEventLoop, fd: int | None) -> Iterator[None]:
        is_ours = fd is None and threading.current_thread() is threading.main_thread()
        signals = stop_signals() if is_ours else ()
        for number in signals:
            loop.add_signal_handler(number, self.ask)
        if fd is not None:
            loop.add_reader(fd, self._read, loop, fd)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
            if fd is not None:
                loop.remove_reader(fd)

    def _read(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        """The supervisor writes a byte per signal; if it is gone, so are we."""
        data = os.read(fd, 1)
        if not data:
            loop.remove_reader(fd)
        self.ask()


async def _drain(app: ASGIApp, connections: Connections, timeout_s: float, hurry: asyncio.Event) -> None:
    """Let open requests end; after `timeout_s`, or when hurried, end their streams with an error event."""
    logger.info("draining: %d requests are open", len(connections.running))
    if hasattr(app, "draining"):
        cast(Any, app).draining = True
    connections.drain()
    await _wait_until_done(connections, timeout_s, hurry)
    if connections.running:
        logger.warning("ending %d requests that are still open", len(connections.running))
        abort_streams = getattr(app, "abort_streams", None)
        if abort_streams is not None:
            result = abort_streams()
            if inspect.isawaitable(result):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(result, ABORT_S)
        await _wait_until_done(connections, ABORT_S, None)
    connections.abort()
    await _wait_until_done(connections, 1.0, None)


async def _wait_until_done(connections: Connections, timeout_s: float, hurry: asyncio.Event | None) -> None:
    """Until no request runs and no connection is open: unsent bytes are work, too."""
    deadline = connections.loop.time() + timeout_s
    while (connections.running or connections.open) and connections.loop.time() < deadline:
        if hurry is not None and hurry.is_set():
            return
        await asyncio.sleep(0.02)

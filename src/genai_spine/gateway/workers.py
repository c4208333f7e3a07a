"""Several processes on the same sockets, and the one that looks after them.

The sockets are bound once, by the supervisor; each worker accepts from them, so that a worker's death
loses no connection but its own. Workers are spawned, not forked: no thread or lock comes along, and it is
the same on Linux and macOS. Settings and the application's factory reach them by pickle. What they tell
each other is in a folder of theirs.

A pipe from the supervisor to each worker carries the stop: a byte per signal; its end, when the
supervisor is gone, says the same. Signals of the terminal are the supervisor's business alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from genai_spine.gateway.exchange import ASGIApp
from genai_spine.gateway.server import Ready, raise_file_limit, run_here, stop_signals
from genai_spine.model.errors import ConfigError, SpineError
from genai_spine.settings.tree import Settings

if TYPE_CHECKING:
    from types import FrameType

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
START_S = 30.0
RESTART_PAUSE_S = 1.0
"""Between two starts of a worker that keeps dying."""

logger = logging.getLogger("genai_spine.gateway")


class Worker:
    """One process, its line for stopping it, and the line on which it tells that it serves."""

    def __init__(
        self,
        app_factory: Callable[[Settings], ASGIApp],
        settings: Settings,
        sockets: Sequence[socket.socket],
        folder: str | None,
        place: int,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.news, news = context.Pipe(duplex=False)
        orders, self.orders = context.Pipe(duplex=False)
        self.started_at = time.monotonic()
        self.process: SpawnProcess = context.Process(
            target=_work,
            args=(app_factory, settings, list(sockets), folder, place, orders, news),
            name="spine-worker",
        )
        with _stop_held_back():
            self.process.start()
        news.close()
        orders.close()

    def stop(self) -> None:
        try:
            os.write(self.orders.fileno(), b"x")
        except OSError:
            pass  # it is dead already

    def last_words(self) -> str | None:
        """Why a process that is gone could not serve, where it has said so."""
        said: str | None = None
        with suppress(EOFError, OSError):
            while self.news.poll():
                said = self.news.recv() or said
        return said

    def close(self) -> None:
        self.news.close()
        self.orders.close()


@contextmanager
def _stop_held_back() -> Iterator[None]:
    """A process that is made here gets no signal to stop before `_work` has said that they are the supervisor's: a
    terminal and systemd send them to all processes."""
    resource_tracker.ensure_running()  # which lets them through again when it is first started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_workers(
    app_factory: Callable[[Settings], ASGIApp],
    settings: Settings,
    sockets: Sequence[socket.socket],
    ready: Ready | None,
) -> None:
    """Keep `server.workers` processes serving until a signal of `stop_signals`, then let them drain.

    Raises: ConfigError if the first workers do not start.
    """
    with _folder() if settings.server.metrics != "none" else nullcontext() as folder:
        _run(settings, sockets, ready, partial(Worker, app_factory, settings, sockets, folder))


def _run(
    settings: Settings, sockets: Sequence[socket.socket], ready: Ready | None, spawn: Callable[[int], Worker]
) -> None:
    signals_seen: list[int] = []
    awake, wake = os.pipe()
    os.set_blocking(wake, False)

    def note(number: int, _: FrameType | None) -> None:
        signals_seen.append(number)
        os.write(wake, b"x")

    previous = {number: signal.signal(number, note) for number in stop_signals()}
    workers = [spawn(place) for place in range(settings.server.workers)]
    try:
        for worker in workers:
            _wait_for_start(worker, signals_seen)
        if ready is not None and not signals_seen:
            ready(*sockets[0].getsockname()[:2])
        _supervise(workers, spawn, signals_seen, awake)
    finally:
        for sock in sockets:
            sock.close()
        for worker in workers:
            worker.stop()
        _join(workers, signals_seen, settings.server.drain_timeout + START_S)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(awake)
        os.close(wake)


@contextmanager
def _folder() -> Iterator[str]:
    """Where the workers leave what the others should know. Raises: ConfigError."""
    try:
        folder = TemporaryDirectory(prefix="spine-workers-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(f"no folder can be made in which workers tell each other their numbers: {error}") from error
    with folder as name:
        yield name


def _wait_for_start(worker: Worker, signals_seen: list[int]) -> None:
    deadline = time.monotonic() + START_S
    while not signals_seen and time.monotonic() < deadline:
        if worker.news.poll(0.1):
            try:
                failure = worker.news.recv()
            except EOFError:
                failure = "a worker died while it started; the log above says why"
            if failure:
                raise ConfigError(failure)
            return
    if not signals_seen:
        raise ConfigError(f"a worker did not start within {START_S:g} seconds")


def _supervise(workers: list[Worker], spawn: Callable[[int], Worker], signals_seen: list[int], awake: int) -> None:
    while not signals_seen:
        wait([awake, *(worker.process.sentinel for worker in workers)])
        for index, worker in enumerate(workers):
            if signals_seen or worker.process.is_alive():
                continue
            why = worker.last_words() or worker.process.exitcode
            logger.error("worker %s died (%s): starting another", worker.process.pid, why)
            if time.monotonic() - worker.started_at < RESTART_PAUSE_S:
                time.sleep(RESTART_PAUSE_S)
            worker.close()
            workers[index] = spawn(index)


def _join(workers: list[Worker], signals_seen: list[int], timeout_s: float) -> None:
    """Wait for the workers' drain; each further signal is handed on; what hangs is killed."""
    deadline = time.monotonic() + timeout_s
    told = 1  # the first signal is told already
    while any(worker.process.is_alive() for worker in workers) and time.monotonic() < deadline:
        wait([worker.process.sentinel for worker in workers if worker.process.is_alive()], timeout=0.1)
        if len(signals_seen) > told:
            told = len(signals_seen)
            for worker in workers:
                worker.stop()
    for worker in workers:
        if worker.process.is_alive():
            worker.process.kill()
        worker.process.join()
        worker.close()


def _work(
    app_factory: Callable[[Settings], ASGIApp],
    settings: Settings,
    sockets: Sequence[socket.socket],
    folder: str | None,
    place: int,
    orders: Connection,
    news: Connection,
) -> None:
    """A worker's main: serves until the supervisor says stop, or is gone."""
    for number in (*STOP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    raise_file_limit()

    def ready(_: str, __: int) -> None:
        news.send(None)

    def made() -> ASGIApp:
        app = app_factory(settings)
        join: Callable[[Path, int], None] | None = getattr(app, "join", None)
        if folder is not None and join is not None:
            join(Path(folder), place)
        return app

    try:
        run_here(made, settings.server, sockets, ready, orders.fileno())
    except SpineError as error:
        news.send(str(error))

"""Those who are told of each call that is over: traces (tracing.py), or whatever a stranger makes of it.

    [project.entry-points."genai_spine.observers"]
    audit = "my_package:Audit"

makes `logging.observers = ["audit"]` one. It names a function of an `Observed`, or a class that is called without
arguments and makes one. A method `context` is asked in the caller's task, where the call begins, and what it says comes
back as `Observed.context`; a method `close` hears that nothing follows.

They are told in a thread of their own, within about half a second: no call waits for one, whatever it does. What it
raises is logged. The entries are the ledger's, through the ledger's matching; no ledger is needed for it.

Must not know: what is made of it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from importlib.metadata import EntryPoint
from typing import Any, Protocol

import msgspec

from genai_spine.catalog.entry_points import loaded, points, told
from genai_spine.engine.costs.accounts import Watcher
from genai_spine.ledger.entry import Begun, Call, Entry
from genai_spine.ledger.matching import Attempt, Matching
from genai_spine.model.errors import ConfigError
from genai_spine.settings.explain import did_you_mean

logger = logging.getLogger(__name__)

GROUP = "genai_spine.observers"
_OURS = (EntryPoint("opentelemetry", "genai_spine.engine.tracing:OpenTelemetry", GROUP),)
MOST_WAITING = 10_000
"""Entries that an observer may be behind; what begins while there are more is not told."""
EVERY_S = 0.25
CLOSING_S = 10.0

TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The header of that name that a gateway's caller sent, as https://www.w3.org/TR/trace-context/ has it."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is over, and all its attempts, those included that ended after it. What an entry holds, and in what
    units: ledger/entry.py. No text of a prompt or an answer."""

    call: Call
    attempts: tuple[Attempt, ...] = ()
    context: Any = None
    """What the observer's own `context` said."""


class Observer(Protocol):
    """A function of what was observed, which may have `context() -> object` and `close() -> None` besides."""

    def __call__(self, observed: Observed, /) -> object: ...


class Observers:
    """Those of one manager."""

    def __init__(self, watch: Callable[[Watcher], None]) -> None:
        """`watch` has somebody told each of the ledger's entries."""
        self._watch: Callable[[Watcher], None] | None = watch
        self._all: list[Observer] = []
        self._waiting: deque[tuple[Entry, tuple[Any, ...]]] = deque()
        self._losing = False
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._process = os.getpid()
        self._failing: set[int] = set()
        self._forget()

    def _forget(self) -> None:
        self._waiting.clear()
        # Of the thread alone:
        self._matching = Matching()
        self._contexts: dict[str, tuple[Any, ...]] = {}
        self._attempts: dict[str, list[Attempt]] = {}
        self._ended: dict[str, Call] = {}

    @classmethod
    def of(cls, names: Iterable[str], watch: Callable[[Watcher], None]) -> Observers:
        """Raises: ConfigError."""
        observers = cls(watch)
        for name in dict.fromkeys(names):
            observers.add(_made(name))
        return observers

    def add(self, observer: Observer) -> None:
        """Tells `observer`, too, of what begins from now on."""
        if not callable(observer):
            raise ConfigError(f"{type(observer).__name__} is no observer: it cannot be called with what was observed")
        self._all.append(observer)
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch(self._take)

    async def close(self) -> None:
        """Tells what is left, and ends. Calls that follow all the same are told as before."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._over.set()
        try:
            await asyncio.to_thread(thread.join, CLOSING_S)
        except RuntimeError:  # the interpreter ends, and gives no more threads
            thread.join(CLOSING_S)
        if thread.is_alive():
            logger.warning("observers were not done within %.0f seconds: what they had not heard is lost", CLOSING_S)

    # ------------------------------------------------------------ in the caller's task

    def _take(self, *entries: Entry) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._begin()
        for entry in entries:
            context: tuple[Any, ...] = ()
            if isinstance(entry, Begun | Call):
                if len(self._waiting) >= MOST_WAITING:
                    self._lose()
                    continue
                context = tuple(_context_of(observer) for observer in self._all)
            self._waiting.append((entry, context))

    def _lose(self) -> None:
        if not self._losing:
            self._losing = True
            logger.warning("observers cannot follow: calls are not told to them until they have caught up")

    def _begin(self) -> None:
        if self._process != os.getpid():  # a fork: what was under way is the other process's to tell
            self._process = os.getpid()
            self._forget()
        self._over = over = threading.Event()
        self._thread = threading.Thread(
            target=_serve, args=(weakref.ref(self), over), name="genai-spine-observers", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, over.set)

    # ------------------------------------------------------------ in the thread

    def tell(self) -> None:
        """What has come since."""
        for _ in range(len(self._waiting)):
            entry, context = self._waiting.popleft()
            call = entry.call if isinstance(entry, Begun) else entry.id
            if context:
                self._contexts.setdefault(call, context)
            for row in self._matching.take((entry,)):
                if isinstance(row, Attempt):
                    self._attempts.setdefault(row.begun.call, []).append(row)
                    self._deliver(row.begun.call)
                else:
                    self._ended[row.id] = row
                    self._deliver(row.id)
        self._losing = False
        for calls in (self._contexts, self._attempts):  # of calls whose end was not told
            while len(calls) > MOST_WAITING:
                del calls[next(iter(calls))]

    def _deliver(self, id: str) -> None:
        """Tells of a call, once it is over and no attempt of it is under way."""
        if id not in self._ended or self._matching.has_open({id}):
            return
        call, attempts = self._ended.pop(id), tuple(self._attempts.pop(id, ()))
        contexts = self._contexts.pop(id, ())
        for place, observer in enumerate(tuple(self._all)):
            context = contexts[place] if place < len(contexts) else None
            try:
                observer(Observed(call=call, attempts=attempts, context=context))
            except Exception:  # a stranger's
                self._fail(place, observer)
            else:
                self._failing.discard(place)

    def _fail(self, place: int, observer: Observer) -> None:
        if place not in self._failing:
            self._failing.add(place)
            logger.exception("the observer %r failed; its further failures in a row are not logged", observer)

    def end(self) -> None:
        for observer in self._all:
            close = getattr(observer, "close", None)
            if callable(close):
                try:
                    close()
                except Exception:  # a stranger's
                    logger.exception("the observer %r could not be closed", observer)


def _serve(observers: weakref.ref[Observers], over: threading.Event) -> None:
    is_over = False
    while not is_over:
        is_over = over.wait(EVERY_S)
        told = observers()
        if told is None:
            return
        told.tell()
        if is_over:
            told.end()
        del told  # who drops the manager drops this


def _context_of(observer: Observer) -> Any:
    context = getattr(observer, "context", None)
    if not callable(context):
        return None
    try:
        return context()
    except Exception:  # a stranger's
        logger.exception("the observer %r could not tell the context of a call", observer)
        return None


def _made(name: str) -> Observer:
    """Raises: ConfigError."""
    found = points(GROUP, _OURS)
    point = found.get(name)
    if point is None:
        known = did_you_mean(name, found) or f"; there are {', '.join(found)}"
        raise ConfigError(f'logging.observers: no observer "{name}"{known}')
    named = loaded(point)
    try:
        made: Any = named() if inspect.isclass(named) else named
    except ConfigError:
        raise
    except Exception as error:  # a stranger's constructor
        raise ConfigError(f"{told(point)} cannot be made: {type(error).__name__}: {error}") from error
    if not callable(made):
        raise ConfigError(f"{told(point)} is no observer: it is not a function of what was observed")
    observer: Observer = made
    return observer

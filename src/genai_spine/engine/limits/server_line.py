"""The line to a server that counts for several processes: commands in, answers out, and what happens when none come.

Commands of all calls go through one connection, those that came up together in one write, so that many at a
time cost little more than one. A server that lets such a write wait for too long counts as away: everyone who
waits is told at once, nobody asks any more, and a probe in the background finds out when it is back. Nothing is
sent twice: what was taken twice would have to be given back. Must not know: which server it is (redis_line.py).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, TypeVar

_PROBES_S = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Before each probe of a server that is away; the last one again and again."""
_STEADY_S = 5.0
"""A server that is away again so soon takes our probes and not our commands: it is probed ever more rarely."""
_SPELLS = 5
"""Spells in which it is waited for; one that ends late was kept by this process itself."""
_CONNECT_S = 2.0
_MOST_AT_ONCE = 200

T = TypeVar("T")

logger = logging.getLogger("genai_spine.state")


class Command:
    """One run of the script. `answer` is None where nobody waits for it."""

    __slots__ = ("answer", "args", "compose", "heard", "keys", "undo")

    def __init__(
        self,
        keys: list[str],
        args: list[Any],
        answer: asyncio.Future[Any] | None = None,
        undo: Callable[[Any], None] | None = None,
        *,
        compose: Callable[[], list[Any]] | None = None,
        heard: Callable[[Any], None] | None = None,
    ) -> None:
        self.compose = compose
        """What gives the arguments as they are when the command is sent, all answers before it being heard."""
        self.heard = heard
        """Who hears of an answer before those do that wait for it."""
        self.keys = keys
        self.args = args
        self.answer = answer
        self.undo = undo
        """What to do with an answer for which nobody waits, or no more. Where nobody ever did, it is told of None, too:
        the command was sent, and it is not known whether it was heard."""


class ServerLine(ABC):
    """Opened by the first command, in the event loop of the day. `_client` is the connection, or None."""

    __slots__ = ("_awake", "_back_s", "_client", "_loop", "_pending", "_relapses", "_task", "_timeout_s", "_what",
                 "_why", "is_away", "meanwhile", "on_back", "on_lost", "place")  # fmt: skip

    may_be_emptied = True
    """Whether the server may lose all that it was told while it goes on."""

    def __init__(self, url: str, timeout_s: float, what: str) -> None:
        """`what` is counted, for the log."""
        self._timeout_s = timeout_s
        """How long the server may take for an answer."""
        self._what = what
        self._why = ""
        """Why it is away, as was said last."""
        self.place = _place(url)
        self.meanwhile = f"each process keeps {what} by itself"
        """What then holds, for the log."""
        self.is_away = False
        self.on_lost: Callable[[], None] = _nothing
        """Called as soon as the server is away."""
        self.on_back: Callable[[], list[Command]] = list
        """What is sent as soon as it is back, before all else."""
        self._client: Any = None
        self._pending: list[Command] = []
        self._awake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._back_s = -inf
        self._relapses = 0

    @abstractmethod
    async def _answers(self, batch: list[Command]) -> list[Any]:
        """One for each, over the connection that there is or a new one. Raises: whatever the server comes up with."""

    @abstractmethod
    async def _connect(self) -> Any:
        """A new connection in place of the old one. Raises: as `_answers`."""

    @abstractmethod
    async def _probe(self, client: Any) -> None:
        """Whether the server takes what is written, and not only answers. Raises: as `_answers`."""

    @abstractmethod
    async def _drop(self) -> None:
        """Close the connection, broken as it may be. Never raises."""

    def send(self, command: Command) -> None:
        """Sent as soon as those before it are answered; dropped where the server is away."""
        self._open()
        if not self.is_away:
            self._pending.append(command)
            self._awake.set()

    async def ask(
        self,
        keys: list[str],
        args: list[Any],
        undo: Callable[[Any], None],
        *,
        compose: Callable[[], list[Any]] | None = None,
        heard: Callable[[Any], None] | None = None,
    ) -> Any:
        """The script's answer; None where the server is away, or gave none in time. Never raises for that.

        `undo` gets an answer that came when nobody waited for it any more.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(Command(keys, args, answer, undo, compose=compose, heard=heard))
        if self.is_away:
            return None
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.result() is not None:
                undo(answer.result())
            raise

    async def check(self) -> None:
        """Whether the server takes what is written, for who wants to know before anything is sent.

        Raises: as `_answers`; TimeoutError.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._probe(await self._connect())
        finally:
            await self._drop()

    async def close(self) -> None:
        """Once what was sent is answered."""
        task, self._task = self._task, None
        if task is None or self._loop is not asyncio.get_running_loop():
            return
        while self._pending and not self.is_away and not task.done():
            await asyncio.wait([task], timeout=0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._drop()

    # ------------------------------------------------------------ in the background

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop, self._client = loop, None
            self._pending, self._awake = [], asyncio.Event()
            self._task = loop.create_task(self._run(), name="spine-shared-state")

    async def _run(self) -> None:
        while True:
            if self.is_away:
                await self._wait_until_back()
            await self._awake.wait()
            batch = self._pending[:_MOST_AT_ONCE]
            for command in batch:
                if command.compose is not None:
                    command.args = command.compose()
            try:
                answers = await self._in_time(self._answers(batch))
            except Exception as error:  # whatever the client or the server comes up with: the calls go on
                self._lose(error, sent=len(batch))
                continue
            del self._pending[: len(batch)]
            if not self._pending:
                self._awake.clear()
            for command, answer in zip(batch, answers, strict=True):
                _deliver(command, answer)

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What the server answers in time.

        A spell in which this process or the machine stood still counts for a quarter: else each busy moment here
        would be taken for the server's fault.
        Raises: TimeoutError.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        task.add_done_callback(_let_be)
        waits, spell_s = 0.0, self._timeout_s / _SPELLS
        try:
            while not task.done():
                begun_s = loop.time()
                await asyncio.wait([task], timeout=spell_s)
                waits += 1.0 if loop.time() - begun_s < 1.5 * spell_s else 0.25
                if waits >= _SPELLS and not task.done():
                    raise TimeoutError
            return task.result()
        finally:
            task.cancel()

    def _lose(self, error: Exception, sent: int) -> None:
        """The server is away: whoever waits for an answer goes on without one.

        What nobody waits for and was not `sent`, as that a call is over, is sent when it is back: what that call has
        held would else be held until its time is over.
        """
        if self.is_away:
            return
        self._why = why = _said(error) or f"no answer within {self._timeout_s * 1000:.0f} ms"
        logger.warning("%s is away (%s): until it answers %s", self.place, why, self.meanwhile)
        self.is_away = True
        pending = self._pending
        self._pending = [command for command in pending[sent:] if command.answer is None]
        if not self._pending:
            self._awake.clear()
        for command in itertools.chain(pending[:sent], (each for each in pending[sent:] if each.answer is not None)):
            _deliver(command, None)
        self.on_lost()

    async def _wait_until_back(self) -> None:
        loop = asyncio.get_running_loop()
        self._relapses = self._relapses + 1 if loop.time() - self._back_s < _STEADY_S else 0
        for pause_s in itertools.chain(_PROBES_S[self._relapses :], itertools.repeat(_PROBES_S[-1])):
            await asyncio.sleep(pause_s)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    client = await self._connect()
                await self._in_time(self._probe(client))
                break
            except Exception as error:  # it is still away, in whatever way
                why = _said(error) or self._why
                is_news = why != self._why and pause_s == _PROBES_S[-1]
                logger.log(logging.WARNING if is_news else logging.DEBUG, "%s is still away: %s", self.place, why)
                self._why = why if is_news else self._why
        self.is_away, self._back_s = False, loop.time()
        if first := self.on_back():
            self._pending[:0] = first
            self._awake.set()
        logger.warning("%s answers again: %s are shared as before", self.place, self._what)


def _nothing() -> None:
    """Nobody is to be told."""


def _deliver(command: Command, answer: Any) -> None:
    if command.heard is not None and answer is not None:
        command.heard(answer)
    if command.answer is not None and not command.answer.done():
        command.answer.set_result(answer)
    elif command.undo is not None and (answer is not None or command.answer is None):
        command.undo(answer)


def _said(error: Exception) -> str:
    """Its first line: PostgreSQL tells the statement in those after it."""
    return str(error).strip().partition("\n")[0]


def _let_be(task: asyncio.Task[Any]) -> None:
    """What becomes of it after its time is of no interest, and not to be complained of."""
    if not task.cancelled():
        task.exception()


def _place(url: str) -> str:
    """The URL without user, password and query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"

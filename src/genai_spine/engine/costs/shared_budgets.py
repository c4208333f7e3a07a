"""Budgets that several processes share, in Redis or Valkey, or in the ledger's PostgreSQL: each decision is one step
of the server's (shared_budgets.lua, shared_budgets.sql).

The tallies of this process are what it last heard of the server's sums. A decision is made by them and asked of the
server, which takes it or tells how the sums stand: then it is made again. What a process that died has reserved counts
as spent after a while. Where the server is away, a budget is closed, or each process keeps it by itself and tells what
it spent when the server is back (`costs.on_outage`). A server that was flushed, or came back empty, is told by every
process what it knows, within a second, and has its sums again.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib import resources
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from genai_spine.engine.costs.own_sums import NOTHING, OwnSums, minus, nothing_of, plus
from genai_spine.engine.limits.redis_line import RedisLine
from genai_spine.engine.limits.redis_state import PREFIX
from genai_spine.engine.limits.server_line import Command, ServerLine
from genai_spine.policy.budget import Budget, BudgetLevel, Fitting, Subject, Tally, Unfitting, fit
from genai_spine.policy.budget_need import Amount, Need
from genai_spine.settings.budget_checks import COST_LIMIT, is_postgres

if TYPE_CHECKING:
    from genai_spine.engine.costs.budgets import Budgets, Reservation

SCRIPT = resources.files("genai_spine.engine.costs").joinpath("shared_budgets.lua").read_text(encoding="utf-8")
_KEPT_S = 86_400.0
"""How long after its end the sums of a window are kept at the server."""
_MOST_TRIES = 10
_MOST_AT_ONCE = 100
"""Tallies in one look."""
_MOST_UNHEARD = 10_000
_GUEST = "guest"
"""The name of every process that only looks."""
_NUMBERS = 4
"""That the server tells of each budget: spent and held, in nano-dollars and tokens."""
BEAT_S = 1.0
"""Between two looks at whether the server still has what it was told."""


class SharedBudgets:
    """The server's side of `Budgets`. Never raises for the server's own troubles."""

    poll_s = 0.05
    """How often a call that waits asks again: of room that other processes make nobody tells it."""

    def __init__(self, url: str, *, lease_s: float, timeout_s: float | None = None) -> None:
        """The server that the URL names. Raises: ConfigError where its extra is missing or it is no server's."""
        self._line = _line_to(url, timeout_s)
        self._lease_us = int(lease_s * 1e6)
        self._process = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._count = itertools.count()
        self._telling_number = itertools.count(1)
        self._own: WeakKeyDictionary[Tally, OwnSums] = WeakKeyDictionary()
        self._patterns: dict[str, str] = {}
        self._unheard: list[Command] = []
        self._epoch: str | None = None
        self._beat: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._line.meanwhile = "budgets are closed, or kept by each process alone (costs.on_outage)"
        self._line.on_lost, self._line.on_back = self._go_alone, self._tell_again
        self._tell: Callable[[BudgetLevel], None] = _nobody

    @property
    def is_away(self) -> bool:
        return self._line.is_away

    def join(self, tell: Callable[[BudgetLevel], None]) -> None:
        """Who is told of levels that this process was the first to reach."""
        self._tell = tell

    async def start(self) -> None:
        """Connects, so that the first call need not."""
        await self._line.ask([], ["look", "", "0", self._process], _nothing)

    async def close(self) -> None:
        beat, self._beat = self._beat, None
        if beat is not None and self._loop is asyncio.get_running_loop():
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
        await self._line.close()

    async def look(self, tallies: Sequence[Tally], *, as_guest: bool = False) -> None:
        """Let these tallies know how the server's sums stand.

        What a process knows raises the sums. A guest only looks: it tells of nothing, and keeps what it knows itself
        of sums that are still to begin.
        """
        for begin in range(0, len(tallies), _MOST_AT_ONCE):
            some = tallies[begin : begin + _MOST_AT_ONCE]
            await self._ask("look", "", some, nothing_of(some), as_guest=as_guest)

    # ------------------------------------------------------------ taking

    async def take(
        self, budgets: Budgets, subject: Subject, need: Need, tallies: Sequence[Tally]
    ) -> Reservation | Unfitting:
        shared = [tally for tally in tallies if tally.budget.name != COST_LIMIT]
        id = f"{self._process}-{next(self._count)}"
        fitting = fit(tallies, need)
        is_fresh = False
        for _ in range(_MOST_TRIES):
            if isinstance(fitting, Unfitting) and (is_fresh or fitting.why == "unknown_price"):
                return fitting
            amounts = fitting.amounts if isinstance(fitting, Fitting) else nothing_of(tallies)
            action = "take" if isinstance(fitting, Fitting) else "look"
            answer = await self._ask(action, id, shared, amounts)
            if answer is None:
                return self._take_alone(budgets, subject, need, tallies)
            if isinstance(fitting, Fitting) and answer[0] == "1":
                for tally, amount in zip(tallies[len(shared) :], fitting.amounts[len(shared) :], strict=True):
                    tally.reserve(*amount)
                reservation = budgets.reservation(subject, need, tallies, fitting)
                reservation.id = id
                return reservation
            fitting, is_fresh = fit(tallies, need), True
        return Unfitting(tallies[0], "reserved")

    async def _ask(
        self, action: str, id: str, tallies: Sequence[Tally], amounts: Sequence[Amount], *, as_guest: bool = False
    ) -> list[str] | None:
        """The server's answer, by which the tallies stand as its sums do; None where it gives none."""
        if self._line.is_away:
            return None
        if not as_guest:
            self._keep_beating()
        alone: list[Amount] = []
        held = tuple(amounts[: len(tallies)])

        def compose() -> list[Any]:
            alone[:] = () if as_guest else self._alone_of(tallies)
            return self._asking(action, id, tallies, amounts, as_guest=as_guest)

        def heard(answer: list[str]) -> None:
            self._hear(tallies, answer[1:], _NUMBERS, () if as_guest else alone)
            if action == "take" and answer[0] == "1":
                self._hold(tallies, held)

        def undo(answer: list[str]) -> None:
            if action == "take" and answer[0] == "1":
                self._send_settle(id, tallies, held, nothing_of(tallies))

        answer: list[str] | None = await self._line.ask(self._keys(tallies), [], undo, compose=compose, heard=heard)
        if answer is None and action == "take":
            self._finish_later(id, tallies, nothing_of(tallies))
        return answer

    def _asking(
        self, action: str, id: str, tallies: Sequence[Tally], amounts: Sequence[Amount], *, as_guest: bool
    ) -> list[Any]:
        """The arguments of a `take` or a `look`."""
        args: list[Any] = [action, id, self._lease_us, _GUEST if as_guest else self._process]
        for tally, amount in zip(tallies, amounts, strict=False):
            budget = tally.budget
            args += (
                -1 if budget.limit_nanousd is None else budget.limit_nanousd,
                -1 if budget.limit_tokens is None else budget.limit_tokens,
                *amount,
            )
            if as_guest:
                args += (0,) * 10
            else:
                own = self._own_of(tally)
                args += (*own.alone, next(self._telling_number), *own.known)
            args.append(_forgotten_ms(tally))
        return args

    def _own_of(self, tally: Tally) -> OwnSums:
        if (found := self._own.get(tally)) is None:
            found = self._own[tally] = OwnSums(tally)
        return found

    def _hold(self, tallies: Sequence[Tally], amounts: Sequence[Amount]) -> None:
        for tally, amount in zip(tallies, amounts, strict=False):
            own = self._own_of(tally)
            own.held = plus(own.held, amount)

    def _alone_of(self, tallies: Sequence[Tally]) -> list[Amount]:
        return [self._own_of(tally).alone for tally in tallies]

    def _take_alone(
        self, budgets: Budgets, subject: Subject, need: Need, tallies: Sequence[Tally]
    ) -> Reservation | Unfitting:
        for tally in tallies:
            if tally.budget.is_closed_alone and tally.budget.is_limited and tally.budget.name != COST_LIMIT:
                return Unfitting(tally, "away")
        fitting = fit(tallies, need)
        if isinstance(fitting, Unfitting):
            return fitting
        for tally, amount in zip(tallies, fitting.amounts, strict=True):
            self._add_alone(tally, amount, held=amount)
        return budgets.take_here(subject, need, tallies, fitting)

    # ------------------------------------------------------------ settling

    def settle(self, reservation: Reservation, used: Sequence[Amount]) -> None:
        """The tallies of this process are settled already."""
        tallies = [tally for tally in reservation.tallies if tally.budget.name != COST_LIMIT]
        if not reservation.id:
            for tally, mine, amount in zip(tallies, reservation.amounts, used, strict=False):
                self._add_alone(tally, minus(amount, mine), held=minus(NOTHING, mine))
            return
        held = [minus(mine, reservation.untold) for mine in reservation.amounts[: len(tallies)]]
        if not self._line.is_away:
            self._send_settle(reservation.id, tallies, held, used)
            return
        self._end_unheard(reservation.id, tallies, held, used)

    def grow(self, reservation: Reservation, more: Amount) -> None:
        shared = [tally for tally in reservation.tallies if tally.budget.name != COST_LIMIT]
        if not reservation.id:
            for tally in shared:
                self._add_alone(tally, more, held=more)
        elif self._line.is_away:
            reservation.untold = plus(reservation.untold, more)
        else:
            args: list[Any] = ["grow", reservation.id, self._lease_us, self._process, *(list(more) * len(shared))]
            self._hold(shared, [more] * len(shared))
            self._line.send(Command(self._keys(shared), args))

    def _send_settle(self, id: str, tallies: Sequence[Tally], held: Sequence[Amount], used: Sequence[Amount]) -> None:
        def compose() -> list[Any]:
            args: list[Any] = ["settle", id, self._lease_us, self._process]
            for tally, mine, amount in zip(tallies, held, used, strict=False):
                args += (*mine, *amount, *_levels(tally), *self._own_of(tally).known, _forgotten_ms(tally))
            return args

        def heard(answer: list[str] | None) -> None:
            if answer is None:
                self._end_unheard(id, tallies, held, used)
                return
            for tally, mine in zip(tallies, held, strict=False):
                own = self._own_of(tally)
                own.held = minus(own.held, mine)
            width = _NUMBERS + 2
            self._hear(tallies, answer, width)
            for index, tally in enumerate(tallies):
                for level, is_reached in zip(tally.levels, answer[width * index + _NUMBERS :], strict=False):
                    if is_reached == "1":
                        self._tell(tally.level(level))

        self._line.send(Command(self._keys(tallies), [], undo=heard, compose=compose))

    def _end_unheard(self, id: str, tallies: Sequence[Tally], held: Sequence[Amount], used: Sequence[Amount]) -> None:
        """A call is over, and the server is away, or nobody knows whether it was heard."""
        for tally, mine, amount in zip(tallies, held, used, strict=False):
            own = self._own_of(tally)
            own.held, own.late = minus(own.held, mine), plus(own.late, amount)
        self._finish_later(id, tallies, used)

    def _finish_later(self, id: str, tallies: Sequence[Tally], used: Sequence[Amount]) -> None:
        """Once the server is back: else what the call may hold there would count as spent after a while."""
        if len(self._unheard) < _MOST_UNHEARD:
            numbers = [number for amount in used[: len(tallies)] for number in amount]
            args = ["finish", id, self._lease_us, self._process, *numbers]

            def heard(answer: list[str] | None) -> None:
                if answer is None:
                    self._finish_later(id, tallies, used)

            self._unheard.append(Command(self._keys(tallies), args, undo=heard))

    def _hear(
        self, tallies: Sequence[Tally], answer: Sequence[str], width: int, alone: Sequence[Amount] | None = None
    ) -> None:
        """How the server's sums stand, and what was used alone is `alone` among them; () of a guest: of what the server
        knows nothing, what a guest knows stays."""
        as_guest = alone == ()
        for index, tally in enumerate(tallies):
            numbers = [int(number) for number in answer[width * index : width * index + _NUMBERS]]
            if any(numbers) or not as_guest:
                tally.spent_nanousd, tally.spent_tokens, tally.reserved_nanousd, tally.reserved_tokens = numbers
            if not as_guest:
                own = self._own_of(tally)
                own.is_told, own.spent, own.late = True, Amount(numbers[0], numbers[1]), NOTHING
                own.among = alone[index] if alone else own.among

    def _add_alone(self, tally: Tally, amount: Amount, *, held: Amount = NOTHING) -> None:
        if tally.budget.name != COST_LIMIT:
            own = self._own_of(tally)
            own.alone, own.alone_held = plus(own.alone, amount), plus(own.alone_held, held)

    # ------------------------------------------------------------ a server that was away, or lost its sums

    def _go_alone(self) -> None:
        """The server is away: of what others hold nobody hears any more when it is free."""
        for tally, own in list(self._own.items()):
            tally.reserved_nanousd, tally.reserved_tokens = plus(own.held, own.alone_held)

    def _tell_again(self, *, only_alone: bool = False) -> list[Command]:
        """What this process knows of every budget, or of those of which it used something alone; and what became of
        calls of which it does not know whether they hold anything."""
        now_s = time.time()
        known = [
            tally
            for tally, own in list(self._own.items())
            if now_s < tally.ends_s and (own.is_untold or (own.is_of_interest and not only_alone))
        ]
        unheard, self._unheard = self._unheard, []
        telling = [self._telling(known[begin : begin + _MOST_AT_ONCE]) for begin in range(0, len(known), _MOST_AT_ONCE)]
        return telling + unheard

    def _telling(self, tallies: Sequence[Tally]) -> Command:
        alone: list[Amount] = []

        def compose() -> list[Any]:
            alone[:] = self._alone_of(tallies)
            return self._asking("look", "", tallies, nothing_of(tallies), as_guest=False)

        return Command(
            self._keys(tallies),
            [],
            compose=compose,
            heard=lambda answer: self._hear(tallies, answer[1:], _NUMBERS, alone),
        )

    def _keep_beating(self) -> None:
        if self._beat is None or self._beat.done() or self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self._beat = self._loop.create_task(self._beats(), name="spine-shared-budgets-beat")

    async def _beats(self) -> None:
        while True:
            is_lost = not self._line.is_away and await self._is_lost()
            if not self._line.is_away:  # it may be by now
                for command in self._tell_again(only_alone=not is_lost):
                    self._line.send(command)
            await asyncio.sleep(BEAT_S)

    async def _is_lost(self) -> bool:
        """Whether the server was emptied since it was last asked."""
        if not self._line.may_be_emptied:
            return False
        args = ["epoch", self._process + f"-{next(self._count)}", self._lease_us, self._process]
        answer: list[str] | None = await self._line.ask([f"{PREFIX}:budget:epoch"], args, _nothing)
        if answer is None:
            return False
        before, self._epoch = self._epoch, answer[0]
        return before is not None and before != self._epoch

    def _keys(self, tallies: Sequence[Tally]) -> list[str]:
        keys = []
        for tally in tallies:
            budget = tally.budget
            if (patterns := self._patterns.get(budget.name)) is None:
                patterns = self._patterns[budget.name] = _patterns(budget)
            key = f"{PREFIX}:budget:{budget.window}:{int(tally.starts_s)}{patterns}:{tally.name}"
            keys += [key, f"{key}:calls"]
        return keys


def _patterns(budget: Budget) -> str:
    """What a budget is for, in short: one of the same name for something else has sums of its own. "" of one for all
    calls."""
    patterns = (budget.provider, budget.model, budget.key, budget.agent, budget.tag, budget.each)
    if not any(patterns):
        return ""
    return ":" + sha256("\0".join(pattern or "" for pattern in patterns).encode(errors="surrogatepass")).hexdigest()[:8]


def _line_to(url: str, timeout_s: float | None) -> ServerLine:
    how = {} if timeout_s is None else {"timeout_s": timeout_s}
    if not is_postgres(url):
        return RedisLine(url, f"{PREFIX}:probe", script=SCRIPT, what="budgets", **how)
    from genai_spine.engine.costs.postgres_line import PostgresLine  # noqa: PLC0415  # who has no Postgres

    return PostgresLine(url, **how)


def _levels(tally: Tally) -> list[int]:
    """At what is spent each level is reached: nano-dollars and tokens of two; -1: never."""
    numbers: list[int] = []
    for level in (*tally.levels, None)[:2]:
        numbers += (-1, -1) if level is None else tally.alert_of(level)
    return numbers


def _forgotten_ms(tally: Tally) -> int:
    return 0 if tally.ends_s == inf else max(1, int((tally.ends_s - time.time() + _KEPT_S) * 1000))


def _nothing(_: Any) -> None:
    """Nothing was taken."""


def _nobody(_: BudgetLevel) -> None:
    """Nobody is told."""

"""Budgets that several processes share, in Redis or Valkey, or in the ledger's PostgreSQL: each decision is one step
of the server's (shared_budgets.lua, shared_budgets.sql).

The tallies of this process are what it last heard of the server's sums. A decision is made by them and asked of the
server, which takes it or tells how the sums stand: then it is made again. What a process that died has reserved counts
as spent after a while. Where the server is away, a budget is closed, or each process keeps it by itself and tells what
it spent when the server is back (`costs.on_outage`).
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genai_spine.engine.limits.redis_line import RedisLine
from genai_spine.engine.limits.redis_state import PREFIX
from genai_spine.engine.limits.server_line import Command, ServerLine
from genai_spine.policy.budget import BudgetLevel, Fitting, Subject, Tally, Unfitting, fit
from genai_spine.policy.budget_need import Amount, Need
from genai_spine.settings.budget_checks import COST_LIMIT, is_postgres

if TYPE_CHECKING:
    from genai_spine.engine.costs.budgets import Budgets, Reservation

SCRIPT = Path(__file__).with_name("shared_budgets.lua").read_text(encoding="utf-8")
_KEPT_S = 86_400.0
"""How long after its end the sums of a window are kept at the server."""
_MOST_TRIES = 10
_MOST_AT_ONCE = 100
"""Tallies in one look."""
_GUEST = "guest"
"""The name of every process that only looks."""
_NUMBERS = 4
"""That the server tells of each budget: spent and held, in nano-dollars and tokens."""


class SharedBudgets:
    """The server's side of `Budgets`. Never raises for the server's own troubles."""

    poll_s = 0.05
    """How often a call that waits asks again: of room that other processes make nobody tells it."""

    def __init__(self, url: str, *, lease_s: float, prefix: str = PREFIX, timeout_s: float | None = None) -> None:
        """The server that the URL names. Raises: ConfigError where its extra is missing or it is no server's."""
        self._line = _line_to(url, prefix, timeout_s)
        self._prefix = prefix
        self._lease_us = int(lease_s * 1e6)
        self._process = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._count = itertools.count()
        self._alone: dict[Tally, Amount] = {}
        """What this process used while the server was away, and has not told."""
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
        await self._line.close()

    async def look(self, tallies: Sequence[Tally], *, as_guest: bool = False) -> None:
        """Let these tallies know how the server's sums stand.

        What a process knows raises the sums. A guest only looks: it tells of nothing, and keeps what it knows itself
        of sums that are still to begin.
        """
        for begin in range(0, len(tallies), _MOST_AT_ONCE):
            some = tallies[begin : begin + _MOST_AT_ONCE]
            nothing = (Amount(0, 0),) * len(some)
            if (answer := await self._ask("look", "", some, nothing, as_guest=as_guest)) is not None:
                self._hear(some, answer[1:], _NUMBERS, keeps_own=as_guest)

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
            amounts = fitting.amounts if isinstance(fitting, Fitting) else (Amount(0, 0),) * len(tallies)
            action = "take" if isinstance(fitting, Fitting) else "look"
            answer = await self._ask(action, id, shared, amounts)
            if answer is None:
                return self._take_alone(budgets, subject, need, tallies)
            self._hear(shared, answer[1:], _NUMBERS)
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
        if self._line.is_away:
            return None
        args: list[Any] = [action, id, self._lease_us, _GUEST if as_guest else self._process]
        alone = {tally: self._alone.pop(tally) for tally in tallies if tally in self._alone} if self._alone else {}
        for tally, amount in zip(tallies, amounts, strict=False):
            budget, more = tally.budget, alone.get(tally, Amount(0, 0))
            args += (
                -1 if budget.limit_nanousd is None else budget.limit_nanousd,
                -1 if budget.limit_tokens is None else budget.limit_tokens,
                amount.nanousd,
                amount.tokens,
                0 if as_guest else tally.spent_nanousd + tally.reserved_nanousd,
                0 if as_guest else tally.spent_tokens + tally.reserved_tokens,
                more.nanousd,
                more.tokens,
                _forgotten_ms(tally),
            )
        held = tuple(amounts[: len(tallies)])

        def undo(answer: list[str]) -> None:
            if action == "take" and answer[0] == "1":
                self._send_settle(id, tallies, held, (Amount(0, 0),) * len(tallies))

        answer: list[str] | None = await self._line.ask(self._keys(tallies), args, undo)
        if answer is None:
            for tally, amount in alone.items():
                self._add_alone(tally, amount)
        return answer

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
            self._add_alone(tally, amount)
        return budgets.take_here(subject, need, tallies, fitting)

    # ------------------------------------------------------------ settling

    def settle(self, reservation: Reservation, used: Sequence[Amount]) -> None:
        """The tallies of this process are settled already."""
        tallies, held = reservation.tallies, reservation.amounts
        if reservation.id and not self._line.is_away:
            shared = [tally for tally in tallies if tally.budget.name != COST_LIMIT]
            self._send_settle(reservation.id, shared, held, used)
            return
        for tally, mine, amount in zip(tallies, held, used, strict=True):
            self._add_alone(tally, Amount(amount.nanousd - mine.nanousd, amount.tokens - mine.tokens))

    def grow(self, reservation: Reservation, more: Amount) -> None:
        shared = [tally for tally in reservation.tallies if tally.budget.name != COST_LIMIT]
        if reservation.id and not self._line.is_away:
            args: list[Any] = ["grow", reservation.id, self._lease_us, self._process, *(list(more) * len(shared))]
            self._line.send(Command(self._keys(shared), args))
            return
        for tally in shared:
            self._add_alone(tally, more)

    def _send_settle(self, id: str, tallies: Sequence[Tally], held: Sequence[Amount], used: Sequence[Amount]) -> None:
        args: list[Any] = ["settle", id, self._lease_us, self._process]
        for tally, mine, amount in zip(tallies, held, used, strict=False):
            args += (*mine, *amount, *_levels(tally))

        def heard(answer: list[str]) -> None:
            width = _NUMBERS + 2
            self._hear(tallies, answer, width)
            for index, tally in enumerate(tallies):
                for level, is_reached in zip(tally.levels, answer[width * index + _NUMBERS :], strict=False):
                    if is_reached == "1":
                        self._tell(tally.level(level))

        self._line.send(Command(self._keys(tallies), args, undo=heard))

    def _hear(self, tallies: Sequence[Tally], answer: Sequence[str], width: int, *, keeps_own: bool = False) -> None:
        """How the server's sums stand; `keeps_own`: of which it knows nothing, what this process knows stays."""
        for index, tally in enumerate(tallies):
            numbers = [int(number) for number in answer[width * index : width * index + _NUMBERS]]
            if any(numbers) or not keeps_own:
                tally.spent_nanousd, tally.spent_tokens, tally.reserved_nanousd, tally.reserved_tokens = numbers

    def _add_alone(self, tally: Tally, amount: Amount) -> None:
        if tally.budget.name != COST_LIMIT:
            before = self._alone.get(tally, Amount(0, 0))
            self._alone[tally] = Amount(before.nanousd + amount.nanousd, before.tokens + amount.tokens)

    def _keys(self, tallies: Sequence[Tally]) -> list[str]:
        keys = []
        for tally in tallies:
            key = f"{self._prefix}:budget:{tally.budget.window}:{int(tally.starts_s)}:{tally.name}"
            keys += [key, f"{key}:calls"]
        return keys


def _line_to(url: str, prefix: str, timeout_s: float | None) -> ServerLine:
    how = {} if timeout_s is None else {"timeout_s": timeout_s}
    if not is_postgres(url):
        return RedisLine(url, f"{prefix}:probe", script=SCRIPT, what="budgets", **how)
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

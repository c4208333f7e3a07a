"""Budgets: what a call may cost is reserved before it is sent, and settled when it is over.

    reservation = await budgets.reserve(subject, need)      # or BudgetExceeded
    …
    reservation.settle(…)

Each is one step over all budgets that concern the call: room in all of them, or nothing of any. A call that only what
others have reserved keeps out waits for them, the first come first served. The sums of the windows under way are read
from the ledger when the process starts (ledger/spent.py); several processes count at one server (shared_budgets.py).
Where no budget is set there is none of this. Must not know: providers, dialects.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from genai_spine.engine.costs import budget_words
from genai_spine.engine.costs.budget_words import BudgetStatus
from genai_spine.engine.costs.own_sums import NOTHING
from genai_spine.engine.tasks import wake
from genai_spine.model.errors import BudgetExceeded
from genai_spine.policy.budget import Budget, BudgetLevel, Fitting, Span, Subject, Tally, Unfitting, fit, span_of
from genai_spine.policy.budget_need import Amount, Lengths, Need
from genai_spine.settings.budget_checks import COST_LIMIT, is_pattern

if TYPE_CHECKING:
    from genai_spine.engine.costs.shared_budgets import SharedBudgets
    from genai_spine.ledger.spent import Spent

_MOST_SUBJECTS = 10_000
_MOST_TALLIES = 50_000
_SET_BACK_S = 3600.0
"""A clock that is set back by less stays in the window that had begun: no budget is there twice at midnight."""
_FOREVER = Span(0.0, float("inf"))

logger = logging.getLogger(__name__)


class Reservation:
    """What is set aside for one attempt. Settled once; every settlement after the first is nothing."""

    __slots__ = ("_budgets", "amounts", "id", "is_settled", "max_tokens", "need", "of", "output", "subject", "tallies",
                 "untold")  # fmt: skip

    def __init__(
        self, budgets: Budgets, subject: Subject, need: Need, tallies: Sequence[Tally], fitting: Fitting
    ) -> None:
        self._budgets = budgets
        self.subject = subject
        self.need = need
        self.tallies = tallies
        self.amounts = fitting.amounts
        self.max_tokens = fitting.max_tokens
        """How long the answer may be, where that is less than was asked for."""
        self.of = fitting.of
        self.output = fitting.output
        self.id = ""
        """By which a server that counts too knows it."""
        self.untold = NOTHING
        """How much of it that server was not told of."""
        self.is_settled = False

    @property
    def most_nanousd(self) -> int | None:
        """The upper bound of what it may cost; None where none is known."""
        need = self.need
        if need.tariff is None and not need.is_free:
            return None
        return need.most(need.most_output if self.max_tokens is None else self.max_tokens).nanousd

    @property
    def expected_nanousd(self) -> int | None:
        """How much is set aside in an expected budget; None where there is none. In a hard one that is the bound."""
        held = zip(self.tallies, self.amounts, strict=True)
        return max([amount.nanousd for tally, amount in held if not tally.budget.is_hard], default=None)

    @property
    def held_tokens(self) -> int:
        """How many are set aside, in the budget that wants the most."""
        return max([held.tokens for held in self.amounts])

    @property
    def output_tokens(self) -> int:
        """For how long an answer something is set aside."""
        if any(tally.budget.is_hard for tally in self.tallies):
            return self.need.most_output if self.max_tokens is None else self.max_tokens
        return self.output

    @property
    def cap(self) -> int | None:
        """How long one answer may be, where that is less than was asked for."""
        return None if self.max_tokens is None else self.max_tokens // self.need.answers

    def settle(
        self, nanousd: int | None, tokens: int | None, *, is_whole: bool = True, output_tokens: int | None = None
    ) -> None:
        """The attempt is over and has used so much; None: nobody knows. Of an answer that is not whole it is the least
        that was used: what was set aside counts where that is more. `output_tokens` are those of a whole answer."""
        if self.is_settled:
            return
        self.is_settled = True
        if output_tokens is not None:
            self._budgets.lengths.add((self.subject.provider, self.subject.model), output_tokens)
        if is_whole and nanousd is not None and tokens is not None:
            used: Sequence[Amount] = (Amount(nanousd, tokens),) * len(self.amounts)
        else:
            used = [
                Amount(
                    nanousd if is_whole and nanousd is not None else max(held.nanousd, nanousd or 0),
                    tokens if is_whole and tokens is not None else max(held.tokens, tokens or 0),
                )
                for held in self.amounts
            ]
        self._budgets.settle(self, used)

    def grow(self, output_tokens: int) -> None:
        """Set aside more, for a longer answer than was expected. Raises: BudgetExceeded where there is no room."""
        self._budgets.grow(self, output_tokens)


class Budgets:
    """All budgets of a gateway or a program. `on_level` are told when one has reached a share of its limit, once for
    each window; they are called from the event loop and must be quick."""

    def __init__(
        self,
        budgets: Iterable[Budget],
        *,
        max_wait_s: float = 0.0,
        shared: SharedBudgets | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.all = tuple(budgets)
        self._of_key: dict[str, list[int]] = {}
        """By a key's name, which budgets are of it alone: there may be thousands of keys with one each."""
        self._of_any_key: list[int] = []
        for index, budget in enumerate(self.all):
            if budget.key is None or is_pattern(budget.key):
                self._of_any_key.append(index)
            else:
                self._of_key.setdefault(budget.key, []).append(index)
        self.lengths = Lengths()
        self.on_level: list[Callable[[BudgetLevel], None]] = []
        self.shared = shared
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._most_tallies = _MOST_TALLIES
        """Beyond so many those that count nothing are looked for."""
        self._before: dict[tuple[str, str], Tally] = {}
        """Those of the windows before: a clock that was wrong is put right, and what was spent in them counts again."""
        self._by_subject: dict[Subject, tuple[float, float, tuple[Tally, ...]]] = {}
        """Those of one subject, and from when to when they are."""
        self._lines: dict[Tally, deque[asyncio.Future[None]]] = {}
        self._spent: Spent | None = None
        if shared is not None:
            shared.join(self._told_of)

    @property
    def looks_at_tags(self) -> bool:
        return any(budget.tag is not None or budget.each == "tag" for budget in self.all)

    # ------------------------------------------------------------ reserving and settling

    def at_once(self, subject: Subject, need: Need, tallies: Sequence[Tally]) -> Reservation | None:
        """What `reserve` gives where all is counted in this process, nobody waits and there is room, as for most calls;
        None: `reserve` must say."""
        if self._lines or self.shared is not None:
            return None
        fitting = fit(tallies, need)
        return None if isinstance(fitting, Unfitting) else self.take_here(subject, need, tallies, fitting)

    async def reserve(
        self, subject: Subject, need: Need, *, own: Tally | None = None, wait_s: float | None = None
    ) -> Reservation:
        """Room for one attempt in all budgets that concern it, and in the call's `own` limit.

        It waits for `wait_s` at most, and for as long as the settings say. Raises: BudgetExceeded.
        """
        tallies = self.tallies_of(subject)
        if own is not None:
            tallies = (*tallies, own)
        outcome: Reservation | Unfitting
        if self._lines and (ahead := self._line_ahead(tallies, need)) is not None:
            fitting = fit(tallies, need)
            outcome = fitting if isinstance(fitting, Unfitting) else Unfitting(ahead, "reserved")
        else:
            outcome = await self._take(subject, need, tallies)
        if isinstance(outcome, Reservation):
            return outcome
        longest_s = self._max_wait_s if wait_s is None else min(wait_s, self._max_wait_s)
        if outcome.why != "reserved" or outcome.tally is own or longest_s <= 0:
            raise self._refusal(outcome, subject, need)
        return await self._wait(outcome, subject, need, own, longest_s)

    def _refusal(self, refused: Unfitting, subject: Subject, need: Need) -> BudgetExceeded:
        if refused.why == "exhausted" and refused.tally.budget.name != COST_LIMIT:
            for level in refused.tally.refused():
                self._told_of(refused.tally.level(level))
        return budget_words.exceeded(refused, subject, need, self._clock())

    async def _take(self, subject: Subject, need: Need, tallies: Sequence[Tally]) -> Reservation | Unfitting:
        if self.shared is not None:
            return await self.shared.take(self, subject, need, tallies)
        outcome = fit(tallies, need)
        return outcome if isinstance(outcome, Unfitting) else self.take_here(subject, need, tallies, outcome)

    def take_here(self, subject: Subject, need: Need, tallies: Sequence[Tally], fitting: Fitting) -> Reservation:
        for tally, (nanousd, tokens) in zip(tallies, fitting.amounts, strict=True):
            tally.reserved_nanousd += nanousd
            tally.reserved_tokens += tokens
        return self.reservation(subject, need, tallies, fitting)

    def reservation(self, subject: Subject, need: Need, tallies: Sequence[Tally], fitting: Fitting) -> Reservation:
        return Reservation(self, subject, need, tallies, fitting)

    def settle(self, reservation: Reservation, used: Sequence[Amount]) -> None:
        is_told = False
        for tally, held, (nanousd, tokens) in zip(reservation.tallies, reservation.amounts, used, strict=True):
            tally.settle(held, nanousd, tokens)
            is_told = is_told or tally.spent_nanousd >= tally.alert_nanousd or tally.spent_tokens >= tally.alert_tokens
        if self.shared is not None:
            self.shared.settle(reservation, used)
        elif is_told:
            self.tell(reservation.tallies)
        if self._lines:
            self._wake(reservation.tallies)

    def grow(self, reservation: Reservation, output_tokens: int) -> None:
        """Set aside more for an answer that is longer than expected. Raises: BudgetExceeded where it is to be cut.

        What others have reserved may be needed less than it is: an expected budget lets it have that.
        """
        need = reservation.need
        more = Amount(need.of_output(output_tokens), output_tokens)
        for tally, mine in zip(reservation.tallies, reservation.amounts, strict=True):
            if not tally.has_room_for(more, mine):
                raise budget_words.cut(tally, self._clock())
        for tally in reservation.tallies:
            tally.reserve(*more)
        reservation.amounts = tuple(
            Amount(a.nanousd + more.nanousd, a.tokens + more.tokens) for a in reservation.amounts
        )
        if self.shared is not None:
            self.shared.grow(reservation, more)

    # ------------------------------------------------------------ waiting

    async def _wait(
        self, refused: Unfitting, subject: Subject, need: Need, own: Tally | None, longest_s: float
    ) -> Reservation:
        """Stand in the line of the budget that is in the way, and keep the place until there is room."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + longest_s
        woken = self._join(refused.tally)
        try:
            while True:
                left_s = min(until_s - loop.time(), refused.tally.ends_s - self._clock())
                if self.shared is not None:  # of calls of other processes nobody tells us
                    left_s = min(left_s, self.shared.poll_s)
                await asyncio.wait((woken,), timeout=max(0.0, left_s))
                tallies = self.tallies_of(subject)
                outcome = await self._take(subject, need, tallies if own is None else (*tallies, own))
                if isinstance(outcome, Reservation):
                    return outcome
                if outcome.why != "reserved" or outcome.tally is own or loop.time() >= until_s:
                    raise self._refusal(outcome, subject, need)
                if outcome.tally is not refused.tally:
                    self._leave(refused.tally, woken)
                    woken = self._join(outcome.tally)
                elif woken.done():
                    line = self._lines[refused.tally]
                    line[line.index(woken)] = woken = loop.create_future()
                refused = outcome
        finally:
            self._leave(refused.tally, woken)

    def _line_ahead(self, tallies: Sequence[Tally], need: Need) -> Tally | None:
        """Where others wait for what this call needs, too."""
        for tally in tallies:
            if tally in self._lines and (not need.is_free or tally.budget.limit_tokens is not None):
                return tally
        return None

    def _join(self, tally: Tally) -> asyncio.Future[None]:
        woken = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tally, deque()).append(woken)
        return woken

    def _leave(self, tally: Tally, woken: asyncio.Future[None]) -> None:
        """The next one in line may have room as well."""
        line = self._lines[tally]
        line.remove(woken)
        if line:
            self._wake((tally,))
        else:
            del self._lines[tally]

    def _wake(self, tallies: Sequence[Tally]) -> None:
        """The first in line of each may try."""
        for tally in tallies:
            line = self._lines.get(tally)
            if line and not line[0].done():
                wake(line[0])

    # ------------------------------------------------------------ whose sums

    def tallies_of(self, subject: Subject) -> tuple[Tally, ...]:
        """Those in which an attempt counts, each in its window of now."""
        found = self._by_subject.get(subject)
        now_s = self._clock()
        if found is not None and found[0] <= now_s < found[1]:
            return found[2]
        if len(self._by_subject) >= _MOST_SUBJECTS:
            self._by_subject.clear()
        if len(self._tallies) >= self._most_tallies:
            self._forget(now_s)
        ones = self._of_key.get(subject.key, ()) if subject.key is not None else ()
        concerned = [self.all[index] for index in sorted((*self._of_any_key, *ones))]
        tallies = tuple(self._tally(budget, whose, now_s) for budget in concerned for whose in budget.whose(subject))
        starts_s = max((tally.starts_s for tally in tallies), default=_FOREVER.starts_s)
        ends_s = min((tally.ends_s for tally in tallies), default=_FOREVER.ends_s)
        self._by_subject[subject] = (starts_s - _SET_BACK_S, ends_s, tallies)
        return tallies

    def _tally(self, budget: Budget, whose: str, now_s: float) -> Tally:
        key = (budget.name, whose)
        last = self._tallies.get(key)
        if last is not None and last.starts_s - _SET_BACK_S <= now_s < last.ends_s:
            return last
        found = self._before.get(key)
        if found is None or not found.starts_s <= now_s < found.ends_s:
            found = Tally(budget, whose, span_of(budget.window, now_s, budget.zone))
            if self._spent is not None and (spent := self._spent.of(budget, whose, found.starts_s)) is not None:
                found.spent_nanousd, found.spent_tokens = spent
                self.tell((found,))  # who was told before it began is known to alerts.py
        self._tallies[key] = found
        if last is not None:
            self._before[key] = last
        return found

    def _forget(self, now_s: float) -> None:
        """Those of windows that are over, and of whom nothing was spent."""
        self._by_subject.clear()
        self._before.clear()
        self._tallies = {
            key: tally
            for key, tally in self._tallies.items()
            if now_s < tally.ends_s and (tally.spent_tokens or tally.reserved_tokens or tally.spent_nanousd)
        }
        # Where most of them count something, to look again at each newcomer would hold up all calls.
        self._most_tallies = max(_MOST_TALLIES, 2 * len(self._tallies))

    def remember(self, spent: Spent) -> None:
        """What the ledger says was spent before this process began; to be called before the first call."""
        self._spent = spent
        self._tallies.clear()
        self._before.clear()
        self._by_subject.clear()
        now_s = self._clock()
        for budget in self.all:
            for whose in spent.names(budget) if budget.each is not None else ("",):
                self._tally(budget, whose, now_s)

    def remember_late(self, spent: Spent) -> None:
        """The same, told when calls have been counted already: it comes on top."""
        counted = list(self._tallies.values())
        self._spent = spent
        for tally in counted:
            if (before := spent.of(tally.budget, tally.whose, tally.starts_s)) is not None:
                tally.spent_nanousd += before[0]
                tally.spent_tokens += before[1]
        self.tell(counted)
        now_s = self._clock()
        for budget in self.all:
            for whose in spent.names(budget) if budget.each is not None else ():
                self._tally(budget, whose, now_s)

    # ------------------------------------------------------------ what there is

    def status(self, whose_key: str | None = None, *, is_guest: bool = False) -> list[BudgetStatus]:
        """All budgets; those who have one each, as far as anything was spent. With a key, what concerns its caller; a
        guest is not to know what others use."""
        now_s = self._clock()
        found = []
        of_each: dict[str, list[str]] = {}
        for name, whose in self._tallies:
            of_each.setdefault(name, []).append(whose)
        for budget in self.all:
            for whose in ("",) if budget.each is None else of_each.get(budget.name, ()):
                tally = self._tally(budget, whose, now_s)
                if whose_key is None or budget_words.concerns(tally, whose_key, is_guest=is_guest):
                    found.append(budget_words.status_of(tally))
        return found

    async def refresh(self, *, as_guest: bool = False) -> None:
        """Ask the server that counts for all processes how the sums stand, where there is one; a guest, which spends
        nothing, tells it nothing either."""
        if self.shared is not None:
            self.status()
            await self.shared.look(list(self._tallies.values()), as_guest=as_guest)

    def why_not(self, subject: Subject) -> str | None:
        """Why nothing more may be spent on this, where a budget is used up."""
        for tally in self.tallies_of(subject):
            if tally.is_exhausted:
                return budget_words.used_up(tally)
        return None

    # ------------------------------------------------------------ levels

    def tell(self, tallies: Sequence[Tally]) -> None:
        """Those who are to know of levels that were reached, but for a request's own limit: that is its caller's."""
        for tally in tallies:
            if tally.reaches_level and tally.budget.name != COST_LIMIT:
                for level in tally.levels_reached():
                    self._told_of(tally.level(level))

    def _told_of(self, level: BudgetLevel) -> None:
        for listener in self.on_level:
            try:
                listener(level)
            except Exception:
                logger.exception("told of the budget %s", level.budget)

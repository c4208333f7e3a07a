"""What the calls of one manager may spend: from the settings to budgets, and from a call to what it reserves.

Where no budget is set, and a request has no `cost_limit`, nothing here is run.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING

import msgspec

from genai_spine.engine.costs.budget_words import named
from genai_spine.engine.costs.budgets import Budgets, Reservation
from genai_spine.ledger.database import said
from genai_spine.ledger.opening import NoLedgerYet, open_reader
from genai_spine.ledger.spent import Spent, read_spent
from genai_spine.model.errors import BudgetExceeded, ConfigError, SpineError
from genai_spine.model.events import PartDelta, StreamEvent
from genai_spine.model.response import Notice, TokenUsage
from genai_spine.policy.budget import Budget, Span, Subject, Tally
from genai_spine.policy.budget_need import Asks, Need, need_of
from genai_spine.policy.cost import NANO_PER_USD, nanousd
from genai_spine.policy.cost_bounds import limit_of
from genai_spine.policy.route import Choice
from genai_spine.settings import Settings
from genai_spine.settings.budget_checks import BY_PROVIDER, COST_LIMIT, WINDOWS, counted_at, has_budgets
from genai_spine.settings.budgets import MOST_USD

if TYPE_CHECKING:
    from genai_spine.engine.attempt import Attempt
    from genai_spine.engine.record import CallRecord
    from genai_spine.engine.routing.router import Router
    from genai_spine.engine.targets import Target
    from genai_spine.ledger.writer import Ledger

logger = logging.getLogger(__name__)

_UNREADABLE = "what was spent of the budgets cannot be read from the ledger (ledger.url)"
LETTERS_PER_TOKEN = 4
_MOST_MODELS = 10_000
RETRY_S = 1.0
"""Between two looks at a ledger that could not be read."""
_PATIENCE_S = 0.5
"""How long a server that counts for several processes may take, where calls are refused without its answer."""
_LARGEST_WINDOW = 2**21
"""Tokens; of the models of a service that keeps prompts."""


class Spending:
    """One for each manager. `budgets` may have none: a request's own `cost_limit` needs no other."""

    __slots__ = ("_limits", "_reading", "_total_s", "_unknown", "budgets", "is_on")

    def __init__(self, settings: Settings) -> None:
        """Raises: ConfigError where the shared state cannot be had."""
        self.is_on = has_budgets(settings.costs)
        """Whether there is any budget to ask before a call."""
        self.budgets = _budgets(settings, is_on=self.is_on)
        self._unknown = settings.costs.unknown_price == "refuse"
        self._total_s = float(settings.timeouts.total)
        self._limits: dict[Choice, int | None] = {}
        self._reading: asyncio.Task[None] | None = None

    async def reserve(self, target: Target, record: CallRecord) -> Reservation | None:
        """What an attempt may cost, set aside; None where no budget concerns it. Raises: BudgetExceeded."""
        if not record.is_accounted:
            return None
        subject = subject_of(target.choice, record)
        own = self._own(record)
        tallies = self.budgets.tallies_of(subject)
        if own is None and not tallies:
            return None
        need = self.need_of(target, record.asks())
        if own is None and (reservation := self.budgets.at_once(subject, need, tallies)) is not None:
            return reservation
        try:
            wait_s = record.ends_at_s - time.monotonic()
            return await self.budgets.reserve(subject, need, own=own, wait_s=wait_s)
        except BudgetExceeded as error:
            record.pass_over(target.choice, error)
            raise

    def bound(self, attempt: Attempt, asks: Callable[[], Asks], usage: TokenUsage | None) -> int | None:
        """What an attempt that is over may have cost at most, whether or not a budget looks at it; None: nobody knows.

        No less than any budget counts, so that the ledger remembers for them what they have taken for spent.
        """
        target, reservation = attempt.target, attempt.reservation
        bounds: list[int | None]
        if reservation is not None:
            bounds = [reservation.most_nanousd, *(held.nanousd for held in reservation.amounts)]
        elif target.provider.standing(target.choice.model).price is None:
            return None
        else:
            try:
                need = self.need_of(target, asks())
            except (SpineError, TypeError, ValueError, RecursionError):  # of a request that nobody could be sent
                return None
            if need.is_unbounded or (need.tariff is None and not need.is_free):
                return None
            bounds = [need.most(need.most_output).nanousd]
        if usage is not None:
            bounds.append(nanousd(target.provider.priced(target.choice.model or "", usage).cost_usd))
        return None if bounds[0] is None else max(bound for bound in bounds if bound is not None)

    def need_of(self, target: Target, asks: Asks) -> Need:
        choice, provider = target.choice, target.provider
        standing = provider.standing(choice.model)
        learned = self.budgets.lengths.p95((choice.provider, choice.model or ""))
        limit = self._limit_of(target)
        if asks.has_kept_prompt:
            window = provider.card(choice.model).context_window or _LARGEST_WINDOW
            asks = msgspec.structs.replace(asks, most_input=max(asks.most_input, window))
        need = need_of(asks, standing.price, limit, learned, self._total_s)
        if asks.service is not None and (price := standing.services.get(asks.service)) is not None:
            # What is asked for may not be how it is served: the dearer of the two is set aside.
            served = need_of(asks, price, limit, learned, self._total_s)
            if served.most(served.most_output).nanousd > need.most(need.most_output).nanousd:
                return served
        return need

    def _limit_of(self, target: Target) -> int | None:
        """The most tokens of a model's answers, as its card tells it."""
        choice = target.choice
        if choice not in self._limits:
            if len(self._limits) >= _MOST_MODELS:
                self._limits.clear()
            self._limits[choice] = limit_of(target.provider.card(choice.model), None)
        return self._limits[choice]

    def _own(self, record: CallRecord) -> Tally | None:
        """What the request itself allows all its attempts together."""
        if record.cost_limit is None:
            return None
        if record.allowance is None:
            limit = int(min(record.cost_limit, Decimal(MOST_USD)) * NANO_PER_USD)
            budget = Budget(
                name=COST_LIMIT,
                window="total",
                limit_nanousd=limit,
                is_hard=True,
                by_estimate=True,
                refuses_unknown=self._unknown,
            )
            record.allowance = Tally(budget, "", Span(0.0, inf))
        return record.allowance

    # ------------------------------------------------------------ beginning

    def join(self, router: Router) -> Budgets:
        """Let routing know what is used up, and what it must find out of each request."""
        if self.is_on:
            router.objections.append(self.why_not)
            router.looks_about = router.looks_about or self.budgets.looks_at_tags
        return self.budgets

    async def start(self, settings: Settings, ledger: Ledger | None) -> None:
        """Read what was spent before. Raises: ConfigError."""
        if self.budgets.shared is not None:
            await self.budgets.shared.start()
        if not self.is_on or ledger is None:
            return
        before_s = time.time()
        try:
            if not await asyncio.to_thread(ledger.wait_for_adoption):
                raise ConfigError(f"{_UNREADABLE}: {ledger.trouble or 'it does not answer'}; mend the database")
            if (spent := await asyncio.to_thread(self._read, settings)) is not None:
                self.budgets.remember(spent)
        except ConfigError as error:
            if any(budget.is_hard for budget in self.budgets.all):
                raise
            if self.budgets.shared is not None:
                logger.error("%s; budgets begin with what the state that is shared knows of them", error)
                return
            logger.error("%s; budgets count from now on until it can", error)
            self._reading = asyncio.create_task(self._remember_late(settings, ledger, before_s), name="spine-spending")

    async def _remember_late(self, settings: Settings, ledger: Ledger, before_s: float) -> None:
        """What was spent before that moment, as soon as the ledger tells it."""
        while True:
            await asyncio.sleep(RETRY_S)
            if not ledger.wait_for_adoption(0):
                continue
            try:
                spent = await asyncio.to_thread(self._read, settings, before_s)
            except ConfigError:
                continue
            if spent is not None:
                self.budgets.remember_late(spent)
            logger.warning("what was spent of the budgets before the start is read from the ledger, and counts again")
            return

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self.budgets.shared is not None:
            await self.budgets.shared.close()

    def remember(self, settings: Settings) -> None:
        """Read from the ledger what was spent before. Blocks. Raises: ConfigError where it cannot be read."""
        if (spent := self._read(settings)) is not None:
            self.budgets.remember(spent)

    def _read(self, settings: Settings, before_s: float = inf) -> Spent | None:
        try:
            reader = open_reader(settings.ledger)
            try:
                return read_spent(reader, self.budgets.all, time.time(), before_s=before_s)
            finally:
                reader.close()
        except NoLedgerYet:
            return None
        except Exception as error:
            raise ConfigError(f"{_UNREADABLE}: {said(error)}; mend the database") from error

    def why_not(self, choice: Choice, caller: str | None, tags: tuple[str, ...]) -> str | None:
        """Why a target would not be asked: a budget that concerns it is used up."""
        return self.budgets.why_not(Subject(choice.provider, choice.model or "", caller, choice.agent, tags))


def subject_of(choice: Choice, record: CallRecord) -> Subject:
    return Subject(choice.provider, choice.model or "", record.caller, choice.agent, record.tags)


def settle(reservation: Reservation, attempt: Attempt) -> None:
    """An attempt is over: what it cost is spent, and the rest free again."""
    usage = attempt.usage
    if attempt.error is not None and not attempt.may_be_billed:
        reservation.settle(0, 0)
        return
    if usage is None:
        reservation.settle(None, None, is_whole=False)
        return
    is_whole = attempt.error is None and not attempt.left
    cost_nanousd = attempt.cost_nanousd
    if attempt.account is None or not is_whole:  # the ledger does not take a part for the cost; here it is the least
        cost_usd = attempt.target.provider.priced(attempt.target.choice.model or "", usage).cost_usd
        cost_nanousd = nanousd(cost_usd)
        attempt.cost_usd = cost_usd if attempt.account is None else None
    is_counted = usage.input_tokens is not None and usage.output_tokens is not None
    tokens = usage.total_tokens if is_counted else None
    reservation.settle(cost_nanousd, tokens, is_whole=is_whole, output_tokens=usage.output_tokens if is_whole else None)


def notice_of(reservation: Reservation) -> Notice | None:
    """What the caller is told of an answer that may not be as long as was asked for."""
    if reservation.max_tokens is None:
        return None
    of = reservation.of
    why = "no limit was set, and a hard budget needs one" if of is None else f"more would not fit into {named(of)}"
    return Notice(
        code="max_tokens_capped", message=f"the answer may have {reservation.cap} tokens: {why}", param="max_tokens"
    )


# ---------------------------------------------------------------- streams


class Meter:
    """Reads along while an answer streams: one that is longer than what was set aside for it needs more, or is cut.

    Tokens are estimated by letters. Where the most was set aside, as always of a hard budget, only a provider that does
    not keep to `max_tokens` gets there, and the estimate must not cut one that does.
    """

    __slots__ = ("_letters", "_per_step", "_reservation", "_step")

    def __init__(self, reservation: Reservation) -> None:
        self._reservation = reservation
        self._step = max(1, reservation.output_tokens)
        need = reservation.need
        is_most = reservation.output_tokens >= need.most_output and not need.is_unbounded
        slack = 4 if is_most or any(tally.budget.is_hard for tally in reservation.tallies) else 1
        self._per_step = self._step * LETTERS_PER_TOKEN * slack
        self._letters = self._per_step

    def add(self, letters: int) -> None:
        """So many more. Raises: BudgetExceeded where there is no room for them."""
        self._letters -= letters
        while self._letters < 0:
            self._reservation.grow(self._step)
            self._letters += self._per_step

    def add_bytes(self, data: bytes, dialect: str) -> None:
        """A piece of a stream. Raises: as `add`."""
        self.add(sum(map(len, _SAID_IN.get(dialect, _SAID).findall(data))))


_SAID = re.compile(
    rb'"(?:content|text|delta|thinking|partial_json|arguments|response|reasoning|reasoning_content)"\s*:\s*'
    rb'"((?:[^"\\]|\\.)*)"'
)
"""The texts of an answer's pieces, in most dialects."""
_SAID_IN = {"openai_responses": re.compile(rb'"delta"\s*:\s*"((?:[^"\\]|\\.)*)"')}
"""In one that says every piece again, at the end of its part, of its item and of the whole."""


async def metered(
    batches: AsyncGenerator[list[StreamEvent], None], meter: Meter
) -> AsyncGenerator[list[StreamEvent], None]:
    """The same events. Raises: BudgetExceeded."""
    async for events in batches:
        meter.add(sum([len(event.text) for event in events if type(event) is PartDelta]))
        yield events


# ---------------------------------------------------------------- from settings


def _budgets(settings: Settings, *, is_on: bool) -> Budgets:
    costs = settings.costs
    budgets = budgets_of(settings) if is_on else ()
    shared = None
    if is_on and (url := counted_at(settings)) is not None:
        from genai_spine.engine.costs.shared_budgets import SharedBudgets  # noqa: PLC0415  # who shares nothing

        patience_s = _PATIENCE_S if any(budget.is_closed_alone for budget in budgets) else None
        shared = SharedBudgets(url, lease_s=2 * float(settings.timeouts.total), timeout_s=patience_s)
    return Budgets(budgets, max_wait_s=float(costs.max_wait), shared=shared)


def budgets_of(settings: Settings) -> tuple[Budget, ...]:
    """All that `[costs]` names."""
    costs = settings.costs
    found = [
        _budget(settings, name, window=window, limit_nanousd=_nanousd(limit))
        for name, window, limit in (
            ("daily_limit", "day", costs.daily_limit),
            ("monthly_budget", "month", costs.monthly_budget),
        )
        if limit is not None
    ]
    for name, limit in costs.limits.items():
        provider, _, ending = name.rpartition("_")
        provider = settings.providers.find(provider) or provider
        found.append(
            _budget(settings, name, window=WINDOWS[f"_{ending}"], limit_nanousd=_nanousd(limit), provider=provider)
        )
    for name, table in costs.budgets.items():
        found.append(
            _budget(
                settings,
                name,
                mode=table.mode,
                window=table.window,
                limit_nanousd=None if table.limit_usd is None else _nanousd(table.limit_usd),
                limit_tokens=table.limit_tokens,
                provider=settings.providers.find(table.provider) or table.provider if table.provider else None,
                model=table.model,
                key=table.key,
                agent=table.agent,
                tag=table.tag,
                each=table.each,
            )
        )
    if costs.track_by_provider and found:
        found.append(_budget(settings, BY_PROVIDER, window="day", each="provider"))
    return tuple(found)


def _budget(settings: Settings, name: str, mode: str | None = None, **members: object) -> Budget:
    costs = settings.costs
    is_hard = (mode or costs.mode) == "hard"
    return Budget(
        name=name,
        zone=costs.timezone,
        is_hard=is_hard,
        refuses_unknown=costs.unknown_price == "refuse",
        is_closed_alone=is_hard if costs.on_outage is None else costs.on_outage == "closed",
        alert_at=costs.alert_threshold,
        **members,  # type: ignore[arg-type]  # those of Budget
    )


def _nanousd(usd: float) -> int:
    return int(Decimal(str(usd)) * NANO_PER_USD)

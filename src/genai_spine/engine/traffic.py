"""What the calls of one manager share: the state of the targets, limits, budgets of retries and hedges, deadlines.

The rules are policies (floor 2); here they meet the clock, chance and each other.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.costs import accounts
from genai_spine.engine.costs.accounts import Account, Watcher, Write
from genai_spine.engine.costs.budgets import Reservation
from genai_spine.engine.costs.must_write import LedgerUnwritable, MustWrite
from genai_spine.engine.costs.spending import Spending
from genai_spine.engine.costs.under_way import UnderWay
from genai_spine.engine.hedge import Alarm
from genai_spine.engine.limits.limiter import Grant, Limiter
from genai_spine.engine.record import CallRecord, RecentCalls
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.targets import Target, Targets
from genai_spine.model.errors import ErrorType, LimitReached, ProviderTimeout, SpineError, StreamBroken, TargetClosed
from genai_spine.policy.hedge import HedgeBudget, hedge_after_s
from genai_spine.policy.retry import delay_s
from genai_spine.policy.route import Choice
from genai_spine.providers.overrides import overriding
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.settings import RetrySettings, Settings

T = TypeVar("T")

LEAST_S = 0.02
"""With less left of a call's time nobody is asked any more: none would answer, and some would charge. The timer that
ends an attempt at the deadline may well be a millisecond early."""


class Reading:
    """`Traffic.reading`. Not of `asynccontextmanager`, which makes an async generator: a loop that ends closes all of
    those at once, this one while the stream that it belongs to leaves it."""

    __slots__ = ("_events", "_open", "_record")

    def __init__(
        self, open_: dict[CallRecord, AsyncGenerator[Any, None]], record: CallRecord, events: AsyncGenerator[Any, None]
    ) -> None:
        self._open = open_
        self._record = record
        self._events = events

    async def __aenter__(self) -> None:
        self._open[self._record] = self._events

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            await self._events.aclose()
        finally:
            is_cut = self._open.pop(self._record, None) is None
        if is_cut and kind is None:
            raise StreamBroken("the stream was closed with its manager")


class Traffic:
    """One for each manager. `retry` may be replaced while calls are under way."""

    def __init__(self, registry: ProviderRegistry, settings: Settings, retry: RetrySettings, limiter: Limiter) -> None:
        self.settings = settings
        self.retry = retry
        self.limiter = limiter
        self.spending = Spending(settings)
        self.targets = Targets(registry, settings, limiter.ear if settings.limits.learned else None)
        self.recent = RecentCalls()
        self.keep: Callable[[Decision, Choice], None] | None = None
        """Is told who answered a request of a session, so that the next one goes there too."""
        self.write: Write | None = None
        """Takes the ledger's entries, where there is one, or somebody who counts them."""
        self._ledger: Write | None = None
        self._watchers: tuple[Watcher, ...] = ()
        self.must_write: MustWrite | None = None
        """Refuses what cannot be written down, where settings say so."""
        self.hedges = HedgeBudget(settings.hedge.budget) if settings.hedge.budget > 0 else None
        self.alarm = Alarm()
        self.under_way = UnderWay()
        self._read: dict[CallRecord, AsyncGenerator[Any, None]] = {}
        """A program's own streams, which it may leave unread."""

    # ------------------------------------------------------------ who is told

    def write_to(self, ledger: Write | None) -> None:
        self._ledger = ledger
        self.write = accounts.watched(ledger, self._watchers)

    def watch(self, watcher: Watcher) -> None:
        """Tells `watcher`, too, what the ledger is told of each call, whether or not there is one."""
        self._watchers += (watcher,)
        self.write_to(self._ledger)

    # ------------------------------------------------------------ who may be asked

    def ready(self, decision: Decision, record: CallRecord) -> list[Target]:
        """The targets in order, those that the breaker leaves alone behind all others."""
        targets = [self.targets.of(choice) for choice in decision.choices]
        asks_last = self.settings.breaker.last == "ask"
        if len(targets) == 1 and asks_last:
            record.is_last_resort = True
            return targets
        now_s = time.monotonic()
        admitted = [target for target in targets if target.breaker.would_admit(now_s)]
        if len(admitted) == len(targets):
            return targets
        left_alone = [target for target in targets if target not in admitted]
        if not admitted and asks_last:  # the first of them alone: an outage is not to be multiplied
            record.is_last_resort = True
            return left_alone[:1]
        for target in left_alone:
            record.pass_over(target.choice, _closed(target, now_s))
        return admitted + left_alone

    async def room(self, target: Target, record: CallRecord, *, is_last: bool) -> Grant:
        """Room for one attempt under the limits, waited for where settings say so. Raises: LimitReached."""
        try:
            return await self.limiter.admit(
                target.choice,
                record.caller,
                record.tokens,
                record.ends_at_s,
                record.priority,
                # Where nobody else can be asked, what a provider asks for is waited for as before a retry.
                patience_s=self.retry.max_delay if is_last else 0.0,
                is_first=not record.is_admitted,
            )
        except LimitReached as error:
            record.pass_over(target.choice, error)
            raise

    async def allowed(self, target: Target, record: CallRecord, grant: Grant | None) -> Reservation | None:
        """What one attempt may cost, set aside in all budgets that concern it. Raises: BudgetExceeded."""
        try:
            return await self.spending.reserve(target, record)
        except BaseException:
            if grant is not None:
                grant.settle(0, left=True)
            raise

    def enter(
        self,
        target: Target,
        record: CallRecord,
        grant: Grant | None,
        reservation: Reservation | None,
        *,
        is_hedge: bool,
        is_last: bool,
    ) -> Attempt:
        """The attempt, which the breaker lets through. Raises: TargetClosed.

        A call's last candidate is asked even then: to be refused by us helps nobody whom it might answer.
        """
        now_s = time.monotonic()
        is_admitted = target.breaker.admit(now_s)
        if not is_admitted and is_last and not record.attempts and self.settings.breaker.last == "ask":
            record.is_last_resort = True
        if not is_admitted and not record.is_last_resort:
            if grant is not None:
                grant.settle(0, left=True)
            if reservation is not None:
                reservation.settle(0, 0)
            closed = _closed(target, now_s)
            record.pass_over(target.choice, closed)
            raise closed
        if not record.attempts or all(attempt.target is not target for attempt in record.attempts):
            target.retries.deposit()  # once for each call, however often it is tried
        attempt = Attempt(target, is_hedge=is_hedge, is_admitted=is_admitted)
        attempt.grant, attempt.reservation = grant, reservation
        record.attempts.append(attempt)
        if self.write is not None and record.is_accounted:
            try:
                attempt.account = Account(self.write, attempt, record, self.spending.bound)
            except Exception:  # a fault of ours: nothing is sent, and nobody else knows yet what it holds
                attempt.settle(error=LedgerUnwritable())
                raise
            if reservation is None and self.settings.ledger.url is not None:
                self.under_way.add(attempt)
        return attempt

    @contextmanager
    def lending(self, record: CallRecord) -> Iterator[None]:
        """Others may wait for the same answer: the record is closed once the work is done, though its caller leave."""
        record.is_lent = True
        try:
            yield
        finally:
            record.is_lent = False
            if record.is_left:
                self.close(record)
                record.done()

    def decided(self, record: CallRecord) -> None:
        """Of two attempts for one answer one has won. The other is left, even if it has answered in the same moment.
        Where nothing is under way any more the answer was whole at once, and the call is over, before the caller is
        given its end."""
        record.is_racing = False
        for attempt in record.attempts[-2:]:
            if attempt.error is None and attempt.target.choice is not record.answered_by:
                attempt.left = True
        if not record.is_lent and all(attempt.is_settled for attempt in record.attempts):
            self.close(record)

    def close(self, record: CallRecord) -> None:
        """The call is over, and every attempt of it settled; or its caller has left the answer to others."""
        if record.is_lent:
            record.is_left, record.outcome = True, "left"
            return
        if self.write is not None and record.is_accounted and not record.is_closed:
            record.is_closed = True
            accounts.close(record, self.write)

    def reading(self, record: CallRecord, events: AsyncGenerator[Any, None]) -> Reading:
        """A program reads the stream of this call; it is closed at the end, or by `close_streams`. Raises: StreamBroken
        where a program reads on after that."""
        return Reading(self._read, record, events)

    async def close_streams(self) -> None:
        """Ends what programs have left unread, so that the ledger still hears of it."""
        while self._read:
            record, events = self._read.popitem()
            with suppress(RuntimeError):  # it is read at this moment: its reader hears that the connection is closed
                await events.aclose()
                self.close(record)

    # ------------------------------------------------------------ again, elsewhere, or not at all

    def wait_before_retry_s(
        self,
        error: SpineError,
        retries: int,
        target: Target,
        ends_at_s: float,
        *,
        is_last: bool,
        changes_key: bool = False,
    ) -> float | None:
        """Seconds until the same target is asked again; None where it is not. With another key that is at once, and
        no retry.

        One that was silent until a timeout is likely to be so again: where another can be asked, that is quicker.
        """
        if error.type is ErrorType.TIMEOUT and not is_last and self.retry.enable_fallback:
            return None
        wait_s = 0.0 if changes_key else delay_s(error, retries, self.retry, random.random())
        if wait_s is None or time.monotonic() + wait_s + LEAST_S >= ends_at_s:
            return None
        return wait_s if changes_key or target.retries.withdraw(time.monotonic()) else None

    def goes_on(self, error: SpineError, decision: Decision, ends_at_s: float) -> bool:
        """Whether the next target is asked after this failure."""
        if not self.retry.enable_fallback or time.monotonic() + LEAST_S >= ends_at_s:
            return False
        if error.refused_for == "context_length":
            return decision.on_context_length == "fallback"
        if error.refused_for == "content_filter":
            return decision.on_content_filter == "fallback"
        return error.fallback

    def is_worth_asking(self, other: Target, refused: Target, error: SpineError, record: CallRecord) -> bool:
        """A prompt that was too long goes to a larger window; what a safety system refused to another provider; and
        nothing to one that has failed already, as the hedge of the one that was refused."""
        if any(attempt.is_hedge and attempt.target is other for attempt in record.attempts):
            return False
        if error.refused_for == "context_length":
            known, larger = refused.context_window, other.context_window
            return known is None or larger is None or larger > known
        if error.refused_for == "content_filter":
            return other.choice.provider != refused.choice.provider
        return True

    def hedge_after_s(self, target: Target, *, is_stream: bool) -> float | None:
        """When a second attempt starts if this target has not begun; None: it does not."""
        return hedge_after_s(self.settings.hedge, target.pace, streamed=is_stream)

    def may_hedge(self, other: Target) -> bool:
        """Whether a second attempt goes to this target now, and is paid for. One that is left alone would refuse it."""
        return self.hedges is not None and other.breaker.would_admit(time.monotonic()) and self.hedges.withdraw()

    # ------------------------------------------------------------ time

    def ends_at_s(self, decision: Decision, record: CallRecord) -> float:
        """The end of the whole call with all its attempts (monotonic): the caller's, the route's or the settings'."""
        total_s: float | None = record.timeout_s
        if total_s is None:
            own = decision.timeouts
            total_s = own.total if own is not None and own.total is not None else self.settings.timeouts.total
        return time.monotonic() + total_s

    def is_bounded(self, target: Target, record: CallRecord, decision: Decision, *, has_waited: bool) -> bool:
        """Whether this attempt needs bounds beyond those that its provider keeps by itself, from now on.

        `has_waited`: for room under the limits, which is of the call's time.
        """
        return (
            len(record.attempts) > 1
            or has_waited
            or record.timeout_s is not None
            or decision.timeouts is not None
            or not target.keeps_time
        )

    async def within(
        self, sending: Awaitable[T], target: Target, ends_at_s: float, decision: Decision, *, is_stream: bool
    ) -> T:
        """`sending`, within what is left of the call and the route's own timeouts. Raises: ProviderTimeout."""
        left_s = max(0.0, ends_at_s - time.monotonic())
        bound_s = left_s
        if is_stream and not target.keeps_time:  # what comes after its beginning is the provider's to keep all the same
            own = decision.timeouts
            first_s = own.first_token if own is not None else None
            bound_s = min(left_s, self.settings.timeouts.first_token if first_s is None else first_s)
        bound = asyncio.timeout(bound_s)
        try:
            async with bound:
                with overriding(decision.timeouts, until_s=ends_at_s):
                    return await sending
        except TimeoutError as error:
            late = error
            if not isinstance(late, ProviderTimeout):
                if not bound.expired():  # a stranger's provider keeps a time of its own
                    late = ProviderTimeout(f"the provider gave up: {error}" if str(error) else "the provider gave up")
                elif bound_s != left_s:
                    raise ProviderTimeout(f"no first token within {bound_s:g} s", code="first_byte_timeout") from error
                else:
                    late = ProviderTimeout("the time of the whole call is over", code="total_timeout")
            if left_s < self.settings.timeouts.first_token and time.monotonic() >= ends_at_s:
                late.fault = "caller"  # it had less time than a target is given: that is no verdict on it
            try:
                raise late from error.__cause__
            finally:
                del late  # else the error and this frame keep each other, and the prompt, alive


def _closed(target: Target, now_s: float) -> TargetClosed:
    wait_s = target.breaker.reopens_in_s(now_s)
    return TargetClosed("left alone after too many failures", retry_after_s=wait_s)

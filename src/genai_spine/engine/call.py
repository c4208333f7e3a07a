"""One call, from top to bottom: the function to read first.

Whatever is sent, a request through the model, a caller's own bytes or texts to embed, is a `send` that
takes one target; this decides which targets get it, how often, and what the caller hears when none
answers. Errors say themselves whether to try again and whether to ask elsewhere.

    for each target of the decision:    is it left alone (breaker)?
        for each attempt:               room under the limits → send → settle
                                        failed: again after a while, or on to the next target?
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from genai_spine.engine.attempt import Attempt
from genai_spine.engine.hedge import race
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.targets import Target
from genai_spine.engine.traffic import Traffic
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.policy.route import Choice

T = TypeVar("T")
Send = Callable[[Choice, Attempt], Awaitable[T]]
"""Asks one target. A stream's returns once its first event is there, so that everything before it can still be
answered elsewhere; what breaks later is the stream's own affair, and so is then to settle the attempt."""


async def call(
    send: Send[T],
    decision: Decision,
    traffic: Traffic,
    record: CallRecord,
    *,
    discard: Callable[[T], Awaitable[object]] | None = None,
    ends_at_s: float | None = None,
) -> T:
    """The first answer that any target of the decision gives.

    A target that cannot be asked, because its dialect lacks the words, its key is missing or the breaker leaves
    it alone, is passed over. `discard` closes a stream that came too late to be of use; without it, answers are
    whole. `ends_at_s` (monotonic) is when the call must be over, where that is not for the settings to say.
    Raises: the most telling error, naming all attempts.
    """
    if not decision.choices:
        raise ValueError("a decision has at least one target")
    record.decision = decision
    record.ends_at_s = traffic.ends_at_s(decision, record) if ends_at_s is None else ends_at_s
    traffic.recent.add(record)
    under_way = _Call(send, decision, traffic, record, discard)
    told: SpineError | None = None
    last: SpineError | None = None
    targets = traffic.ready(decision, record)
    try:
        for place, target in enumerate(targets):
            retries = changes = 0
            while True:
                try:
                    answer = await under_way.ask_in_time(targets, place)
                    if record.is_racing:
                        traffic.decided(record)
                    return answer
                except SpineError as error:
                    record.is_racing = False
                    # What a provider said counts for more than why another one could not be asked.
                    if told is None or (isinstance(error, ProviderError) and error.sent):
                        told = error
                    last = error
                is_last = place + 1 == len(targets)
                # Each key once: where all are busy, the first may well be free again before the last was tried.
                changes_key = last.has_another_key and changes < target.other_keys
                wait_s = traffic.wait_before_retry_s(
                    last, retries, target, record.ends_at_s, is_last=is_last, changes_key=changes_key
                )
                if wait_s is None:
                    break
                await asyncio.sleep(wait_s)
                changes += changes_key
                retries += not changes_key
            if not traffic.goes_on(last, decision, record.ends_at_s):
                break
            rest = targets[place + 1 :]
            targets[place + 1 :] = [other for other in rest if traffic.is_worth_asking(other, target, last, record)]
        assert told is not None
        raise record.exhausted(told)
    finally:
        told = last = None  # else an error and this frame keep each other, and the prompt, alive


class _Call(Generic[T]):
    """What is the same for all attempts of one call."""

    __slots__ = ("_decision", "_discard", "_record", "_send", "_traffic")

    def __init__(
        self,
        send: Send[T],
        decision: Decision,
        traffic: Traffic,
        record: CallRecord,
        discard: Callable[[T], Awaitable[object]] | None,
    ) -> None:
        self._send = send
        self._decision = decision
        self._traffic = traffic
        self._record = record
        self._discard = discard

    def ask_in_time(self, targets: Sequence[Target], place: int) -> Coroutine[Any, Any, T]:
        """The answer of the target at `place`; where it is slow to begin and hedging is on, of that or the next."""
        hedges = self._traffic.hedges
        target = targets[place]
        if hedges is None or place + 1 == len(targets):
            return self.ask(target, is_last=place + 1 == len(targets))
        hedges.deposit()
        after_s = self._traffic.hedge_after_s(target, is_stream=self._discard is not None)
        if after_s is None:
            return self.ask(target)
        return race(
            partial(self.ask, target),
            partial(self.ask, targets[place + 1], is_hedge=True),
            after_s,
            may_start=partial(self._may_hedge, targets[place + 1]),
            discard=self._discard,
            alarm=self._traffic.alarm,
        )

    def _may_hedge(self, other: Target) -> bool:
        self._record.is_racing = self._traffic.may_hedge(other)
        return self._record.is_racing

    async def ask(self, target: Target, *, is_hedge: bool = False, is_last: bool = False) -> T:
        """One attempt. Raises: SpineError; LimitReached and TargetClosed where nothing was sent."""
        traffic, record = self._traffic, self._record
        if traffic.must_write is not None:
            traffic.must_write.check(target.choice, record)
        grant = None
        if traffic.limiter.concerns(target.choice, record.caller):
            at_once = traffic.limiter.at_once
            grant = at_once(target.choice, record.caller, record.tokens, is_first=not record.is_admitted)
            if grant is None:
                grant = await traffic.room(target, record, is_last=is_last)
            record.is_admitted = True
        reservation = None
        if traffic.spending.is_on or record.cost_limit is not None:
            reservation = await traffic.allowed(target, record, grant)
        attempt = traffic.enter(target, record, grant, reservation, is_hedge=is_hedge, is_last=is_last)
        try:
            if traffic.must_write is not None:
                traffic.must_write.check_begun(attempt, record)
            sending = self._send(target.choice, attempt)
            has_waited = grant is not None and grant.waited_s > 0
            if traffic.is_bounded(target, record, self._decision, has_waited=has_waited):
                is_stream = self._discard is not None
                sending = traffic.within(sending, target, record.ends_at_s, self._decision, is_stream=is_stream)
            answer = await sending
        except SpineError as error:
            attempt.settle(error=error)
            traffic.limiter.failed(target.choice, error)
            raise
        except BaseException:
            attempt.settle(left=True)
            raise
        record.answered_by = target.choice
        if traffic.keep is not None and self._decision.session is not None:
            traffic.keep(self._decision, target.choice)
        if self._discard is None:
            attempt.settle(usage=getattr(answer, "usage", None), model=getattr(answer, "model", None))
        return answer

"""What the ledger is told of a call while it is under way: an attempt begins, it ends, the call is over.

Each is one entry (ledger/entry.py), written before the caller can see what it is about: a process that dies in
between has said what it was about to spend.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from genai_spine.ledger.entry import Begun, Bounded, Call, Ended, Entry, Status, Tokens
from genai_spine.model.response import TokenUsage
from genai_spine.policy.budget_need import Asks, nothing
from genai_spine.policy.cost import nanousd

if TYPE_CHECKING:
    from genai_spine.engine.attempt import Attempt
    from genai_spine.engine.record import Cached, CallRecord
    from genai_spine.settings import Settings

logger = logging.getLogger(__name__)

_day = lru_cache(64)(str)
"""A date in words: prices have few."""
_MOST_MORE = 2_000
"""Letters; no provider tells so much of one call."""


class Write(Protocol):
    def __call__(self, *entries: Entry) -> bool | None:
        """Whether the entries are where they outlive the process."""


def unopened(settings: Settings) -> Write | None:
    """Takes what nobody writes down, and warns of it once: the settings name a ledger, and it is not open."""
    if settings.ledger.url is None:
        return None
    has_told = False

    def write(*_: Entry) -> bool:
        nonlocal has_told
        if not has_told:
            has_told = True
            logger.warning(
                "calls do not come into the ledger, since their manager is not started, or closed already: make them "
                "within `async with manager:`, or call its start()"
            )
        return False

    return write


class Watcher(Protocol):
    def __call__(self, *entries: Entry) -> object:
        """Is told of each entry beside the ledger, and keeps none of them for good."""


def watched(write: Write | None, watchers: tuple[Watcher, ...]) -> Write | None:
    """Writes as `write` does, and tells the watchers, whose faults are no call's."""
    if not watchers:
        return write

    def all_of_them(*entries: Entry) -> bool | None:
        is_written = write(*entries) if write is not None else None
        for watcher in watchers:
            try:
                watcher(*entries)
            except Exception:
                logger.exception("calls are not counted")
        return is_written

    return all_of_them


class Bound(Protocol):
    def __call__(self, attempt: Attempt, asks: Callable[[], Asks], usage: TokenUsage | None) -> int | None:
        """What an attempt that is over may have cost at most, in nano-dollars; None: nobody knows."""


class Account:
    """One attempt's entries. `write` appends some to the ledger; `bound` is asked where a cost is not known.

    With an answer its call is over, unless it is a part of another: one write tells both, before the caller is given
    the end of the answer.
    """

    __slots__ = ("_asks", "_bound", "_record", "_write", "id", "is_written")

    def __init__(self, write: Write, attempt: Attempt, record: CallRecord, bound: Bound) -> None:
        self._write = write
        self._bound = bound
        self._asks = record.asks  # the record lets go of it when the call is over, and some attempts end later
        self._record: CallRecord | None = record
        """Until the attempt is over."""
        call = record.call_id
        self.id = f"{call}-{record.part}{len(record.attempts)}"
        choice = attempt.target.choice
        reservation = attempt.reservation
        self.is_written = write(
            Begun(
                id=self.id,
                call=call,
                at=time.time(),
                provider=choice.provider,
                model=choice.model or "",
                is_stream=record.is_stream,
                caller=record.caller,
                agent=choice.agent,
                route=record.route,
                tags=record.tags,
                dialect=record.dialect,
                most_nanousd=reservation.most_nanousd if reservation is not None else None,
                is_hedge=attempt.is_hedge,
                held_tokens=reservation.held_tokens if reservation is not None else None,
                operation=record.operation,
            )
        )

    def bound(self, attempt: Attempt) -> None:
        """`attempt` is under way still: what it may cost at most is known, whatever happens."""
        if (most := self._bound(attempt, self._asks, None)) is not None:
            self._write(Bounded(id=self.id, most_nanousd=most))

    def end(self, attempt: Attempt, usage: TokenUsage | None) -> None:
        """`attempt` is settled. One that nobody charges for costs nothing. Of an answer that is not whole what was
        counted is not all that is charged: its cost is not known."""
        record, self._record = self._record, None
        assert record is not None
        counted = usage if not attempt.may_be_billed else None
        priced = attempt.target.provider.priced(attempt.target.choice.model or "", counted)
        attempt.cost_usd = cost_usd = priced.cost_usd if _may_cost(attempt) else Decimal(0)
        attempt.cost_nanousd = cost_nanousd = nanousd(cost_usd)
        status = status_of(attempt)
        # A hedge may be as quick, or may have been, and the caller may have left the answer to others.
        is_over = record.is_closed or record.is_left
        is_answer = status == "answered" and not record.is_racing and not is_over
        is_all = is_answer and len(record.attempts) == 1
        ended = Ended(
            id=self.id,
            at=time.time(),
            status=status,
            duration_s=attempt.duration_s or 0.0,
            first_s=attempt.first_s,
            tokens=tokens_of(usage) if usage is not None else None,
            cost_nanousd=cost_nanousd,
            price_since=_day(priced.price_since) if priced.price_since is not None else None,
            price_source=priced.source,
            service=priced.service,
            error_type=attempt.error_type,
            status_code=attempt.status_code,
            model=attempt.answered_model,
            most_nanousd=self._bound(attempt, self._asks, usage) if cost_nanousd is None else None,
            uncounted_tokens=_uncounted(attempt, usage) if attempt.reservation is not None else None,
            call_s=time.monotonic() - record.begun_s if is_all else None,
            taken_nanousd=_taken(attempt, usage) if cost_nanousd is None else None,
        )
        self._asks = nothing
        if is_answer:
            record.is_closed = True
        if is_answer and not is_all:
            self._write(ended, _over(record))
        else:
            self._write(ended)


def close(record: CallRecord, write: Write) -> None:
    """The call is over: what its caller got, after all its attempts."""
    if record.attempts:
        write(_over(record))
    elif record.cached is not None:
        _tell_cached(record, record.cached, write)


def _over(record: CallRecord) -> Call:
    attempts = record.attempts
    last = attempts[-1] if len(attempts) == 1 else _telling(record)
    paid = () if record.is_shared else attempts
    cost: int | None = 0 if record.is_shared else None
    unpriced = 0
    for attempt in paid:
        if attempt.cost_nanousd is not None:
            cost = (cost or 0) + attempt.cost_nanousd
        elif _may_cost(attempt):
            unpriced += 1
    return _call(
        record,
        status=record.outcome or status_of(last),
        attempts=len(paid),
        agent=last.target.choice.agent,
        provider=last.provider,
        model=last.model,
        cost_nanousd=cost,
        unpriced=unpriced,
        error_type=last.error_type,
        status_code=last.status_code,
        saved_nanousd=record.cached.saved_nanousd if record.cached is not None else None,
    )


def _telling(record: CallRecord) -> Attempt:
    """Of several attempts the one that says how the call ended: it answered, or began to, or it was the last."""
    latest_first = record.attempts[::-1]
    answered = [attempt for attempt in latest_first if status_of(attempt) == "answered"]
    begun = [attempt for attempt in latest_first if attempt.target.choice is record.answered_by]
    return (answered or begun or latest_first)[0]


def _tell_cached(record: CallRecord, cached: Cached, write: Write) -> None:
    """Nobody was asked: the answer is one that was given before."""
    choice = record.answered_by
    told = _call(
        record,
        status="answered",
        attempts=0,
        agent=choice.agent if choice is not None else None,
        provider=choice.provider if choice is not None else cached.provider,
        model=choice.model if choice is not None else cached.model,
        cost_nanousd=0,
        is_cached=True,
        saved_nanousd=cached.saved_nanousd,
    )
    write(told)


def _call(record: CallRecord, **end: Any) -> Call:
    """The entry of a call that is over now: what its record has said from the start, and how it ended."""
    return Call(
        id=record.call_id,
        at=time.time(),
        duration_s=time.monotonic() - record.begun_s,
        caller=record.caller,
        route=record.route,
        tags=record.tags,
        dialect=record.dialect,
        is_stream=record.is_stream,
        operation=record.operation,
        **end,
    )


def status_of(attempt: Attempt) -> Status:
    if attempt.left or not attempt.is_settled:  # which others wait for, when its own call is over
        return "left"
    return "answered" if attempt.error is None else "failed"


def _uncounted(attempt: Attempt, usage: TokenUsage | None) -> int | None:
    """As `spending.settle` takes them for used."""
    is_counted = usage is not None and usage.input_tokens is not None and usage.output_tokens is not None
    is_whole = is_counted and attempt.error is None
    if attempt.reservation is None or (not attempt.may_be_billed and (is_whole or attempt.error is not None)):
        return None
    counted = 0 if usage is None else (usage.input_tokens or 0) + (usage.output_tokens or 0)
    return max(0, attempt.reservation.held_tokens - counted)


def _taken(attempt: Attempt, usage: TokenUsage | None) -> int | None:
    """As `spending.settle` takes it for spent in an expected budget."""
    if attempt.reservation is None or (held := attempt.reservation.expected_nanousd) is None:
        return None
    if usage is None:
        return held
    counted = attempt.target.provider.priced(attempt.target.choice.model or "", usage).cost_usd
    return max(held, nanousd(counted) or 0)


def _may_cost(attempt: Attempt) -> bool:
    return attempt.may_be_billed or attempt.error is None


def tokens_of(usage: TokenUsage) -> Tokens:
    return Tokens(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cache_read=usage.cache_read_tokens,
        cache_write=usage.cache_write_tokens,
        cache_write_1h=usage.cache_write_1h_tokens,
        reasoning=usage.reasoning_tokens,
        audio_input=usage.audio_input_tokens,
        audio_output=usage.audio_output_tokens,
        is_estimated=usage.estimated,
        more=_more_of(usage) if usage.details is not None or usage.compute_s is not None else None,
    )


def _more_of(usage: TokenUsage) -> str | None:
    """What few calls use, so that the cost can be reckoned again."""
    more = TokenUsage(details=usage.details, compute_s=usage.compute_s)
    try:
        text = msgspec.json.encode(more).decode()
    except (TypeError, ValueError, RecursionError):  # of a provider of somebody's own, which counts otherwise
        return None
    return text if len(text) <= _MOST_MORE else None

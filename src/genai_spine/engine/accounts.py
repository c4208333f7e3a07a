"""What the ledger is told of a call while it is under way: an attempt begins, it ends, the call is over.

Each is one entry (ledger/entry.py), written before the caller can see what it is about: a process that dies in
between has said what it was about to spend.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from genai_spine.ledger.entry import Begun, Call, Ended, Entry, Status, Tokens
from genai_spine.model.response import TokenUsage
from genai_spine.policy.cost import nanousd

if TYPE_CHECKING:
    from genai_spine.engine.attempt import Attempt
    from genai_spine.engine.record import CallRecord

Write = Callable[[Entry], object]


class Account:
    """One attempt's entries. `write` appends one to the ledger."""

    __slots__ = ("_write", "id")

    def __init__(self, write: Write, attempt: Attempt, record: CallRecord) -> None:
        self._write = write
        call = record.call_id
        self.id = f"{call}-{len(record.attempts)}"
        choice = attempt.target.choice
        write(
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
                is_hedge=attempt.is_hedge,
            )
        )

    def end(self, attempt: Attempt, usage: TokenUsage | None) -> None:
        """`attempt` is settled. One that nobody charges for costs nothing; of others the cost may be unknown."""
        priced = attempt.target.provider.priced(attempt.target.choice.model or "", usage)
        attempt.cost_usd = priced.cost_usd if usage is not None or _may_cost(attempt) else Decimal(0)
        self._write(
            Ended(
                id=self.id,
                at=time.time(),
                status=status_of(attempt),
                duration_s=attempt.duration_s or 0.0,
                first_s=attempt.first_s,
                tokens=tokens_of(usage) if usage is not None else None,
                cost_nanousd=nanousd(attempt.cost_usd),
                price_since=str(priced.price_since) if priced.price_since is not None else None,
                price_source=priced.source,
                service=priced.service,
                error_type=attempt.error_type,
                status_code=attempt.status_code,
            )
        )


def close(record: CallRecord, write: Write) -> None:
    """The call is over: what its caller got, after all its attempts."""
    attempts = record.attempts
    if not attempts:
        return
    last = next((attempt for attempt in reversed(attempts) if status_of(attempt) == "answered"), attempts[-1])
    paid = [] if record.is_shared else attempts
    costs = [attempt.cost_usd for attempt in paid if attempt.cost_usd is not None]
    write(
        Call(
            id=record.call_id,
            at=time.time(),
            duration_s=time.monotonic() - record.begun_s,
            status=status_of(last),
            attempts=len(paid),
            caller=record.caller,
            agent=last.target.choice.agent,
            route=record.route,
            tags=record.tags,
            dialect=record.dialect,
            is_stream=record.is_stream,
            provider=last.provider,
            model=last.model,
            cost_nanousd=nanousd(sum(costs, Decimal(0))) if costs or record.is_shared else None,
            unpriced=sum(attempt.cost_usd is None and _may_cost(attempt) for attempt in paid),
            error_type=last.error_type,
            status_code=last.status_code,
        )
    )


def status_of(attempt: Attempt) -> Status:
    if not attempt.is_settled:
        return "interrupted"
    if attempt.left:
        return "left"
    return "answered" if attempt.error is None else "failed"


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
    )

"""One attempt at one target, from admission to settlement: what it holds, and what is learned from it."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

from genai_spine.engine.costs import spending
from genai_spine.model.errors import ProviderError, SpineError
from genai_spine.model.response import TokenUsage

if TYPE_CHECKING:
    from genai_spine.engine.costs.accounts import Account
    from genai_spine.engine.costs.budgets import Reservation
    from genai_spine.engine.limits.limiter import Grant
    from genai_spine.engine.targets import Target


class Attempt:
    """A request on its way to a target. Settled exactly once; every settlement after the first is nothing.

    Whoever has the answer settles: for a whole answer that is `call`, for a stream whoever reads it to its
    end. Until then the attempt counts as in flight, and what it has reserved stays reserved.
    """

    __slots__ = (
        "account", "answered_model", "begun_s", "cost_nanousd", "cost_usd", "duration_s", "error", "error_type",
        "first_s", "grant", "is_admitted", "is_hedge", "is_settled", "left", "may_be_billed", "reservation",
        "retry_after_s", "status_code", "target", "usage",
    )  # fmt: skip

    def __init__(self, target: Target, *, is_hedge: bool = False, is_admitted: bool = True) -> None:
        self.target = target
        self.is_hedge = is_hedge
        self.is_admitted = is_admitted
        """Whether the breaker let it through; if not it was sent all the same, there being nobody else to ask."""
        self.begun_s = time.monotonic()
        self.first_s: float | None = None
        """Seconds to the first event of a stream."""
        self.duration_s: float | None = None
        self.usage: TokenUsage | None = None
        self.answered_model: str | None = None
        """How the answer names the model, where that differs: mostly a snapshot of it, by whose name it is billed."""
        # What is kept of an error is its words: the exception itself holds frames, and they hold prompts.
        self.error: str | None = None
        self.error_type: str | None = None
        self.status_code: int | None = None
        self.retry_after_s: float | None = None
        self.left = False
        """Whether the caller went away, or another attempt was quicker, before this one was done."""
        self.may_be_billed = False
        """Whether it gave no whole answer, and the provider may charge for it all the same."""
        self.cost_usd: Decimal | None = None
        self.cost_nanousd: int | None = None
        """Both worked out for the ledger."""
        self.is_settled = False
        self.grant: Grant | None = None
        self.account: Account | None = None
        self.reservation: Reservation | None = None
        target.in_flight += 1

    def has_begun(self) -> None:
        """The first event of a stream is there."""
        now_s = time.monotonic()
        self.first_s = first_s = now_s - self.begun_s
        self.target.pace.begun(first_s, now_s)

    def settle(
        self,
        *,
        usage: TokenUsage | None = None,
        model: str | None = None,
        error: SpineError | None = None,
        left: bool = False,
    ) -> None:
        """Give back what it holds, and tell breaker and pace how it went."""
        if self.is_settled:
            return
        self.is_settled = True
        now_s = time.monotonic()
        self.duration_s = duration_s = now_s - self.begun_s
        self.usage = usage
        target = self.target
        if isinstance(model, str) and model != target.choice.model:
            self.answered_model = model
        target.in_flight -= 1
        target.last_s = now_s
        if error is None and not left:
            target.breaker.record(now_s, None, self.begun_s)
            tokens = usage.output_tokens if usage is not None else None
            target.pace.ended(duration_s, tokens, now_s, first_s=self.first_s)
        elif error is None or left:
            self.left = self.may_be_billed = True
            if self.is_admitted:
                target.breaker.release(self.begun_s)
            if self.first_s is None:
                target.pace.failed(duration_s, now_s)
        else:
            self._failed(error, duration_s, now_s)
        if self.grant is not None:
            used = usage.total_tokens if usage is not None else None if self.may_be_billed or error is None else 0
            self.grant.settle(used, error=error, left=left)
        if self.account is not None:
            self.account.end(self, usage)
        if self.reservation is not None:
            spending.settle(self.reservation, self)
        self.grant = self.account = None  # the record is kept for a while: what is of no more use makes way

    def _failed(self, error: SpineError, duration_s: float, now_s: float) -> None:
        self.error, self.error_type, self.status_code = error.message, error.type.value, error.status_code
        self.retry_after_s = error.retry_after_s
        # What had begun is charged as far as it went, whatever ended it.
        is_unsure = error.is_uncertain or self.first_s is not None
        self.may_be_billed = is_unsure and isinstance(error, ProviderError) and error.sent
        self.target.breaker.record(now_s, error, self.begun_s)
        if self.first_s is None:
            self.target.pace.failed(duration_s, now_s)

    # ------------------------------------------------------------ what it may cost

    @property
    def max_tokens(self) -> int | None:
        """How long its answer may be at most, where a budget leaves no room for what was asked for."""
        return self.reservation.cap if self.reservation is not None else None

    def meter(self) -> spending.Meter | None:
        """Who is told how its answer grows, where a budget looks at that."""
        return spending.Meter(self.reservation) if self.reservation is not None else None

    # ------------------------------------------------------------ how it went

    @property
    def provider(self) -> str:
        return self.target.choice.provider

    @property
    def model(self) -> str | None:
        return self.target.choice.model

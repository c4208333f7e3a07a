"""Whether to try the same provider again, after how long, and how often in all. Pure: chance and time are arguments.

The wait is drawn from nothing up to the backoff ("full jitter"), so that callers who failed together do not come
back together: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (read 2026-11). The
budget is Finagle's: https://finagle.github.io/blog/2016/02/08/retry-budgets (read 2026-11).
"""

from __future__ import annotations

from typing import ClassVar

from genai_spine.model.errors import SpineError
from genai_spine.settings import RetrySettings


def delay_s(error: SpineError, attempt: int, retry: RetrySettings, chance: float) -> float | None:
    """Seconds to wait before the next attempt at this provider; None when there should be none.

    `attempt` counts from 0, `chance` is drawn from [0, 1). What a provider asks for is waited for in full, with
    the jitter after it: all that it told the same would else come back at the same moment. One that asks for
    more than `retry.max_delay` is not waited for: the next one may be free at once.
    """
    if attempt >= retry.max_retries or not error.retryable or error.type not in retry.retryable_errors:
        return None
    jitter = chance * _backoff_s(attempt, retry)
    asked = error.retry_after_s
    if asked is None or not asked > 0:  # so written that no number at all (NaN) is as if nothing had been asked
        return jitter
    return min(retry.max_delay, asked + jitter) if asked <= retry.max_delay else None


def _backoff_s(attempt: int, retry: RetrySettings) -> float:
    try:
        return min(retry.max_delay, retry.initial_delay * retry.backoff_factor**attempt)
    except OverflowError:
        return retry.max_delay


class RetryBudget:
    """How many retries there may be: a share of the requests, so that an outage is not multiplied.

    Each request puts `share` in, each retry takes 1 out. There is a little in it at the start, so that a first
    call can be retried, and never more than `most`, so that a calm day does not pay for a storm. Where few
    requests come, a retry every `trickle_s` is free: so few harm nobody. A share of 0 allows no retry at all.
    """

    __slots__ = ("_balance", "_share", "_trickled_at")

    reserve: ClassVar[float] = 10.0
    most: ClassVar[float] = 100.0
    trickle_s: ClassVar[float | None] = 10.0

    def __init__(self, share: float) -> None:
        self._share = share
        self._balance = self.reserve if share > 0 else 0.0
        self._trickled_at: float | None = None

    @property
    def balance(self) -> float:
        """Retries that there may be right now."""
        return self._balance

    def deposit(self) -> None:
        """A request has come: once for each, however often it is tried."""
        balance = self._balance + self._share
        self._balance = balance if balance < self.most else self.most

    def withdraw(self, now_s: float | None = None) -> bool:
        """Whether one more may be sent; it is then paid for. Without a moment there is no free one."""
        if self._balance >= 1.0:
            self._balance -= 1.0
            return True
        if now_s is None or self.trickle_s is None or self._share <= 0:
            return False
        if self._trickled_at is not None and abs(now_s - self._trickled_at) < self.trickle_s:
            return False
        self._trickled_at = now_s
        return True

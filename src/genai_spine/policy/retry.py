"""Whether to try the same provider again, and after how long. Pure: chance is an argument."""

from __future__ import annotations

from genai_spine.model.errors import SpineError
from genai_spine.settings import RetrySettings


def delay_s(error: SpineError, attempt: int, retry: RetrySettings, chance: float) -> float | None:
    """Seconds to wait before the next attempt at this provider; None when there should be none.

    `attempt` counts from 0, `chance` is drawn from [0, 1). A provider that asks for a longer wait than
    `retry.max_delay` is not waited for: the next one may be free at once.
    """
    if attempt >= retry.max_retries or not error.retryable or error.type not in retry.retryable_errors:
        return None
    backoff = min(retry.max_delay, retry.initial_delay * retry.backoff_factor**attempt)
    jittered = backoff * (0.5 + chance / 2)
    if error.retry_after_s is None:
        return jittered
    return max(jittered, error.retry_after_s) if error.retry_after_s <= retry.max_delay else None

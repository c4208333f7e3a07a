"""When a second request goes out beside one that is slow to begin, and how many of these there may be. Pure.

Hedged requests: J. Dean and L. A. Barroso, The Tail at Scale (CACM 56/2, 2013). Waiting for the 95th percentile
bounds the extra load to about one request in twenty; the budget bounds it where the measure is wrong.
"""

from __future__ import annotations

from typing import ClassVar

from genai_spine.policy.pace import Pace
from genai_spine.policy.retry import RetryBudget
from genai_spine.settings import HedgeSettings

LEAST_S = 0.02
"""Nobody waits longer for want of a second request that would have been sent sooner; it would only be paid for."""


class HedgeBudget(RetryBudget):
    """How many second requests there may be: a share of all requests. A share of 0 allows none."""

    __slots__ = ()

    reserve: ClassVar[float] = 1.0
    most: ClassVar[float] = 10.0
    trickle_s: ClassVar[float | None] = None  # nobody needs a hedge: where few requests come, few are hedged


def hedge_after_s(settings: HedgeSettings, pace: Pace, *, streamed: bool = True) -> float | None:
    """Seconds after which a second request goes out beside one to the target of this pace; None: none does.

    A plain answer comes as a whole: it is late when later than most plain answers, not than the beginning of
    streams. Until enough is seen to tell what late is, nothing is hedged unless the settings say when.
    """
    if settings.budget <= 0:
        return None
    if settings.after is not None:
        return settings.after
    late_s = pace.first_p95_s if streamed else pace.whole_p95_s
    return late_s if late_s is None or late_s > LEAST_S else LEAST_S

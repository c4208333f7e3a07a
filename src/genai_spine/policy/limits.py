"""Requests and tokens per minute: how much of a limit is used up, and when there is room again.

A limit of N a minute is a bucket of N that fills evenly: a minute's worth at once, after that one each
60/N seconds, so that in any t seconds no more than N + N·t/60 are given out. That is how OpenAI, Anthropic,
Azure and Groq count (their reset headers show it, recorded 2026), and what GCRA computes with one number
(ITU-T I.371, 1996).

Tokens are not known before the answer: an estimate is set aside and corrected by what was really used. What
was too little becomes debt, which is paid before anything else is given out. Of what was too much, only that
is given back which has not flowed back by itself in the meantime: given back twice it would break the limit.

All in integers, so that nothing is lost by rounding: moments in microseconds of any clock, amounts in
1/60,000,000. Where the clock jumps back nothing flows until it goes on; where it jumps forward the bucket is
full at most. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from genai_spine.model.errors import RateLimit

MINUTE_US = 60_000_000
"""Parts of one request or token; with these, so many of them flow back in a microsecond as the limit says."""


class Rate:
    """One limit of so many a minute.

    What flows back by itself is a line that rises with time; what is taken is laid one behind the other above it, as
    far as `_end`. Between the two is what is used up.
    """

    __slots__ = ("_at_us", "_end", "_given", "_zero_us", "per_min")

    def __init__(self, per_min: int, now_us: int) -> None:
        self.per_min = per_min
        self._zero_us = self._at_us = now_us
        self._end = 0
        self._given = 0

    def wait_us(self, amount: int, now_us: int) -> int:
        """Microseconds until so much may be taken; 0: now. More than the whole limit waits for all of it."""
        room = self.per_min - amount if amount < self.per_min else 0
        lacking = self.used(now_us) - room * MINUTE_US
        return -(-lacking // self.per_min) if lacking > 0 else 0

    def take(self, amount: int, now_us: int) -> int:
        """Takes, room or not. The answer is this one's end in the order in which what is used flows back."""
        self._end = max(self._end, self._flowed(now_us)) + min(amount, self.per_min) * MINUTE_US
        return self._end + self._given

    def used(self, now_us: int) -> int:
        """How much is used up, in parts; more than the limit where there is debt."""
        return max(0, self._end - self._flowed(now_us))

    def _flowed(self, now_us: int) -> int:
        """How much has flowed back since the beginning."""
        if now_us < self._at_us:
            self._zero_us -= self._at_us - now_us
        self._at_us = now_us
        return (now_us - self._zero_us) * self.per_min

    def is_idle(self, now_us: int) -> bool:
        return self.used(now_us) == 0

    def left(self, now_us: int) -> int:
        """How much may be taken now, whole ones; 0 where there is debt."""
        used = self._end - self._flowed(now_us)
        left = self.per_min + -used // MINUTE_US if used > 0 else self.per_min
        return left if left > 0 else 0


def take_all(rates: Sequence[Rate], amount: int, now_us: int) -> list[int] | None:
    """Takes so much of each of them, or nothing where one has no room; what the `take` of each would answer.

    Written out, since every call of a gateway passes through half a dozen.
    """
    ends: list[int] = []
    for rate in rates:
        if now_us < rate._at_us:
            rate._zero_us -= rate._at_us - now_us
        rate._at_us = now_us
        per_min, end = rate.per_min, rate._end
        flowed = (now_us - rate._zero_us) * per_min
        end = (end if end > flowed else flowed) + (amount if amount < per_min else per_min) * MINUTE_US
        if end > flowed + per_min * MINUTE_US:
            give_back(rates[: len(ends)], amount)
            return None
        rate._end = end
        ends.append(end + rate._given)
    return ends


def give_back(rates: Sequence[Rate], amount: int) -> None:
    """Undoes a `take_all` of this moment, nothing else having been taken since."""
    for rate in rates:
        rate._end -= min(amount, rate.per_min) * MINUTE_US


def settle_all(rates: Sequence[Rate], ends: Sequence[int], taken: int, used: int, now_us: int) -> None:
    """Where `taken` was set aside in each, `used` was needed; `ends` is what taking it answered. Written out, too."""
    for rate, end in zip(rates, ends, strict=True):
        per_min, own = rate.per_min, rate._end
        too_much = ((taken if taken < per_min else per_min) - used) * MINUTE_US
        if too_much == 0:
            continue
        if now_us < rate._at_us:
            rate._zero_us -= rate._at_us - now_us
        rate._at_us = now_us
        flowed = (now_us - rate._zero_us) * per_min
        if too_much < 0:
            rate._end = (own if own > flowed else flowed) - too_much
            continue
        # What others gave back moved this one's end nearer; taken as if all of it had, it is never too far.
        lent = end - flowed - rate._given
        if lent > own - flowed:
            lent = own - flowed
        if too_much > lent:
            too_much = lent
        if too_much > 0:
            rate._given += too_much
            rate._end = own - too_much


PERIODS_S = (60.0, 3600.0, 86400.0)
_SCARCE_SHARE = 5
_SCARCE = 10


def is_scarce(limit: int | None, remaining: int) -> bool:
    """Whether so little is left of a provider's limit that we must look to it: a fifth, or 10 of who knows how many."""
    return remaining * _SCARCE_SHARE < limit if limit else remaining <= _SCARCE


class Told:
    """A provider's limit as its last answer told it: no more than what remains is given out until its reset.

    Where reset and limit show that the bucket fills evenly, what has flowed in since is given out too.
    """

    __slots__ = ("_at_us", "_of_tokens", "_per_us", "_remaining", "until_us")

    def __init__(self, told: RateLimit, now_us: int) -> None:
        self._of_tokens = "token" in told.name
        self._remaining = float(told.remaining or 0)
        self._at_us = now_us
        self._per_us = _flow_per_us(told)
        self.until_us = now_us + round((told.reset_s or 0.0) * 1e6)

    def wait_us(self, tokens: int, now_us: int) -> int:
        """Microseconds until a call of so many tokens may go; 0: now."""
        if now_us >= self.until_us:
            return 0
        lacking = (tokens if self._of_tokens else 1) - self._left(now_us)
        if lacking <= 0:
            return 0
        wait_us = self.until_us - now_us
        return min(wait_us, int(lacking / self._per_us) + 1) if self._per_us else wait_us

    def take(self, tokens: int, now_us: int) -> None:
        self._remaining = self._left(now_us) - (tokens if self._of_tokens else 1)
        self._at_us = now_us

    def _left(self, now_us: int) -> float:
        return self._remaining + self._per_us * max(0, now_us - self._at_us)


def _flow_per_us(told: RateLimit) -> float:
    """How fast an evenly filling bucket fills; 0.0 where the reset does not fit one of a minute, an hour or a day."""
    if not told.limit or told.remaining is None or not told.reset_s:
        return 0.0
    used = told.limit - told.remaining
    for period_s in PERIODS_S:
        expected_s = period_s * used / told.limit
        # Times of day are told in whole seconds (Anthropic), so that a second more or less still fits.
        if used > 0 and abs(told.reset_s - expected_s) <= 1.0 + 0.02 * expected_s:
            return told.limit / period_s / 1e6
    return 0.0

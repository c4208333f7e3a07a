"""How fast one target is: how soon its answers begin, how many tokens a second follow, and the slow ones among them.

Three views, since three ask. Routing by speed wants what to expect: `first_s` and `tokens_per_s`, moving averages.
Routing by latency must flee at once from a target that turns slow: `peak_s`, which rises at once and falls with
time, as Finagle's and Linkerd's peak EWMA (https://linkerd.io/2016/03/16/beyond-round-robin-load-balancing-for-latency/,
read 2026-11). Hedging wants to know what is late: `first_p95_s`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from math import exp

SMOOTHING = 0.1
"""The part of a moving average that is new; until that many are seen it is their plain mean."""
PEAK_STEP_S = 0.05
"""In so short a time a peak is not faded: where calls are many, few of them reckon."""
PEAK_DECAY_S = 30.0
"""After so long without news a peak counts e times less. Finagle has 10 s, for calls that take milliseconds."""
ENOUGH = 20
"""Answers to have seen before anything is said of the slowest twentieth."""
EDGES_S: list[float] = [0.001 * 2.0 ** (eighth / 8) for eighth in range(161)]
"""Where the buckets of a histogram of times end: an eighth of a doubling each, from 1 ms to 17 minutes."""


class Quantile:
    """An estimate of the 95th percentile of times, in bounded memory, that forgets.

    A histogram: from 1 ms to 17 minutes the answer is at most 10 % too high, and never too low. P² needs but five
    numbers, yet never forgets: it describes all that was ever seen, not how a provider is today, and after a shift
    its markers lag far behind. Here all counts are halved after every 500: what is told is of the last thousand or so.

    The counts are 1.3 KB from the first time on. As a list of floats they were four times that from the first halving
    on, which of a model that is seldom asked comes after hours: with many models that looked like a leak.
    """

    __slots__ = ("_at_least", "_counts", "_known_s", "_total", "_until_halved")

    SHARE_ABOVE = 0.05
    HALVED_AFTER = 500
    WORKED_OUT_EVERY = 25

    def __init__(self, at_least: int = ENOUGH) -> None:
        self._at_least = at_least
        self._counts: array[float] | None = None  # made with the first time: most targets are never asked
        self._total = 0.0
        self._until_halved = self.HALVED_AFTER
        self._known_s: float | None = None

    def add(self, seconds: float) -> None:
        if self._counts is None:
            self._counts = array("d", bytes(8 * (len(EDGES_S) + 1)))
        self._counts[bisect_right(EDGES_S, seconds)] += 1.0
        self._total += 1.0
        self._until_halved -= 1
        if not self._until_halved % self.WORKED_OUT_EVERY:
            self._known_s = None
            if not self._until_halved:
                self._halve()

    @property
    def p95_s(self) -> float | None:
        """Seconds in which 95 % were done; None until enough is seen. Worked out anew after every 25th."""
        if self._total < self._at_least or self._counts is None:
            return None
        if self._known_s is None:
            self._known_s = self._worked_out(self._counts)
        return self._known_s

    def _worked_out(self, counts: array[float]) -> float:
        above, allowed = counts[-1], self._total * self.SHARE_ABOVE
        bucket = len(EDGES_S) - 1
        while above + counts[bucket] <= allowed:
            above += counts[bucket]
            bucket -= 1
        return EDGES_S[bucket]

    def _halve(self) -> None:
        assert self._counts is not None
        self._counts = array("d", [count / 2 for count in self._counts])
        self._total /= 2
        self._until_halved = self.HALVED_AFTER


class Pace:
    """What is measured of one target. All times are seconds; negative ones, of a clock that jumped, count as none.

    `now_s` is a moment of any clock, always the same; a peak of which no moment was told does not fade.
    """

    __slots__ = ("_firsts", "_peak_at", "_peak_s", "_rates", "_streams", "_wholes", "count", "first_s", "tokens_per_s")

    def __init__(self) -> None:
        self.count: int = 0
        """Answers that began."""
        self.first_s: float | None = None
        """How soon a stream begins: a moving average. None until one did."""
        self.tokens_per_s: float | None = None
        """Output tokens per second, from the first one on: a moving average."""
        self._streams = 0
        self._rates = 0
        self._peak_s: float | None = None
        self._peak_at: float | None = None
        self._firsts = Quantile()
        self._wholes = Quantile()

    # ------------------------------------------------------------ learning

    def begun(self, first_s: float, now_s: float | None = None) -> None:
        """A stream began, `first_s` after it was asked for."""
        if first_s < 0:
            first_s = 0.0
        self.count += 1
        self._streams += 1
        self.first_s = _moved(self.first_s, first_s, self._streams)
        self._firsts.add(first_s)
        self._observe(first_s, now_s)

    def ended(
        self, duration_s: float, output_tokens: int | None, now_s: float | None = None, *, first_s: float | None = None
    ) -> None:
        """An answer ended well, `duration_s` after it was asked for.

        `first_s` is what `begun` was told of it; None where it came whole. Of the tokens per second of a whole
        answer only the least is known, since nobody saw the first: that counts until a stream tells better.
        """
        if first_s is None:
            self.count += 1
            self._wholes.add(duration_s)
            self._observe(max(0.0, duration_s), now_s)
            if self.first_s is not None:
                return
            first_s = 0.0
        if output_tokens and duration_s > first_s >= 0:
            self._rates += 1
            self.tokens_per_s = _moved(self.tokens_per_s, output_tokens / (duration_s - first_s), self._rates)

    def failed(self, duration_s: float, now_s: float | None = None) -> None:
        """`duration_s` after it was asked nothing had begun, and nothing will: it failed, lost a race, or was left.

        Where that is late, it counts as just late: if those that lose a hedged race were not counted, the times
        left would be the short ones, and more and more would be hedged. It does not count as all of `duration_s`,
        for then the timeouts of an outage would, long after it, be what late means. A quick failure says nothing.
        """
        for times in (self._firsts, self._wholes):
            late_s = times.p95_s
            if late_s is not None and duration_s >= late_s:
                times.add(late_s)  # an edge: the next bucket has it
        peak_s = self._peak_s if now_s is None else self.peak_s(now_s)
        if duration_s > (peak_s or 0.0):
            self._observe(duration_s, now_s)

    def heard(self, first_s: float | None, tokens_per_s: float | None) -> None:
        """What another process measured of the target: it holds until something is measured here."""
        if not self._streams and first_s is not None:
            self.first_s = first_s
        if not self._rates and tokens_per_s is not None:
            self.tokens_per_s = tokens_per_s

    # ------------------------------------------------------------ telling

    def peak_s(self, now_s: float) -> float | None:
        """How long an answer might take to begin: the worst of late, fading with time. None until one is seen.

        It fades to nothing, so that a target that nobody asks any more is asked again some day.
        """
        return None if self._peak_s is None else self._peak_s * self._kept(now_s)

    @property
    def first_p95_s(self) -> float | None:
        """Seconds in which 95 % of the streams began, lately; None until enough did."""
        return self._firsts.p95_s

    @property
    def whole_p95_s(self) -> float | None:
        """Seconds in which 95 % of the plain answers were there, lately; None until enough were."""
        return self._wholes.p95_s

    def _observe(self, seconds: float, now_s: float | None) -> None:
        if self._peak_s is None or seconds >= self._peak_s:
            self._peak_s = seconds
        elif now_s is not None and self._peak_at is not None and 0.0 <= now_s - self._peak_at < PEAK_STEP_S:
            return  # hardly anything has faded: next time it is more
        else:
            kept = self._kept(now_s)
            self._peak_s = max(seconds, self._peak_s * kept + seconds * (1.0 - kept))
        self._peak_at = now_s

    def _kept(self, now_s: float | None) -> float:
        """What time has left of the peak, 1 to 0."""
        if now_s is None or self._peak_at is None:
            return 1.0
        # The distance, so that a clock set back does not keep a peak for ever.
        return exp(-abs(now_s - self._peak_at) / PEAK_DECAY_S)


def _moved(average: float | None, value: float, count: int) -> float:
    """The moving average after its `count`th value."""
    if average is None:
        return value
    return average + (value - average) * (SMOOTHING if count * SMOOTHING >= 1.0 else 1.0 / count)

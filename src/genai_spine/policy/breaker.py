"""The circuit breaker of one target: a model that fails too often is left alone for a while, then asked once.

    closed     calls go through; what became of them counts for `window` seconds
    open       the share of failures reached `failure_rate` over at least `min_calls`, or as many failed in a row
               for a tenth of the window: no call goes through
    half_open  `open_for` is over: one call goes through, the probe. An answer closes, a failure opens again

A target that opens again before it was well for a whole window is left alone for twice as long. How much an
error counts is a table of its attributes, never of its class.

The moments are seconds of any clock that the caller keeps to. It should be a monotonic one; where it jumps, a
breaker forgets its window or sends its probe at another time, and nothing worse.

The pattern is M. Nygard's (Release It!), the three states as in https://martinfowler.com/bliki/CircuitBreaker.html
(read 2026-11).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from genai_spine.model.errors import ErrorType, Fault, SpineError
from genai_spine.settings import BreakerSettings

BreakerState = Literal["closed", "open", "half_open"]

BUCKETS = 10
"""Parts of the window; what is older than the window is forgotten a part at a time."""
LONGEST = 2.0
"""The longest that a target is left alone, in units of `open_for`. A probe is one call, and costs next to nothing; what
a long pause costs is the time until a target that is well again is seen to be (docs/resilience.md, "Coming back")."""


class Weighed(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table: errors of which all that is given holds count `weight`; None: they are no verdict."""

    code: str | None = None
    fault: Fault | None = None
    type: ErrorType | None = None
    status_codes: tuple[int, ...] = ()
    weight: float | None
    why: str

    def fits(self, code: str | None, fault: Fault, type: ErrorType, status_code: int | None) -> bool:
        return (
            self.code in (None, code)
            and self.fault in (None, fault)
            and self.type in (None, type)
            and (not self.status_codes or status_code in self.status_codes)
        )


WEIGHTS = (
    Weighed(
        fault="caller",
        weight=None,
        why="400, 404, 413, 422, context length, content filter: the request was at fault. Were it a success, many "
        "bad requests, which a service refuses even while its models are down, would hide that all good ones fail.",
    ),
    Weighed(
        code="target_closed",
        weight=None,
        why="The breaker's own refusal: nothing was sent.",
    ),
    Weighed(
        fault="operator",
        type=ErrorType.RATE_LIMIT,
        weight=None,
        why="A limit that we keep ourselves: nothing was sent.",
    ),
    Weighed(
        fault="operator",
        type=ErrorType.NETWORK_ERROR,
        weight=None,
        why="Our own bound on connections: nothing was sent.",
    ),
    Weighed(
        fault="operator",
        type=ErrorType.INVALID_REQUEST,
        weight=None,
        why="Settings that cannot work: nothing was sent.",
    ),
    Weighed(
        type=ErrorType.AUTHENTICATION,
        weight=1.0,
        why="401, 403: no answer comes until the operator mends it, and each call pays a round trip to learn that. "
        "Not more than a failure: one revoked key of several is the key pool's affair, and the others still answer.",
    ),
    Weighed(
        type=ErrorType.QUOTA_EXCEEDED,
        weight=1.0,
        why="402: out of credit, as lasting as a wrong key.",
    ),
    Weighed(
        type=ErrorType.RATE_LIMIT,
        weight=0.1,
        why="429: the service is well and asks for less, which Retry-After and the limiter see to. Alone it opens no "
        "breaker at the default rate; beside real failures it tips the scale.",
    ),
    Weighed(
        fault="provider",
        type=ErrorType.SERVER_ERROR,
        status_codes=(503, 529),
        weight=0.5,
        why="503, 529: the service is full. Half of its calls refused is half of them answered: left alone, its load "
        "would fall on the others, and fill them too. At the default rate nothing but refusals opens it, and a probe "
        "that is refused has failed.",
    ),
    Weighed(
        weight=1.0,
        why="The other 5xx, bytes that are no answer, broken streams, no connection, timeouts.",
    ),
)
"""The first row that fits decides."""

FAILED = 0.5
"""A probe that ends in an error of this weight or more has failed; a 429 shows that the service answers again."""


def weight_of(error: SpineError) -> float | None:
    """How much of a failure the error is, 0 to 1; None where it says nothing of the target."""
    return _weight(error.code, error.fault, error.type, error.status_code)


@lru_cache(maxsize=256)  # codes are the providers' words: there is no end of them
def _weight(code: str | None, fault: Fault, type: ErrorType, status_code: int | None) -> float | None:
    return next(row.weight for row in WEIGHTS if row.fits(code, fault, type, status_code))


class Breaker:
    """The state of one target. Not locked: it belongs to one event loop, and no method waits."""

    __slots__ = (
        "_bucket",
        "_bucket_s",
        "_calls",
        "_closed_at",
        "_counts",
        "_failed",
        "_failures",
        "_open_s",
        "_opened_at",
        "_probe_at",
        "_row",
        "_row_at",
        "_settings",
        "_tick",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        # A window of 0 would be no window: the shortest is a hundredth of a second.
        self._bucket_s = max(settings.window, 0.01) / BUCKETS
        self._counts = [0] * BUCKETS  # calls with a verdict, by part of the window
        self._failed = [0.0] * BUCKETS  # and the failures among them, weighed
        self._calls = 0
        self._failures = 0.0
        self._tick = 0.0  # which part of time, counted from the clock's zero, the newest bucket is
        self._bucket = 0
        self._open_s = 0.0  # how long it is left alone, this time or the last
        self._opened_at: float | None = None
        self._closed_at: float | None = None
        self._probe_at: float | None = None
        self._row = 0  # failures since the last answer
        self._row_at = 0.0  # when the first of them came

    # ------------------------------------------------------------ asking

    def state(self, now_s: float) -> BreakerState:
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._since(self._opened_at, now_s) >= self._open_s else "open"

    def would_admit(self, now_s: float) -> bool:
        """Whether `admit` would say yes; changes nothing."""
        if self._opened_at is None:
            return True
        if self._since(self._opened_at, now_s) < self._open_s:
            return False
        # A probe that is out for as long as the target was left alone is given up: its place must not be lost.
        return self._probe_at is None or self._since(self._probe_at, now_s) >= max(self._open_s, self._bucket_s)

    def admit(self, now_s: float) -> bool:
        """Whether a call may go through. In half-open this takes the one place, until `record` or `release`."""
        if self._opened_at is None:
            return True
        if not self.would_admit(now_s):
            return False
        self._probe_at = now_s
        return True

    def reopens_in_s(self, now_s: float) -> float | None:
        """Seconds until a probe may go through; 0 when it may or is under way; None where it is closed."""
        if self._opened_at is None:
            return None
        return max(0.0, self._open_s - self._since(self._opened_at, now_s))

    # ------------------------------------------------------------ learning

    def record(self, now_s: float, error: SpineError | None = None, begun_s: float | None = None) -> None:
        """What became of a call that began at `begun_s` (else: just now); `error` is None where it was answered.

        While it is open, calls that began before it opened say nothing of how the target is now. A call that
        was let through all the same counts like the probe when it is answered.
        """
        if error is None:
            if self._opened_at is None:
                tick = now_s // self._bucket_s
                if tick != self._tick:
                    self._turn(tick)
                self._counts[self._bucket] += 1
                self._calls += 1
                self._row = 0
            elif begun_s is None or begun_s >= self._opened_at:
                self._close(now_s)
            return
        weight = weight_of(error)
        if weight is None:
            self.release(begun_s)
        elif self._opened_at is None:
            self._count(now_s, weight)
        elif self._probe_at is not None and (begun_s is None or begun_s >= self._probe_at):
            if weight >= FAILED:
                self._open(now_s, self._longer())
            else:
                self._close(now_s)

    def release(self, begun_s: float | None = None) -> None:
        """The call ended without a verdict, as when its caller left: another may be the probe."""
        if self._probe_at is not None and (begun_s is None or begun_s >= self._probe_at):
            self._probe_at = None

    def leave_alone(self, now_s: float, for_s: float) -> None:
        """Another process found the target failing, and leaves it alone for so long yet. Changes nothing if open."""
        if self._opened_at is None and for_s > 0:
            self._open(now_s, min(for_s, LONGEST * self._settings.open_for))

    # ------------------------------------------------------------ within

    @staticmethod
    def _since(moment_s: float, now_s: float) -> float:
        # The distance, so that a clock set back by an hour does not keep a breaker open for an hour.
        return abs(now_s - moment_s)

    def _count(self, now_s: float, weight: float) -> None:
        tick = now_s // self._bucket_s
        if tick != self._tick:
            self._turn(tick)
        self._counts[self._bucket] += 1
        self._failed[self._bucket] += weight
        self._calls += 1
        self._failures += weight
        settings = self._settings
        fails = self._calls >= settings.min_calls and self._failures >= settings.failure_rate * self._calls
        if fails or self._is_dead(now_s, weight):
            again = self._closed_at is not None and self._since(self._closed_at, now_s) < settings.window
            self._open(now_s, self._longer() if again else settings.open_for)

    def _is_dead(self, now_s: float, weight: float) -> bool:
        """Whether nothing but failures has come for a part of the window, and as many as are judged by.

        The many answers of a good half minute would else speak for a target that has not given one since.
        """
        if weight <= FAILED:
            return False  # a refusal for too much is a sign of life
        settings = self._settings
        if self._row == 0 or self._since(self._row_at, now_s) >= settings.window:
            self._row, self._row_at = 0, now_s
        self._row += 1
        return self._row >= settings.min_calls and self._since(self._row_at, now_s) >= self._bucket_s

    def _turn(self, tick: float) -> None:
        """Empties what is too old for a window that ends with this part of time."""
        passed = int(tick - self._tick)
        if -BUCKETS < passed < 0:
            return  # a little late, or the clock was set back a little: it counts as now
        if 0 < passed < BUCKETS:
            for _ in range(passed):
                self._bucket = (self._bucket + 1) % BUCKETS
                self._counts[self._bucket] = 0
                self._failed[self._bucket] = 0.0
            # Summed anew, so that fractions taken away leave no crumbs.
            self._calls = sum(self._counts)
            self._failures = sum(self._failed)
        else:
            self._forget()
        self._tick = tick

    def _forget(self) -> None:
        self._counts = [0] * BUCKETS
        self._failed = [0.0] * BUCKETS
        self._calls = 0
        self._failures = 0.0

    def _longer(self) -> float:
        return min(2 * self._open_s, LONGEST * self._settings.open_for)

    def _open(self, now_s: float, open_s: float) -> None:
        self._opened_at = now_s
        self._open_s = open_s
        self._probe_at = None

    def _close(self, now_s: float) -> None:
        self._opened_at = None
        self._probe_at = None
        self._closed_at = now_s
        self._row = 0
        self._forget()

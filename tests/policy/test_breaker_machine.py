"""The breaker against a model that keeps every call in a list, in any order of calls, verdicts and time."""

from __future__ import annotations

from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from genai_spine import BadRequest, Overloaded, ProviderTimeout, RateLimitError, ServerError, SpineError
from genai_spine.policy.breaker import Breaker, weight_of
from genai_spine.settings import BreakerSettings, Duration

ERRORS = (ServerError("x"), ProviderTimeout("x"), Overloaded("x"), RateLimitError("x"), BadRequest("x"))
WINDOW_S, OPEN_S, PART_S = 10.0, 20.0, 1.0


class BreakerMachine(RuleBasedStateMachine):
    """Moments are whole quarters of a second, so that the model reckons without rounding."""

    under_way = Bundle("under_way")

    @initialize(min_calls=st.integers(1, 6), rate=st.sampled_from([0.25, 0.5, 1.0]), open_for=st.sampled_from([3, 20]))
    def begin(self, min_calls: int, rate: float, open_for: int) -> None:
        self.settings = BreakerSettings(
            min_calls=min_calls, failure_rate=rate, window=Duration(WINDOW_S), open_for=Duration(open_for)
        )
        self.breaker = Breaker(self.settings)
        self.now_s = 1000.0
        self.verdicts: list[tuple[float, float]] = []  # moment and weight, since it closed
        self.opened_at: float | None = None
        self.closed_at: float | None = None
        self.open_s = 0.0
        self.probe: float | None = None  # when the probe began
        self.row: list[float] = []  # moments of failures since the last answer

    @rule(quarters=st.integers(1, 12) | st.integers(1, 120))
    def time_passes(self, quarters: int) -> None:
        self.now_s += quarters / 4

    @precondition(lambda self: self.opened_at is not None)
    @rule()
    def time_passes_until_a_probe_may_go(self) -> None:
        self.now_s = max(self.now_s, self.opened_at + self.open_s)

    @rule(calls=st.lists(st.tuples(st.integers(0, 20), st.sampled_from((None, *ERRORS))), min_size=1, max_size=15))
    def calls_end_at_once(self, calls: list[tuple[int, SpineError | None]]) -> None:
        for quarters, error in calls:
            self.now_s += quarters / 4
            self.ends(self.call(), error)
            self.state_is_as_the_model_says()

    @precondition(lambda self: self.opened_at is None)
    @rule(quarters=st.integers(1, 4))
    def an_outage_opens_it(self, quarters: int) -> None:
        self.now_s += quarters / 4
        for _ in range(20):
            if self.opened_at is None:
                self.ends(self.call(), ERRORS[0])

    def ends(self, call: tuple[float, bool], error: SpineError | None) -> None:
        if error is None:
            self.is_answered(call)
        else:
            self.fails(call, error)

    @rule(target=under_way)
    def a_call_begins(self) -> tuple[float, bool] | MultipleResults[tuple[float, bool]]:
        call = self.call()
        return call if call[1] else multiple()

    def call(self) -> tuple[float, bool]:
        would = self.breaker.would_admit(self.now_s)
        admitted = self.breaker.admit(self.now_s)
        assert would == admitted
        if self.opened_at is None:
            assert admitted, "a closed one lets all through"
        elif self.now_s < self.opened_at + self.open_s:
            assert not admitted, "an open one lets nobody through"
        else:
            is_lost = self.probe is not None and self.now_s >= self.probe + self.open_s
            assert admitted == (self.probe is None or is_lost), "one probe at a time"
            if admitted:
                self.probe = self.now_s
        return self.now_s, admitted

    @rule(call=consumes(under_way), how=st.sampled_from(("left", "forgotten", None, *ERRORS)))
    def a_call_ends(self, call: tuple[float, bool], how: Literal["left", "forgotten"] | SpineError | None) -> None:
        """`forgotten`: neither verdict nor release, a bug elsewhere, which must not close a target off for ever."""
        if how == "left":
            self.is_left(call[0])
        elif how != "forgotten":
            self.ends(call, how)

    def is_answered(self, call: tuple[float, bool]) -> None:
        begun_s, admitted = call
        if admitted:
            self.breaker.record(self.now_s, None, begun_s)
            if self.opened_at is None:
                self.verdicts.append((self.now_s, 0.0))
                self.row = []
            elif begun_s >= self.opened_at:
                self._closes()

    def fails(self, call: tuple[float, bool], error: SpineError) -> None:
        begun_s, admitted = call
        if not admitted:
            return
        self.breaker.record(self.now_s, error, begun_s)
        weight = weight_of(error)
        is_probe = self.probe is not None and begun_s >= self.probe
        if weight is None:
            self.probe = None if is_probe else self.probe
        elif self.opened_at is None:
            self.verdicts.append((self.now_s, weight))
            if weight == 1.0:
                self.row = (
                    [self.now_s] if self.row and self.now_s - self.row[0] >= WINDOW_S else [*self.row, self.now_s]
                )
            self._judge(weight)
        elif is_probe and weight >= 0.5:
            self._opens(self._longer_s())
        elif is_probe:
            self._closes()

    def is_left(self, begun_s: float) -> None:
        self.breaker.release(begun_s)
        if self.probe is not None and begun_s >= self.probe:
            self.probe = None

    def _judge(self, weight: float) -> None:
        oldest = int(self.now_s / PART_S) - int(WINDOW_S / PART_S)
        weights = [weight for moment, weight in self.verdicts if int(moment / PART_S) > oldest]
        min_calls = self.settings.min_calls
        is_dead = weight == 1.0 and len(self.row) >= min_calls and self.now_s - self.row[0] >= PART_S
        share = sum(weights) / len(weights) if len(weights) >= min_calls else -1.0
        if is_dead:
            is_open = True
        elif abs(share - self.settings.failure_rate) < 1e-9:  # tenths do not add up exactly: either will do
            is_open = self.breaker.state(self.now_s) != "closed"
        else:
            is_open = share > self.settings.failure_rate
        if is_open:
            again = self.closed_at is not None and self.now_s - self.closed_at < WINDOW_S
            self._opens(self._longer_s() if again else self.settings.open_for)

    def _longer_s(self) -> float:
        return 2 * self.settings.open_for

    def _opens(self, open_s: float) -> None:
        self.opened_at, self.open_s, self.probe = self.now_s, open_s, None

    def _closes(self) -> None:
        self.opened_at, self.probe, self.closed_at, self.verdicts, self.row = None, None, self.now_s, [], []

    @invariant()
    def state_is_as_the_model_says(self) -> None:
        state, left_s = self.breaker.state(self.now_s), self.breaker.reopens_in_s(self.now_s)
        if self.opened_at is None:
            assert (state, left_s) == ("closed", None)
        else:
            ends_s = self.opened_at + self.open_s
            assert state == ("half_open" if self.now_s >= ends_s else "open")
            assert left_s == max(0.0, ends_s - self.now_s)


class JumpingClockMachine(RuleBasedStateMachine):
    """Whatever the clock does, a breaker comes back: within its longest time a call goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BreakerSettings(min_calls=2, window=Duration(WINDOW_S), open_for=Duration(OPEN_S)))
        self.now_s = 0.0

    @rule(jump_s=st.floats(-1e6, 1e6) | st.floats(-30, 30))
    def clock_jumps(self, jump_s: float) -> None:
        self.now_s += jump_s

    @rule(error=st.sampled_from((None, *ERRORS)), late_s=st.floats(-1e6, 1e6))
    def verdict(self, error: SpineError | None, late_s: float) -> None:
        if self.breaker.admit(self.now_s):
            self.breaker.record(self.now_s, error, self.now_s + late_s)

    @rule()
    def release(self) -> None:
        self.breaker.release()

    @invariant()
    def never_for_ever(self) -> None:
        left_s = self.breaker.reopens_in_s(self.now_s)
        assert left_s is None or 0 <= left_s <= 2 * OPEN_S
        # Seen from here the clock behaves: twice the longest time covers a jump just before.
        assert any(self.breaker.would_admit(self.now_s + 16 * OPEN_S * part / 16) for part in range(17))


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=20)
TestJumpingClock = JumpingClockMachine.TestCase
TestJumpingClock.settings = settings(max_examples=50, stateful_step_count=30)

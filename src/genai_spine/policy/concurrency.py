"""Calls at a time: a bound that is configured, and one that is learned from refusals.

The learned one is TCP's way (AIMD: Chiu and Jain, 1989): a target that answers 429 or 503 gets fewer calls at
a time at once, and one more for each round of successes while the bound is in use. Pure.
"""

from __future__ import annotations

CUT = 0.7
"""What a refusal leaves of the calls at a time."""
IN_USE = 0.8
"""The bound is in use where so much of it is taken; below that a success says nothing about it."""


class Places:
    """So many calls at a time. `taken` is counted by whoever gives them out."""

    __slots__ = ("bound", "taken")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.taken = 0

    def wait_us(self, amount: int, now_us: int) -> int | None:
        """0: now; None: when another call has ended."""
        return 0 if self.taken < self.bound else None

    def left(self, now_us: int) -> int:
        return max(0, self.bound - self.taken)

    def is_idle(self, now_us: int) -> bool:
        return self.taken == 0


class AdaptivePlaces:
    """As many calls at a time as the target turned out to bear; without a bound until it first refuses.

    `take` answers with the round that the call belongs to. Of the calls of one round only the first refusal
    cuts: they were all under way when the bound was too high, and say the same thing.
    """

    __slots__ = ("_counting", "_round", "bound", "taken")

    def __init__(self) -> None:
        self.bound: float | None = None
        self.taken = 0
        self._round = 0
        self._counting = 0
        """How many more successes say something: those of calls that were under way while the bound was in use."""

    @property
    def is_free(self) -> bool:
        return self.bound is None or self.taken < int(self.bound)

    def take(self) -> int:
        self.taken += 1
        if self.bound is not None and self.taken >= IN_USE * int(self.bound):
            self._counting = self.taken
        return self._round

    def succeeded(self) -> None:
        """A call of those taken was answered."""
        if self.bound is not None and self._counting:
            self._counting -= 1
            self.bound += 1 / self.bound

    def refused(self, round: int) -> None:
        """A call of this round was refused for too much; to be told before it is given back."""
        if round != self._round:
            return
        self._round += 1
        self._counting = 0
        reached = self.taken if self.bound is None else min(self.taken, self.bound)
        self.bound = max(1.0, reached * CUT)

    def give_back(self) -> None:
        self.taken -= 1

"""What one process knows of a budget's sums beside what stands at the server, to be told where that lost them.

Amounts are nano-dollars and tokens. shared_budgets.lua says what is made of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from genai_spine.policy.budget import Tally
from genai_spine.policy.budget_need import Amount

NOTHING = Amount(0, 0)


class OwnSums:
    """Of one tally. It begins with what the ledger said, before this process has used anything."""

    __slots__ = ("alone", "alone_held", "among", "held", "is_told", "late", "spent")

    def __init__(self, tally: Tally) -> None:
        self.is_told = False
        """Whether the server has told how the sums stand."""
        self.spent = Amount(tally.spent_nanousd, tally.spent_tokens)
        """What is spent, as was last heard."""
        self.held = NOTHING
        """What calls of this process hold at the server."""
        self.late = NOTHING
        """What calls used that ended while it was away: told as soon as it is back, unless it lost their holds."""
        self.alone = NOTHING
        """What was used while the server was away, since this process began."""
        self.among = NOTHING
        """How much of that is among what is spent."""
        self.alone_held = NOTHING
        """How much of it calls hold that are under way."""

    @property
    def is_untold(self) -> bool:
        """Whether the server does not know of something that was used alone."""
        return self.alone != self.among

    @property
    def is_of_interest(self) -> bool:
        """Whether the server would miss anything of it, had it lost its sums."""
        return any((*self.spent, *self.held, *self.late, *self.alone))

    @property
    def known(self) -> tuple[int, ...]:
        own = plus(self.held, self.late)
        return (int(self.is_told), *self.spent, *own, *self.among)


def plus(*amounts: Amount) -> Amount:
    return Amount(sum([amount.nanousd for amount in amounts]), sum([amount.tokens for amount in amounts]))


def minus(amount: Amount, other: Amount) -> Amount:
    return Amount(amount.nanousd - other.nanousd, amount.tokens - other.tokens)


def nothing_of(tallies: Iterable[Tally]) -> tuple[Amount, ...]:
    return tuple(NOTHING for _ in tallies)

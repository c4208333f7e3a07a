"""Retries and hedges are a share of the requests, whatever the order in which they come."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from genai_spine.policy.hedge import HedgeBudget
from genai_spine.policy.retry import RetryBudget


def granted(budget: RetryBudget, times: int, now_s: float | None = None) -> int:
    return sum(budget.withdraw(now_s) for _ in range(times))


def test_a_first_call_can_be_retried() -> None:
    budget = RetryBudget(0.2)
    budget.deposit()
    assert granted(budget, 2) == 2


def test_an_outage_costs_the_share_and_the_reserve() -> None:
    budget = RetryBudget(0.25)
    retries = 0
    for _ in range(1000):
        budget.deposit()
        retries += granted(budget, 3)
    assert retries == 1000 * 0.25 + RetryBudget.reserve


def test_a_calm_day_does_not_pay_for_a_storm() -> None:
    budget = RetryBudget(0.5)
    for _ in range(100_000):
        budget.deposit()
    assert granted(budget, 1000) == RetryBudget.most


def test_a_share_of_nothing_allows_nothing() -> None:
    budget = RetryBudget(0.0)
    for _ in range(100):
        budget.deposit()
    assert granted(budget, 10, now_s=1.0) == 0


def test_where_few_requests_come_one_retry_is_free_now_and_then() -> None:
    budget = RetryBudget(0.2)
    assert granted(budget, 100, now_s=1000.0) == RetryBudget.reserve + 1
    assert not budget.withdraw(1009.0)
    assert budget.withdraw(1010.0)
    assert not budget.withdraw(1019.0)
    assert budget.withdraw(0.0), "a clock that was set back takes nothing away"


def test_hedges_have_no_free_ones_and_little_reserve() -> None:
    budget = HedgeBudget(0.03)
    assert granted(budget, 10, now_s=1000.0) == HedgeBudget.reserve
    for _ in range(100_000):
        budget.deposit()
    assert granted(budget, 1000, now_s=2000.0) == HedgeBudget.most


@pytest.mark.parametrize("share", [1.0, 5.0])
def test_a_share_above_one_allows_several_for_each(share: float) -> None:
    budget = RetryBudget(share)
    granted(budget, int(RetryBudget.reserve))
    budget.deposit()
    assert granted(budget, 10) == share


class RetryBudgetMachine(RuleBasedStateMachine):
    """Against a model; and over any stretch: retries ≤ share × requests + what was in it + the free ones."""

    @initialize(kind=st.sampled_from([RetryBudget, HedgeBudget]), share=st.sampled_from([0.0, 0.125, 0.25, 1.0, 2.0]))
    def begin(self, kind: type[RetryBudget], share: float) -> None:
        self.kind, self.share, self.budget = kind, share, kind(share)
        self.balance = kind.reserve if share else 0.0  # exact, since these shares are binary fractions
        self.free_at: list[float] = []
        self.now_s = 0.0
        self.a_stretch_begins()

    @rule()
    def a_stretch_begins(self) -> None:
        self.before = self.balance
        self.requests = self.retries = 0

    @rule(times=st.integers(1, 400))
    def requests_come(self, times: int) -> None:
        for _ in range(times):
            self.budget.deposit()
        self.requests += times
        self.balance = min(self.kind.most, self.balance + times * self.share)

    @rule(times=st.integers(1, 60), tells_time=st.booleans(), after_s=st.floats(0.0, 25))
    def retries_are_asked_for(self, times: int, tells_time: bool, after_s: float) -> None:
        self.now_s += after_s
        for _ in range(times):
            if self.balance >= 1:
                self.balance -= 1
                self.retries += 1
                assert self.budget.withdraw(self.now_s if tells_time else None), "what is in it can be taken"
            elif self.budget.withdraw(self.now_s if tells_time else None):
                assert tells_time
                self.free_at.append(self.now_s)

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert self.budget.balance == self.balance

    @invariant()
    def the_share_is_kept(self) -> None:
        assert self.retries <= self.before + self.share * self.requests
        assert 0 <= self.budget.balance <= self.kind.most

    @invariant()
    def free_ones_are_rare(self) -> None:
        assert not self.free_at or (self.share and self.kind.trickle_s)
        pairs = zip(self.free_at, self.free_at[1:], strict=False)
        assert all(later - earlier >= (self.kind.trickle_s or 0) for earlier, later in pairs)


TestRetryBudget = RetryBudgetMachine.TestCase
TestRetryBudget.settings = settings(max_examples=60, stateful_step_count=30)

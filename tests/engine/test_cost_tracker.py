"""CostTracker: the specification's limits by provider, for calls that a program makes by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from genai_spine import BudgetExceeded, CostTracker


class Clock:
    def __init__(self, text: str) -> None:
        self.now_s = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now_s


def test_a_call_is_reserved_before_and_settled_after() -> None:
    tracker = CostTracker(daily_limits={"openai": 0.05}, clock=Clock("2026-11-19T10:00:00"))
    with tracker.reserve("openai", 0.03) as call:
        assert not tracker.is_within("openai", 0.03)  # what is under way counts
        with pytest.raises(
            BudgetExceeded, match='"openai_daily" has not enough left for a call that is likely to need'
        ):
            tracker.reserve("openai", 0.03).__enter__()
        call.spent(0.01, tokens=100)
    assert tracker.is_within("openai", "0.04")
    assert tracker.current_costs["openai:2026-11-19"].cost == Decimal("0.01")
    with pytest.raises(ZeroDivisionError), tracker.reserve("openai", 0.02):
        1 / 0  # nobody knows what it has cost: what was reserved counts
    found = tracker.daily_cost("openai")
    assert (found.cost, found.requests, found.tokens, found.date) == (Decimal("0.03"), 2, 100, date(2026, 11, 19))


def test_every_window_holds_and_begins_anew_in_its_zone() -> None:
    clock = Clock("2026-11-30T22:30:00")
    limits = {"daily_limits": {"openai": 1}, "monthly_limits": {"openai": 1.5}}
    tracker = CostTracker(**limits, timezone="Europe/Vienna", clock=clock)
    tracker.track_cost("openai", 1)
    assert not tracker.is_within("openai")
    clock.now_s += 3600  # the first of December in Vienna
    tracker.track_cost("openai", 1)
    clock.now_s += 86_400
    assert tracker.is_within("openai", 0.5) and not tracker.is_within("openai", 0.6)
    assert set(tracker.current_costs) == {"openai:2026-11-30", "openai:2026-12-01"}


def test_the_callback_hears_of_the_threshold_and_of_the_limit_once() -> None:
    heard: list[tuple[str, Decimal, Decimal]] = []
    tracker = CostTracker(
        daily_limits={"openai": 1}, alert_threshold=0.5, alert_callback=lambda *told: heard.append(told)
    )
    for _ in range(12):
        tracker.track_cost("openai", "0.1")
    assert heard == [("openai", Decimal("0.5"), Decimal(1)), ("openai", Decimal(1), Decimal(1))]


def test_a_provider_without_a_limit_is_counted() -> None:
    tracker = CostTracker()
    with tracker.reserve("groq", 5):
        pass
    assert tracker.daily_cost("groq").cost == 5
    assert tracker.daily_cost("other").requests == 0


def test_an_amount_that_cannot_be_is_refused() -> None:
    for amount in (-1, "nan", float("inf")):
        with pytest.raises(ValueError, match="an amount in USD"):
            CostTracker(daily_limits={"openai": amount})


@pytest.mark.parametrize("threshold", [80, 0, -1, float("nan"), "0.8", None, True])
def test_a_threshold_that_would_never_alert_is_refused(threshold: Any) -> None:
    with pytest.raises(ValueError, match="alert_threshold: expected a share of the limit"):
        CostTracker(daily_limits={"openai": 1}, alert_threshold=threshold)


@pytest.mark.parametrize("limit", [None, "much", -1])
def test_a_limit_that_is_no_amount_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="an amount in USD"):
        CostTracker(daily_limits={"openai": limit})

"""When a second request goes out."""

from __future__ import annotations

import pytest

from genai_spine.policy.hedge import LEAST_S, hedge_after_s
from genai_spine.policy.pace import ENOUGH, Pace
from genai_spine.settings import Duration, HedgeSettings


def seen() -> Pace:
    """Streams that begin after 1 s, plain answers that take 8 s."""
    pace = Pace()
    for _ in range(ENOUGH):
        pace.begun(1.0, 0.0)
        pace.ended(8.0, 100, 0.0)
    return pace


def test_without_a_budget_there_is_none() -> None:
    assert hedge_after_s(HedgeSettings(budget=0, after=Duration(1)), seen()) is None


def test_settings_may_say_when() -> None:
    assert hedge_after_s(HedgeSettings(budget=0.1, after=Duration(3)), Pace()) == 3


def test_else_it_is_later_than_most_answers_began() -> None:
    settings = HedgeSettings(budget=0.1)
    assert hedge_after_s(settings, Pace()) is None, "nobody knows yet what late is"
    assert hedge_after_s(settings, seen()) == pytest.approx(1.0, rel=0.1)


def test_a_plain_answer_is_late_when_it_is_later_than_plain_answers() -> None:
    assert hedge_after_s(HedgeSettings(budget=0.1), seen(), streamed=False) == pytest.approx(8.0, rel=0.1)


def test_what_is_late_by_milliseconds_is_not_worth_a_second_request() -> None:
    quick = Pace()
    for _ in range(ENOUGH):
        quick.ended(0.002, 100, 0.0)
    assert hedge_after_s(HedgeSettings(budget=0.1), quick, streamed=False) == LEAST_S
    assert hedge_after_s(HedgeSettings(budget=0.1, after=Duration(0.001)), quick, streamed=False) == 0.001

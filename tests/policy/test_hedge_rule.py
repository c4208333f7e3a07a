"""When a second request goes out."""

from __future__ import annotations

import pytest

from genai_spine.policy.hedge import hedge_after_s
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

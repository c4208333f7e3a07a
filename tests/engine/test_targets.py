"""Which targets are forgotten where callers make up more names than are kept."""

from __future__ import annotations

import pytest

from genai_spine.engine import targets as module
from genai_spine.engine.attempt import Attempt
from genai_spine.engine.targets import Targets
from genai_spine.model.errors import ModelNotFound
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.providers.simulated import SimulatedProvider
from genai_spine.settings import Settings


def choice(model: str) -> Choice:
    return Choice(provider="simulated", model=model)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> Targets:
    monkeypatch.setattr(module, "_MOST", 10)
    return Targets(ProviderRegistry([SimulatedProvider()]), Settings())


def test_names_that_nothing_answers_to_push_no_real_target_out(targets: Targets) -> None:
    real = targets.of(choice("real"))
    Attempt(real).settle()
    for number in range(100):
        Attempt(targets.of(choice(f"made-up-{number}"))).settle(error=ModelNotFound("no such model"))
        assert len(targets) <= 10
    assert real in list(targets)


def test_of_those_that_answered_the_one_that_was_asked_last_is_kept(targets: Targets) -> None:
    for number in range(10):
        Attempt(targets.of(choice(f"m-{number}"))).settle()
    Attempt(targets.of(choice("m-0"))).settle()
    targets.of(choice("one more"))
    kept = [target.choice.model for target in targets]
    assert "m-0" in kept and "m-1" not in kept


def test_a_target_is_kept_while_a_call_to_it_is_under_way(targets: Targets) -> None:
    asked = targets.of(choice("slow"))
    attempt = Attempt(asked)
    for number in range(100):
        targets.of(choice(f"made-up-{number}"))
    assert asked in list(targets)
    attempt.settle()
    assert asked.in_flight == 0

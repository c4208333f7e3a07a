"""What two processes tell one another of their targets."""

from __future__ import annotations

from genai_spine import ProviderManager
from genai_spine.engine.limits.shared_targets import SharedTargets
from genai_spine.engine.targets import Targets
from genai_spine.model.errors import ServerError
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import ProviderRegistry
from genai_spine.providers.simulated import SimulatedProvider
from genai_spine.settings import BreakerSettings, Duration, Settings

CHOICE = Choice(provider="simulated", model="x")
SETTINGS = Settings(breaker=BreakerSettings(min_calls=2, open_for=Duration(30)))


class Process:
    """The targets of one process; all keep one clock."""

    now_s = 1000.0

    def __init__(self) -> None:
        self.targets = Targets(ProviderRegistry([SimulatedProvider()]), SETTINGS)
        self.shared = SharedTargets(self.targets, lambda: Process.now_s)
        self.target = self.targets.of(CHOICE)

    def fail(self) -> None:
        for _ in range(2):
            self.target.breaker.record(self.now_s, ServerError("down"))
        self.target.last_s = self.now_s

    @property
    def is_open(self) -> bool:
        return self.target.breaker.state(self.now_s) == "open"


def test_a_target_that_one_process_found_failing_is_left_alone_by_the_other_as_long() -> None:
    first, second = Process(), Process()
    first.fail()
    second.shared.hear({"first": first.shared.tell()})
    assert second.is_open
    assert second.target.breaker.reopens_in_s(Process.now_s) == 30


def test_what_was_only_heard_is_not_told_on() -> None:
    first, second = Process(), Process()
    first.fail()
    second.target.last_s = Process.now_s
    second.shared.hear({"first": first.shared.tell()})
    assert second.shared.tell() == [["simulated", "x", None, None, None]]


def test_who_measures_nothing_believes_what_another_measured() -> None:
    first, second = Process(), Process()
    first.target.pace.begun(0.5)
    first.target.last_s = Process.now_s
    second.shared.hear({"first": first.shared.tell()})
    assert second.target.pace.first_s == 0.5


def test_targets_that_nobody_asked_lately_are_not_told_of_nor_those_of_others_settings_heard() -> None:
    process = Process()
    process.shared.hear({"other": [["unknown", "y", 30.0, None, None]]})
    assert process.shared.tell() == []


def test_targets_that_are_not_ours_to_ask_are_not_heard_of() -> None:
    """The other process may ask what runs elsewhere; this one is bound to what runs here."""
    table = {"type": "openai_compatible", "base_url": "https://models.example/v1", "model": "m"}
    settings = {"providers": {"far": table, "near": {"type": "ollama"}}, "routing": {"local_only": True}}
    manager = ProviderManager.from_settings(settings)
    shared = SharedTargets(manager.targets)
    shared.hear({"other": [["far", "m", 30.0, None, None], ["near", "m", 30.0, None, None]]})
    assert [target.choice.provider for target in manager.targets] == ["near"]

"""Strategies over real sockets and many calls at a time: even turns, busy targets, slow ones, failing ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine import ProviderManager
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.request_facts import About
from genai_spine.model.request import CompletionRequest
from genai_spine.policy.route import Wanted
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator, Step
from genai_spine.testing.simulator.faults import parse_fault

NAMES = ("a", "b", "c")
HELLO = CompletionRequest(messages="hello")


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture
def simulator(shared: Simulator) -> Simulator:
    shared.run()
    shared.received.clear()
    return shared


def manager_of(simulator: Simulator, strategy: str, **more: Any) -> ProviderManager:
    table = {"type": "openai_compatible", "base_url": simulator.urls.openai}
    targets = [f"{name}/{name}" for name in NAMES]
    return ProviderManager.from_settings(
        {
            "providers": dict.fromkeys(NAMES, table),
            "routes": {"smart": {"strategy": strategy, "targets": targets}},
            "retry": {"max_retries": 0},
            **more,
        }
    )


async def ask(manager: ProviderManager, times: int, at_a_time: int) -> Counter[str]:
    """Who answered."""
    places = asyncio.Semaphore(at_a_time)

    async def one(number: int) -> str:
        async with places:
            return (await manager.complete(f"hello {number}", model="smart")).provider or ""

    return Counter(await asyncio.gather(*(one(number) for number in range(times))))


async def test_turns_are_even_however_many_ask_at_a_time(simulator: Simulator) -> None:
    async with manager_of(simulator, "round_robin") as manager:
        assert await ask(manager, 150, at_a_time=40) == {"a": 50, "b": 50, "c": 50}


async def test_a_slow_one_gets_less_of_the_load(simulator: Simulator) -> None:
    slow = Step(model="a", times="always", fault=parse_fault("stall=head; for_s=0.3"))
    for strategy in ("latency", "least_busy"):
        simulator.run(slow)
        async with manager_of(simulator, strategy) as manager:
            answered = await ask(manager, 90, at_a_time=9)
        assert answered["a"] < min(answered["b"], answered["c"]), (strategy, answered)


@pytest.mark.slow
async def test_speed_finds_the_quick_one_by_trying(simulator: Simulator) -> None:
    fault = parse_fault("stall=head; for_s=0.15")
    simulator.run(*(Step(model=name, times="always", fault=fault) for name in ("a", "b")))
    async with manager_of(simulator, "speed", routing={"exploration": 0.4}) as manager:
        await ask(manager, 40, at_a_time=1)
        decided = [manager.router.decide(Wanted(model="smart"), lambda: HELLO) for _ in range(400)]
    firsts = Counter(decision.choices[0].provider for decision in decided)
    assert firsts["c"] > 200 and firsts["a"] + firsts["b"] > 100


async def test_the_next_in_order_answers_for_one_that_fails(simulator: Simulator) -> None:
    simulator.run(Step(model="a", times="always", fault=parse_fault("status=503")))
    async with manager_of(simulator, "round_robin", breaker={"min_calls": 3}) as manager:
        assert set(await ask(manager, 60, at_a_time=6)) == {"b", "c"}
        record = CallRecord()
        await manager.complete("hello", model="smart", record=record)
        assert record.decision is not None and record.decision.choices[-1].provider == "a"
        reason = next(each.reason for each in record.decision.considered() if each.provider == "a")
        assert "left alone" in reason
    asked = Counter(request.model for request in simulator.received)
    assert asked["a"] < 20, "the breaker leaves it alone"


async def test_a_session_goes_where_it_was_answered(simulator: Simulator) -> None:
    simulator.run(Step(model="a", times=1, fault=parse_fault("status=503")))
    async with manager_of(simulator, "ordered", routing={"sticky": "session"}) as manager:
        providers = []
        for _ in range(3):
            record = CallRecord()
            record.about = About(session="s")
            providers.append((await manager.complete("hello", model="smart", record=record)).provider)
    assert providers == ["b", "b", "b"], "the one that answered has its prompt"

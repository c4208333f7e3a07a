"""The same without async: one background loop, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import genai_spine
from genai_spine import (
    ManagerConfig,
    ProviderManager,
    ProviderNotFound,
    ServerError,
    SimulatedProvider,
    SyncManager,
    collect,
)
from genai_spine.engine import shortcuts
from genai_spine.testing.fixtures import running_simulator, wait_until
from genai_spine.testing.simulator import Simulator


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def manager(simulator: Simulator) -> Iterator[SyncManager]:
    table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "model": "simulated"}
    table["embed_model"] = "sim-embed"
    with SyncManager.from_settings({"providers": {"a": table}}) as manager:
        manager.manager.with_config(ManagerConfig(max_retries=0))
        yield manager


def test_every_method_waits_for_its_answer(manager: SyncManager) -> None:
    assert manager.complete("Hi").content == "You said: Hi"
    assert manager.generate("Hi").content == manager.chat("Hi").content == "You said: Hi"
    assert collect(manager.stream("Hi")).content == "You said: Hi"
    assert "".join(manager.text_stream("Hi")) == "".join(manager.stream_complete("Hi")) == "You said: Hi"
    assert len(manager.embed(["a", "b"]).embeddings) == 2
    assert "simulated" in {card.id for card in manager.list_models()}
    assert [status.healthy for status in manager.status()] == [True]
    assert manager.get_usage_summary()["total"]["calls"] == 7


def test_errors_come_through(manager: SyncManager, simulator: Simulator) -> None:
    simulator.run("status=500", "status=500")
    with pytest.raises(ServerError):
        manager.complete("Hi")
    with pytest.raises(ServerError):
        list(manager.stream("Hi"))
    with pytest.raises(ProviderNotFound):
        manager.complete("Hi", provider="nobody")
    assert manager.complete("Hi").content == "You said: Hi"


def test_many_threads_share_one_loop(manager: SyncManager) -> None:
    def ask(number: int) -> str:
        if number % 2:
            return "".join(manager.text_stream(f"call {number}"))
        return manager.complete(f"call {number}").content

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert answers == [f"You said: call {number}" for number in range(40)]
    loops = [thread for thread in threading.enumerate() if thread.name == "genai-spine"]
    assert len(loops) <= 1


def test_threads_that_come_first_at_the_same_time_start_one_loop() -> None:
    for _ in range(20):
        manager = SyncManager(ProviderManager([SimulatedProvider()]))
        barrier = threading.Barrier(6)

        def ask(manager: SyncManager = manager, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            return manager.complete("Hi").content

        before = {thread for thread in threading.enumerate() if thread.name.startswith("genai-spine")}
        with ThreadPoolExecutor(6) as pool:
            assert [task.result() for task in [pool.submit(ask) for _ in range(6)]] == ["You said: Hi"] * 6
        after = {thread for thread in threading.enumerate() if thread.name.startswith("genai-spine")}
        assert len(after - before) <= 1
        manager.close()


def test_leaving_a_stream_early_closes_the_upstream(manager: SyncManager, simulator: Simulator) -> None:
    simulator.run("rate=20")
    for count, _ in enumerate(manager.stream("Hi", model="sim-long-500")):
        if count == 3:
            break
    wait_until(lambda: simulator.received[-1].outcome == "gone", 2)


def test_a_stream_never_read_costs_nothing(manager: SyncManager, simulator: Simulator) -> None:
    manager.stream("Hi")
    assert not simulator.received


def test_closed_it_may_be_used_again(manager: SyncManager) -> None:
    manager.complete("Hi")
    manager.close()
    manager.close()
    assert manager.complete("Hi").content == "You said: Hi"


def test_the_shortcuts_share_one_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SyncManager(ProviderManager([SimulatedProvider()]))
    monkeypatch.setattr(shortcuts, "_shared", [manager])
    assert genai_spine.complete("Hi").content == "You said: Hi"
    assert "".join(genai_spine.text_stream("Hi")) == "You said: Hi"
    assert collect(genai_spine.stream("Hi")).content == "You said: Hi"
    assert len(genai_spine.embed("a").embeddings) == 1
    manager.close()

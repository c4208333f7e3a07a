"""What the ledger is told of attempts that take a while: once of each, and nothing of those that are over soon."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from genai_spine import ProviderManager
from genai_spine.engine.costs import under_way
from genai_spine.ledger.entry import Bounded, Entry
from genai_spine.ledger.writer import Ledger
from genai_spine.testing.fixtures import eventually

COUNT = 30


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What was written down, in order, beside the journal."""
    entries: list[Entry] = []
    write = Ledger.write

    def noted(self: Ledger, *told: Entry) -> bool:
        entries.extend(told)
        return write(self, *told)

    monkeypatch.setattr(Ledger, "write", noted)
    return entries


def settings_for(url: str, folder: Path, **more: Any) -> dict[str, Any]:
    tables = {
        "slow": {"type": "openai", "base_url": url, "api_key": "sk-0", "model": "gpt-4o-mini"},
        "simulated": {"type": "simulated"},
    }
    return {"providers": tables, "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"}, **more}


async def test_each_that_takes_a_while_is_told_of_once(
    tmp_path: Path, written: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_way, "EVERY_S", 0.1)
    monkeypatch.setattr(under_way, "MOST_AT_ONCE_S", 0.0005)  # so that one look is not enough
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        async with ProviderManager.from_settings(settings_for(url, tmp_path)) as manager:
            asked = [asyncio.create_task(manager.complete("Hi", model="slow/gpt-4o-mini")) for _ in range(COUNT)]

            def told() -> list[Bounded]:
                return [entry for entry in written if isinstance(entry, Bounded)]

            await eventually(lambda: len(told()) == COUNT)
            await asyncio.sleep(0.3)
            assert len({entry.id for entry in told()}) == len(told()) == COUNT
            assert all(entry.most_nanousd > 0 for entry in told())
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)


async def test_those_that_are_over_soon_are_not_told_of(tmp_path: Path, written: list[Entry]) -> None:
    async with ProviderManager.from_settings(settings_for("http://127.0.0.1:9/v1", tmp_path)) as manager:
        for _ in range(20):
            await manager.complete("Hi", model="simulated/sim-echo")
        await asyncio.sleep(under_way.EVERY_S + 0.1)
    assert len(written) == 40 and not any(isinstance(entry, Bounded) for entry in written)


async def test_what_a_budget_has_set_aside_is_told_at_the_beginning(tmp_path: Path, written: list[Entry]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        settings = settings_for(url, tmp_path, costs={"daily_limit": 100.0})
        async with ProviderManager.from_settings(settings) as manager:
            asked = asyncio.create_task(manager.complete("Hi", model="slow/gpt-4o-mini"))
            await asyncio.sleep(under_way.EVERY_S + 0.2)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    first, *rest = written
    assert getattr(first, "most_nanousd", 0) > 0
    assert not any(isinstance(entry, Bounded) for entry in rest)


async def test_what_an_attempt_holds_is_given_back_where_it_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Ledger.write
    faults = [OverflowError("no number of the ledger's")]

    def failing_once(self: Ledger, *told: Entry) -> bool:
        if faults:
            raise faults.pop()
        return write(self, *told)

    monkeypatch.setattr(Ledger, "write", failing_once)
    settings = settings_for("http://127.0.0.1:9/v1", tmp_path, costs={"budgets": {"all": {"limit_tokens": 3000}}})
    settings["providers"]["simulated"]["max_concurrency"] = 1
    async with ProviderManager.from_settings(settings) as manager:
        with pytest.raises(OverflowError):
            await manager.complete("Hi", model="simulated/sim-echo")
        assert {budget.reserved_tokens for budget in manager.budgets.status()} == {0}
        assert (await manager.complete("Hi", model="simulated/sim-echo")).content

"""Budgets that processes share in a real Redis, which is flushed, killed, and started again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from budgets_caller import BUDGETS, NEED, SUBJECT
from redis_server import RedisServer
from shared_budgets_cases import USD, assert_guests_change_nothing, assert_settings_may_change, callers, spent_of

from genai_spine.engine.costs.budgets import Budgets
from genai_spine.engine.costs.shared_budgets import SharedBudgets
from genai_spine.engine.costs.spending import Spending
from genai_spine.model.errors import BudgetExceeded
from genai_spine.policy.budget import Budget, BudgetLevel
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import eventually

T = TypeVar("T")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def budgets_of(server: RedisServer, *budgets: Budget, lease_s: float = 60, max_wait_s: float = 0) -> Budgets:
    shared = SharedBudgets(server.url, lease_s=lease_s, timeout_s=5)
    return Budgets(budgets or BUDGETS, max_wait_s=max_wait_s, shared=shared)


@pytest.mark.slow
def test_three_processes_use_one_budget_up_and_no_more(server: RedisServer) -> None:
    told = callers(server.url, "250", "250", "250", begin_in_s=4)
    total = sum(each["spent"] for each in told)
    assert not any(each["away"] for each in told)
    assert min(each["calls"] for each in told) > 5
    assert 0.95 * USD <= total <= USD
    assert run(spent_of(budgets_of(server))) == (total, 0)


@pytest.mark.slow
def test_what_a_process_held_that_died_counts_as_spent_once_its_time_is_over(server: RedisServer) -> None:
    told = callers(server.url, "60", "40 die", begin_in_s=1.5)
    total = sum(each["spent"] for each in told)
    time.sleep(5.2)

    async def after() -> tuple[int, int]:
        budgets = budgets_of(server)
        return await spent_of(budgets)

    spent, reserved = run(after())
    assert reserved == 0
    assert total < spent <= USD


def test_a_server_that_was_flushed_is_told_what_is_known(server: RedisServer) -> None:
    async def main() -> None:
        one, another = budgets_of(server), budgets_of(server)
        (await one.reserve(SUBJECT, NEED)).settle(600_000_000, 10)
        (await another.reserve(SUBJECT, NEED)).settle(390_000_000, 10)
        await one.refresh()
        server.client().flushall()
        with pytest.raises(BudgetExceeded):  # at most 0.012 of 0.01
            await one.reserve(SUBJECT, NEED._replace(most_input=20_000))
        assert await spent_of(another) == (990_000_000, 0)

    run(main())


async def spend(budgets: Budgets, usd: float) -> None:
    (await budgets.reserve(SUBJECT, NEED)).settle(int(usd * USD), 10)
    await asyncio.sleep(0.05)  # by then the server has heard of it


def soft_of(server: RedisServer, timeout_s: float = 5) -> Budgets:
    shared = SharedBudgets(server.url, lease_s=60, timeout_s=timeout_s)
    return Budgets([Budget(name="soft", window="total", limit_nanousd=USD)], shared=shared)


async def is_back(*all: Budgets) -> None:
    await eventually(lambda: not any(budgets.shared is not None and budgets.shared.is_away for budgets in all), 10)


async def close(*all: Budgets) -> None:
    for budgets in all:
        if budgets.shared is not None:
            await budgets.shared.close()


def test_a_call_that_ends_after_a_flush_takes_nothing_from_what_is_known(server: RedisServer) -> None:
    async def main() -> None:
        budgets = soft_of(server)
        await spend(budgets, 0.6)
        held, longer = await budgets.reserve(SUBJECT, NEED), await budgets.reserve(SUBJECT, NEED)
        server.client().flushall()
        longer.grow(1_000)
        held.settle(10_000_000, 10)
        longer.settle(20_000_000, 10)
        await asyncio.sleep(0.05)
        assert await spent_of(budgets) == (630_000_000, 0)
        await close(budgets)

    run(main())


def test_what_is_spent_until_all_have_told_a_flushed_server_comes_on_top(server: RedisServer) -> None:
    async def main() -> None:
        one, another = soft_of(server), soft_of(server)
        await spend(one, 0.3)
        await spend(another, 0.3)
        server.client().flushall()
        await spend(one, 0.1)  # which has not heard of all that the other spent
        await spend(another, 0.01)
        assert await spent_of(one) == (710_000_000, 0)
        await close(one, another)

    run(main())


def test_one_that_asks_no_more_tells_a_flushed_server_what_it_knows(server: RedisServer) -> None:
    async def main() -> None:
        active, idle = soft_of(server), soft_of(server)
        await spend(active, 0.3)
        await spend(idle, 0.3)
        server.client().flushall()
        await spend(active, 0.01)
        for _ in range(50):
            if (found := await spent_of(active)) == (610_000_000, 0):
                break
            await asyncio.sleep(0.1)
        assert found == (610_000_000, 0)
        await close(active, idle)

    run(main())


def test_what_each_spent_alone_counts_where_the_server_comes_back_empty(server: RedisServer) -> None:
    async def main() -> None:
        one, another = soft_of(server), soft_of(server)
        await spend(one, 0.05)
        await spend(another, 0.05)
        under_way = await one.reserve(SUBJECT, NEED)
        server.kill()
        for budgets in (one, another):
            await spend(budgets, 0.2)
        under_way.settle(30_000_000, 10)
        server.start()
        await is_back(one, another)
        await asyncio.sleep(0.1)  # nobody makes another call
        assert await spent_of(one) == (530_000_000, 0)
        await close(one, another)

    run(main())


def test_a_longer_answer_that_the_server_did_not_hear_of_leaves_nothing_behind(server: RedisServer) -> None:
    async def main() -> None:
        budgets = soft_of(server, timeout_s=0.2)
        longer = await budgets.reserve(SUBJECT, NEED)
        server.freeze()
        await budgets.refresh()
        assert budgets.shared is not None
        assert budgets.shared.is_away
        longer.grow(2_000)
        server.thaw()
        await is_back(budgets)
        longer.settle(50_000_000, 10)
        await asyncio.sleep(0.05)
        assert await spent_of(budgets) == (50_000_000, 0)
        await close(budgets)

    run(main())


def test_what_the_server_decides_when_nobody_waits_any_more_is_held_for_nobody(server: RedisServer) -> None:
    async def main() -> None:
        budgets = soft_of(server, timeout_s=0.2)
        held = await budgets.reserve(SUBJECT, NEED)
        server.freeze()
        held.settle(20_000_000, 10)
        await spend(budgets, 0.1)  # both are in the way to the server, which hears of them when it goes on
        server.thaw()
        await is_back(budgets)
        await asyncio.sleep(0.1)
        assert await spent_of(budgets) == (120_000_000, 0)
        await close(budgets)

    run(main())


def test_what_was_held_up_on_the_way_to_the_server_counts_once(server: RedisServer) -> None:
    async def main() -> None:
        held_up, goes_on, back = asyncio.Event(), asyncio.Event(), []

        async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                writer.write(data)

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
            back.append(asyncio.ensure_future(answers(far_reader, writer)))
            is_first = len(back) == 1
            while data := await reader.read(65_536):
                if is_first and held_up.is_set():
                    await goes_on.wait()
                far_writer.write(data)
            far_writer.close()
            writer.close()  # which the end of the proxy waits for, on Python 3.12

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as proxy:
            url = f"redis://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/0"
            shared = SharedBudgets(url, lease_s=60, timeout_s=0.2)
            budgets = Budgets([Budget(name="soft", window="total", limit_nanousd=USD)], shared=shared)
            one = await budgets.reserve(SUBJECT, NEED)
            another = await budgets.reserve(SUBJECT, NEED)
            held_up.set()
            one.settle(20_000_000, 10)
            await spend(budgets, 0.1)
            await is_back(budgets)  # by another connection
            another.settle(30_000_000, 10)
            await spend(budgets, 0.2)
            assert await spent_of(budgets) == (350_000_000, 0)
            goes_on.set()
            await asyncio.sleep(0.2)
            assert await spent_of(budgets) == (350_000_000, 0)
            await close(budgets)

    run(main())


def test_a_call_that_ends_while_the_server_is_away_is_known_when_that_is_flushed_later(server: RedisServer) -> None:
    async def main() -> None:
        budgets = soft_of(server, timeout_s=0.2)
        held = await budgets.reserve(SUBJECT, NEED)
        server.freeze()
        await budgets.refresh()
        held.settle(50_000_000, 10)
        server.thaw()
        await is_back(budgets)
        assert await spent_of(budgets) == (50_000_000, 0)
        server.client().flushall()
        assert await spent_of(budgets) == (50_000_000, 0)
        await close(budgets)

    run(main())


def test_what_others_hold_is_in_nobodys_way_while_the_server_is_away(server: RedisServer) -> None:
    async def main() -> None:
        one, another = soft_of(server), soft_of(server)
        mine = await one.reserve(SUBJECT, NEED)
        others = [await another.reserve(SUBJECT, NEED) for _ in range(5)]
        await one.refresh()
        server.kill()
        await one.refresh()
        assert one.status()[0].reserved_usd == max(amount.nanousd for amount in mine.amounts) / Decimal(USD)
        assert len(others) == 5
        await close(one, another)

    run(main())


def test_calls_that_end_while_the_server_stands_still_are_settled_when_it_goes_on(server: RedisServer) -> None:
    async def main() -> None:
        budgets = Budgets(BUDGETS, shared=SharedBudgets(server.url, lease_s=60, timeout_s=0.1))
        assert budgets.shared is not None
        reservations = [await budgets.reserve(SUBJECT, NEED) for _ in range(4)]
        server.freeze()
        for reservation in reservations:
            reservation.settle(1_000_000, 10)
            await asyncio.sleep(0.01)  # the first one is on its way, and the others wait for it
        await eventually(lambda: budgets.shared is not None and budgets.shared.is_away)
        server.thaw()
        await eventually(lambda: budgets.shared is not None and not budgets.shared.is_away)
        assert await spent_of(budgets) == (4_000_000, 0)
        await budgets.shared.close()

    run(main())


def test_while_the_server_is_away_hard_budgets_are_closed_and_others_counted_alone(server: RedisServer) -> None:
    async def main() -> None:
        hard = budgets_of(server, Budget(name="hard", limit_nanousd=USD, is_hard=True, is_closed_alone=True))
        soft = budgets_of(server, Budget(name="soft", limit_nanousd=USD))
        (await soft.reserve(SUBJECT, NEED)).settle(100_000_000, 10)
        (await hard.reserve(SUBJECT, NEED)).settle(100_000_000, 10)
        under_way = await soft.reserve(SUBJECT, NEED)
        server.kill()
        with pytest.raises(BudgetExceeded, match="counted by a server that does not answer") as caught:
            await hard.reserve(SUBJECT, NEED)
        assert (caught.value.status_code, caught.value.code) == (503, "budget_unknown")
        (await soft.reserve(SUBJECT, NEED)).settle(300_000_000, 10)
        under_way.settle(50_000_000, 10)
        server.start()  # empty
        for budgets in (hard, soft):
            await eventually(lambda budgets=budgets: not budgets.shared.is_away, 10)
        assert await spent_of(soft) == (450_000_000, 0)
        assert await spent_of(hard) == (100_000_000, 0)

    run(main())


@pytest.mark.parametrize("mode", ["hard", "expected"])
def test_a_server_that_pauses_is_waited_for_where_calls_would_be_refused(server: RedisServer, mode: str) -> None:
    async def main() -> None:
        given = {"state": {"url": server.url}, "costs": {"daily_limit": 1, "mode": mode}, "providers": {}}
        budgets = Spending(settings_of(given)).budgets
        await budgets.reserve(SUBJECT, NEED)
        server.freeze()
        asyncio.get_running_loop().call_later(0.2, server.thaw)
        assert (await budgets.reserve(SUBJECT, NEED)).tallies
        assert budgets.shared is not None
        assert budgets.shared.is_away is (mode == "expected")
        await close(budgets)

    run(main())


def test_levels_are_told_by_one_process_alone(server: RedisServer) -> None:
    async def main() -> None:
        heard: list[tuple[int, BudgetLevel]] = []
        both = [budgets_of(server, Budget(name="one", limit_nanousd=USD)) for _ in range(2)]
        for number, budgets in enumerate(both):
            budgets.on_level.append(lambda level, number=number: heard.append((number, level)))
        for _ in range(5):
            for budgets in both:
                (await budgets.reserve(SUBJECT, NEED)).settle(90_000_000, 10)
        await eventually(lambda: len(heard) >= 1)
        (await both[0].reserve(SUBJECT, NEED)).settle(200_000_000, 10)
        await eventually(lambda: len(heard) >= 2)
        await asyncio.sleep(0.1)
        assert [level.level for _, level in heard] == [0.8, 1.0]

    run(main())


def test_budgets_may_be_changed_in_their_window(server: RedisServer) -> None:
    run(assert_settings_may_change(lambda budget: budgets_of(server, budget)))


def test_a_guest_sees_the_sums_and_does_not_change_them(server: RedisServer) -> None:
    run(assert_guests_change_nothing(lambda: budgets_of(server)))


def test_a_call_that_is_cancelled_while_the_server_decides_holds_nothing(server: RedisServer) -> None:
    async def main() -> None:
        budgets = budgets_of(server)
        await budgets.refresh()
        server.freeze()
        asked = asyncio.ensure_future(budgets.reserve(SUBJECT, NEED))
        await asyncio.sleep(0.2)
        asked.cancel()
        server.thaw()
        await asyncio.sleep(0.3)
        assert await spent_of(budgets) == (0, 0)

    run(main())

"""Budgets that processes share in a real PostgreSQL, which is held up, killed and started again: as in Redis."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from budgets_caller import BUDGETS, NEED, SUBJECT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_server import RedisServer
from shared_budgets_cases import USD, assert_guests_change_nothing, assert_settings_may_change, callers, spent_of

from genai_spine.engine.costs.budgets import Budgets
from genai_spine.engine.costs.postgres_line import PostgresLine
from genai_spine.engine.costs.shared_budgets import SCRIPT, SharedBudgets
from genai_spine.engine.limits.redis_line import RedisLine
from genai_spine.model.errors import BudgetExceeded
from genai_spine.policy.budget import Budget, BudgetLevel
from genai_spine.testing.fixtures import eventually

sys.path.append(str(Path(__file__).parents[1] / "ledger"))
from postgres_server import PostgresServer

pytestmark = pytest.mark.servers
TABLES = "genai_spine.budget_sum, genai_spine.budget_call, genai_spine.budget_process"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with tempfile.TemporaryDirectory(prefix="spine-postgres-") as folder:  # pytest's own belongs to root alone
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "server")
        yield server
        server.stop()


@pytest.fixture
def url(server: PostgresServer) -> str:
    name = f"budgets_{next(_numbers)}"
    ask(server.url(), f"CREATE DATABASE {name}")
    return server.url(name)


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description is not None else []


def budgets_of(url: str, *budgets: Budget, lease_s: float = 60, timeout_s: float = 5) -> Budgets:
    return Budgets(budgets or BUDGETS, shared=SharedBudgets(url, lease_s=lease_s, timeout_s=timeout_s))


async def close(*all: Budgets) -> None:
    for budgets in all:
        if budgets.shared is not None:
            await budgets.shared.close()


# ---------------------------------------------------------------- several processes


@pytest.mark.slow
def test_three_processes_use_one_budget_up_and_no_more(url: str) -> None:
    told = callers(url, "100", "100", "100", begin_in_s=3)
    total = sum(each["spent"] for each in told)
    assert not any(each["away"] for each in told)
    assert min(each["calls"] for each in told) > 5
    assert sum(each["calls"] + each["refused"] for each in told) == 300
    assert 0.95 * USD <= total <= USD
    assert ask(url, "SELECT usd, held_usd FROM genai_spine.budget_sum WHERE name LIKE '%:all'") == [(total, 0)]


@pytest.mark.slow
def test_what_a_process_held_that_died_counts_as_spent_once_its_time_is_over(url: str) -> None:
    told = callers(url, "60", "40 die", begin_in_s=3)
    total = sum(each["spent"] for each in told)
    time.sleep(5.2)

    async def after() -> tuple[int, int]:
        budgets = budgets_of(url)
        found = await spent_of(budgets)
        await close(budgets)
        return found

    spent, reserved = asyncio.run(after())
    assert reserved == 0
    assert total < spent <= USD
    assert ask(url, "SELECT count(*) FROM genai_spine.budget_call") == [(0,)]


def test_budgets_in_any_order_make_nobody_wait_in_a_circle(url: str) -> None:
    chance = random.Random(5)
    names = [Budget(name=f"b{number}", window="total", limit_nanousd=10 * USD, is_hard=True) for number in range(6)]

    async def spend(budgets: Budgets) -> int:
        spent = 0
        for _ in range(25):
            held = await budgets.reserve(SUBJECT, NEED)
            await asyncio.sleep(chance.uniform(0, 0.002))
            held.settle(1_000, 10)
            spent += 1_000
        return spent

    async def main() -> None:
        # Eight connections, on an empty database, which each of them tries to furnish.
        all = [budgets_of(url, *chance.sample(names, 4)) for _ in range(8)]
        spent = await asyncio.gather(*(spend(budgets) for budgets in all for _ in range(2)))
        assert not any(budgets.shared.is_away for budgets in all if budgets.shared is not None)
        await close(*all)
        assert ask(url, "SELECT sum(usd), sum(held_usd) FROM genai_spine.budget_sum") == [(4 * sum(spent), 0)]

    asyncio.run(main())


def test_levels_are_told_by_one_process_alone(url: str) -> None:
    async def main() -> None:
        heard: list[BudgetLevel] = []
        both = [budgets_of(url, Budget(name="one", limit_nanousd=USD)) for _ in range(2)]
        for budgets in both:
            budgets.on_level.append(heard.append)
        for _ in range(5):
            for budgets in both:
                (await budgets.reserve(SUBJECT, NEED)).settle(90_000_000, 10)
        await eventually(lambda: len(heard) >= 1)
        (await both[0].reserve(SUBJECT, NEED)).settle(200_000_000, 10)
        await eventually(lambda: len(heard) >= 2)
        await close(*both)
        assert [level.level for level in heard] == [0.8, 1.0]

    asyncio.run(main())


# ---------------------------------------------------------------- a server that goes away


def test_while_it_is_away_hard_budgets_are_closed_and_others_counted_alone(server: PostgresServer, url: str) -> None:
    async def main() -> None:
        hard = budgets_of(url, Budget(name="hard", limit_nanousd=USD, is_hard=True, is_closed_alone=True))
        soft = budgets_of(url, Budget(name="soft", limit_nanousd=USD))
        (await soft.reserve(SUBJECT, NEED)).settle(100_000_000, 10)
        (await hard.reserve(SUBJECT, NEED)).settle(100_000_000, 10)
        assert await spent_of(soft) == (100_000_000, 0)
        assert await spent_of(hard) == (100_000_000, 0)
        under_way = await soft.reserve(SUBJECT, NEED)
        server.stop()
        try:
            with pytest.raises(BudgetExceeded, match="counted by a server that does not answer") as caught:
                await hard.reserve(SUBJECT, NEED)
            assert (caught.value.status_code, caught.value.code) == (503, "budget_unknown")
            (await soft.reserve(SUBJECT, NEED)).settle(300_000_000, 10)
            under_way.settle(50_000_000, 10)
        finally:
            server.start()
        for budgets in (hard, soft):
            await eventually(lambda budgets=budgets: not budgets.shared.is_away, 10)
        spent, held = await spent_of(soft)  # what was under way is held until its time is over
        assert spent + held == 450_000_000
        assert await spent_of(hard) == (100_000_000, 0)
        await close(hard, soft)

    asyncio.run(main())


def test_a_connection_that_was_ended_while_nobody_asked_refuses_no_call(url: str) -> None:
    async def run() -> None:
        budgets = budgets_of(url)
        await spent_of(budgets)
        (await budgets.reserve(SUBJECT, NEED)).settle(7, 3)
        await eventually(lambda: ask(url, "SELECT count(*) FROM genai_spine.budget_call") == [(0,)])
        ask(url, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                 "WHERE application_name = 'genai-spine' AND datname = current_database()")  # fmt: skip
        assert budgets.shared is not None
        assert not budgets.shared.is_away
        (await budgets.reserve(SUBJECT, NEED)).settle(7, 3)
        await close(budgets)

    asyncio.run(run())
    assert ask(url, "SELECT usd FROM genai_spine.budget_sum WHERE name LIKE '%:all'") == [(14,)]


def test_sums_that_were_lost_begin_at_what_is_known(url: str) -> None:
    async def main() -> None:
        one, another = budgets_of(url), budgets_of(url)
        (await one.reserve(SUBJECT, NEED)).settle(600_000_000, 10)
        (await another.reserve(SUBJECT, NEED)).settle(390_000_000, 10)
        await spent_of(another)  # by then it has told what it spent
        await one.refresh()
        ask(url, f"TRUNCATE {TABLES}")
        with pytest.raises(BudgetExceeded):  # at most 0.012 of 0.01
            await one.reserve(SUBJECT, NEED._replace(most_input=20_000))
        assert await spent_of(another) == (990_000_000, 0)
        await close(one, another)

    asyncio.run(main())


def test_one_that_keeps_a_call_waiting_is_away_until_it_answers(url: str) -> None:
    async def main() -> None:
        budgets = budgets_of(url, Budget(name="hard", limit_nanousd=USD, is_closed_alone=True), timeout_s=0.3)
        await budgets.refresh()
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM genai_spine.budget_sum FOR UPDATE")
            with pytest.raises(BudgetExceeded, match="does not answer"):
                await budgets.reserve(SUBJECT, NEED)
            await asyncio.sleep(0.5)  # the server gives up by its own clock, and that may run a little later
        assert budgets.shared is not None
        await eventually(lambda: not budgets.shared.is_away, 10)  # type: ignore[union-attr]
        (await budgets.reserve(SUBJECT, NEED)).settle(1_000, 10)
        assert await spent_of(budgets) == (1_000, 0)  # the call that was given up was taken by nobody
        await close(budgets)

    asyncio.run(main())


def test_budgets_may_be_changed_in_their_window(url: str) -> None:
    asyncio.run(assert_settings_may_change(lambda budget: budgets_of(url, budget)))


def test_a_guest_sees_the_sums_and_does_not_change_them(url: str) -> None:
    asyncio.run(assert_guests_change_nothing(lambda: budgets_of(url)))


def test_a_call_that_is_cancelled_while_the_server_decides_holds_nothing(url: str) -> None:
    async def main() -> None:
        budgets = budgets_of(url)
        await budgets.refresh()
        with psycopg.connect(url) as other:
            other.execute("SELECT * FROM genai_spine.budget_sum FOR UPDATE")
            asked = asyncio.ensure_future(budgets.reserve(SUBJECT, NEED))
            await asyncio.sleep(0.2)
            asked.cancel()
        await budgets.refresh()  # which is answered after what was asked before it
        assert await spent_of(budgets) == (0, 0)
        assert ask(url, "SELECT count(*) FROM genai_spine.budget_call") == [(0,)]
        await close(budgets)

    asyncio.run(main())


# ---------------------------------------------------------------- what is kept


def test_names_are_whatever_callers_make_up(url: str) -> None:
    async def main() -> None:
        budgets = budgets_of(url, Budget(name="tags", limit_nanousd=USD, each="tag"))
        tags = ("a\0b", "a?b", "é" * 5_000, "\ud800", "x", "x" * 100_000)
        for tag in tags:
            (await budgets.reserve(SUBJECT._replace(tags=(tag,)), NEED)).settle(1_000, 10)
        await budgets.refresh()
        assert [each.spent_usd * USD for each in budgets.status()] == [1_000] * len(tags)
        assert budgets.shared is not None
        assert not budgets.shared.is_away
        await close(budgets)

    asyncio.run(main())


def test_windows_that_were_over_long_ago_are_forgotten(url: str) -> None:
    async def main() -> None:
        budgets = budgets_of(url, Budget(name="old", window="day", limit_nanousd=USD))
        await budgets.reserve(SUBJECT, NEED)
        [(is_kept,)] = ask(
            url, "SELECT forgotten_at > now() + INTERVAL '1 day' FROM genai_spine.budget_sum WHERE name LIKE '%old'"
        )
        assert is_kept
        ask(url, "UPDATE genai_spine.budget_sum SET forgotten_at = now()")
        other = budgets_of(url, Budget(name="new", window="total", limit_nanousd=USD))
        await other.reserve(SUBJECT, NEED)
        await close(budgets, other)
        for table in TABLES.split(", "):
            assert [name.rpartition(":")[2] for (name, *_) in ask(url, f"SELECT * FROM {table}")] == ["new"]
        [(forgotten_at,)] = ask(url, "SELECT forgotten_at FROM genai_spine.budget_sum")
        assert forgotten_at is None

    asyncio.run(main())


# ---------------------------------------------------------------- as Redis

amounts = st.integers(0, 60)
calls = st.tuples(
    st.sampled_from(("take", "look", "grow", "settle", "finish")),
    st.integers(0, 4),  # whose
    st.sampled_from(("p", "q")),
    st.sampled_from((("x",), ("y", "x"), ("x", "z"))),
    amounts,
    amounts,
    st.integers(0, 20),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(calls, max_size=25))
def test_it_decides_as_redis(both: tuple[str, str], steps: list[Any]) -> None:
    prefix = f"run{next(_numbers)}"
    held: dict[str, tuple[list[str], list[tuple[int, int]], str]] = {}
    commands: list[tuple[list[str], list[Any]]] = []
    for number, (action, whose, process, names, usd, tokens, alone) in enumerate(steps):
        id = f"{whose}"
        if action in ("take", "look"):
            id = f"{number}"
            numbers: list[int] = []
            for _ in names:
                told = (alone, alone % 3, number - alone % 4)
                numbers += (100, -1 if alone % 2 else 150, usd, tokens, *told, *known_of(alone, usd))
            commands.append((keys_of(prefix, names), [action, id, 10**9, process, *numbers]))
            if action == "take":
                held[id] = (list(names), [(usd, tokens)] * len(names), process)
        elif held:
            id = list(held)[whose % len(held)]
            names, mine, process = held[id]
            if action == "grow":
                held[id] = (names, [(a + usd, b + tokens) for a, b in mine], process)
                numbers = [usd, tokens] * len(names)
            elif action == "finish":
                numbers = [usd, tokens] * len(names)
            else:
                del held[id]
                known = known_of(tokens, usd)
                numbers = [number for a, b in mine for number in (a, b, usd, tokens, 80, -1, 100, 150, *known)]
            commands.append((keys_of(prefix, names), [action, id, 10**9, process, *numbers]))

    async def main() -> None:
        redis = RedisLine(both[0], "probe", 5, script=SCRIPT)
        postgres = PostgresLine(both[1], 5)
        refused: set[str] = set()
        for keys, args in commands:
            if args[1] in refused:
                continue  # it holds nothing
            answer = await redis.ask(keys, args, lambda _: None)
            assert await postgres.ask(keys, args, lambda _: None) == answer
            assert answer is not None
            if args[0] == "take" and answer[0] == "0":
                refused.add(args[1])
        await redis.close()
        await postgres.close()

    asyncio.run(main())


def known_of(spent: int, own: int) -> tuple[int, ...]:
    """What a process knows; of one that was told so by the server, and of one that read it in its ledger."""
    return (spent % 2, spent, 2 * spent, own, own % 7, own % 5, own % 3, 60_000)


def keys_of(prefix: str, names: tuple[str, ...] | list[str]) -> list[str]:
    return [key for name in names for key in (f"{prefix}:{name}", f"{prefix}:{name}:calls")]


@pytest.fixture
def both(tmp_path: Path, url: str) -> Iterator[tuple[str, str]]:
    redis = RedisServer(tmp_path)
    redis.start()
    yield redis.url, url
    redis.kill()

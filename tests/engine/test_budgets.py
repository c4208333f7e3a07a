"""Budgets under concurrency: never overspent, never starved, nothing lost by whoever gives up. Time is virtual."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from virtual_loop import VirtualLoop

from genai_spine import ProviderManager, SimulatedProvider
from genai_spine.engine.costs.budgets import Budgets, Reservation
from genai_spine.model.card import Price
from genai_spine.model.errors import BudgetExceeded, InvalidRequest
from genai_spine.policy.budget import Budget, BudgetLevel, Subject
from genai_spine.policy.budget_need import Asks, Need, need_of
from genai_spine.testing.fixtures import running_simulator

PRICE = Price(input=Decimal(1), output=Decimal(10))
SUBJECT = Subject("acme", "large", "alice", None, ("blue",))
OTHER = Subject("other", "small", "bob")
USD = 10**9


def need(max_tokens: int | None = 100, most_input: int = 100, price: Price | None = PRICE) -> Need:
    asks = Asks(input_tokens=most_input // 4, most_input=most_input, max_tokens=max_tokens)
    return need_of(asks, price, None, None)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def budgets_of(loop: VirtualLoop, *budgets: Budget, max_wait_s: float = 30.0) -> Budgets:
    return Budgets(budgets, max_wait_s=max_wait_s, clock=lambda: loop.clock_ns() / 1e9)


def left_of(budgets: Budgets) -> dict[str, tuple[Decimal, Decimal]]:
    return {each.name: (each.spent_usd, each.reserved_usd) for each in budgets.status()}


# ---------------------------------------------------------------- any order of things


class HardBudgets(RuleBasedStateMachine):
    """Calls of all kinds come, grow, end and are given up in any order: what is spent and reserved stays within every
    limit, and what every sum says is what its calls say."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.budgets = budgets_of(
            self.loop,
            Budget(name="all", limit_nanousd=5_000_000, is_hard=True),
            Budget(name="acme", limit_nanousd=2_000_000, is_hard=True, provider="acme"),
            Budget(name="tokens", limit_tokens=2_000, is_hard=True, each="key"),
            Budget(name="soft", limit_nanousd=4_000_000),
            max_wait_s=0.0,
        )
        self.spent = 0
        self.under_way: list[Reservation] = []

    def teardown(self) -> None:
        self.loop.close()

    @rule(
        target=held,
        subject=st.sampled_from([SUBJECT, OTHER]),
        max_tokens=st.integers(1, 400) | st.none(),
        most_input=st.integers(1, 1_000),
    )
    def reserve(self, subject: Subject, max_tokens: int | None, most_input: int) -> Reservation | None:
        try:
            made = self.loop.run(self.budgets.reserve(subject, need(max_tokens, most_input)))
        except BudgetExceeded as error:
            assert error.budget and not error.sent and error.status_code == 402
            return None
        self.under_way.append(made)
        return made

    @rule(held=consumes(held), share=st.floats(0, 1))
    def settle(self, held: Reservation | None, share: float) -> None:
        if held is not None:
            self._over(held)
            most = held.most_nanousd or 0
            used = int(most * share)
            self.spent += used
            held.settle(used, int(share * (held.need.most_input + held.output_tokens)))

    @rule(held=consumes(held), least=st.floats(0, 1))
    def give_up(self, held: Reservation | None, least: float) -> None:
        if held is not None:
            self._over(held)
            self.spent += held.most_nanousd or 0
            held.settle(int((held.most_nanousd or 0) * least), 0, is_whole=False)
            held.settle(0, 0)  # the second one is nothing

    @rule(held=held, tokens=st.integers(1, 200))
    def grow(self, held: Reservation | None, tokens: int) -> None:
        if held is not None and not held.is_settled:
            before = held.amounts
            try:
                held.grow(tokens)
            except BudgetExceeded as error:
                assert error.sent and error.is_uncertain and not error.fallback
                assert held.amounts == before

    def _over(self, held: Reservation) -> None:
        self.under_way.remove(held)

    @invariant()
    def within_every_hard_limit(self) -> None:
        for subject in (SUBJECT, OTHER):
            for tally in self.budgets.tallies_of(subject):
                assert min(tally.reserved_nanousd, tally.reserved_tokens, tally.spent_nanousd) >= 0
                if tally.budget.is_hard:
                    assert tally.left_nanousd >= 0 and tally.left_tokens >= 0
                held = [
                    amount
                    for each in self.under_way
                    for counted, amount in zip(each.tallies, each.amounts, strict=True)
                    if counted is tally
                ]
                assert tally.reserved_nanousd == sum(amount.nanousd for amount in held)
                assert tally.reserved_tokens == sum(amount.tokens for amount in held)


TestHardBudgets = HardBudgets.TestCase
TestHardBudgets.settings = settings(max_examples=20, stateful_step_count=30)


# ---------------------------------------------------------------- many at a time


@pytest.mark.parametrize("mode", ["hard", "expected"])
def test_a_thousand_callers_use_a_dollar_up_and_no_more(loop: VirtualLoop, mode: str) -> None:
    budgets = budgets_of(loop, Budget(name="one", limit_nanousd=USD, is_hard=mode == "hard"))
    chance = random.Random(7)
    spent: list[int] = []

    async def caller() -> bool:
        try:
            held = await budgets.reserve(SUBJECT, need(1_000, 2_000))  # at most $0.012
        except BudgetExceeded:
            return False
        await asyncio.sleep(chance.uniform(0.1, 2.0))
        cost = int((held.most_nanousd or 0) * chance.uniform(0.1, 0.3))
        spent.append(cost)
        held.settle(cost, 100, output_tokens=int(chance.uniform(100, 300)))
        return True

    async def all_of_them() -> list[bool]:
        return list(await asyncio.gather(*(caller() for _ in range(1_000))))

    answered = loop.run(all_of_them())
    [(total, reserved)] = left_of(budgets).values()
    assert total * USD == sum(spent)
    assert reserved == 0
    assert total >= Decimal("0.95"), f"{total} of $1, by {sum(answered)} calls"
    if mode == "hard":
        assert total <= 1


def test_who_waits_is_let_in_in_order_and_told_no_when_the_time_is_over(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="one", limit_nanousd=1_200_000, is_hard=True), max_wait_s=5.0)
    order: list[int] = []

    async def caller(number: int, for_s: float) -> None:
        held = await budgets.reserve(SUBJECT, need(100, 100))  # 1,100,000
        order.append(number)
        await asyncio.sleep(for_s)
        held.settle(0, 0)

    async def main() -> list[BaseException | None]:
        calls = [asyncio.ensure_future(caller(number, 2.0)) for number in range(4)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    results = loop.run(main())
    assert order == [0, 1, 2]  # the fourth would have begun after six seconds
    assert isinstance(results[3], BudgetExceeded) and "set aside" in results[3].message


def test_a_waiter_that_is_cancelled_leaves_its_place_to_the_next(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="one", limit_nanousd=1_200_000, is_hard=True))

    async def main() -> None:
        first = await budgets.reserve(SUBJECT, need(100, 100))
        second = asyncio.ensure_future(budgets.reserve(SUBJECT, need(100, 100)))
        third = asyncio.ensure_future(budgets.reserve(SUBJECT, need(100, 100)))
        await asyncio.sleep(1)
        first.settle(0, 0)
        second.cancel()
        (await third).settle(0, 0)
        with pytest.raises(asyncio.CancelledError):
            await second

    loop.run(main())
    assert left_of(budgets) == {"one": (0, 0)}
    assert not budgets._lines


def test_a_call_that_waits_at_midnight_goes_on_the_new_day(loop: VirtualLoop) -> None:
    budgets = budgets_of(
        loop, Budget(name="one", window="day", limit_nanousd=1_200_000, is_hard=True), max_wait_s=10**6
    )

    async def main() -> float:
        await budgets.reserve(SUBJECT, need(100, 100))  # never settled
        begun = loop.time()
        (await budgets.reserve(SUBJECT, need(100, 100))).settle(0, 0)
        return loop.time() - begun

    assert 0 < loop.run(main()) <= 86_400
    assert left_of(budgets) == {"one": (0, 0)}


def test_a_call_is_spent_in_the_window_in_which_it_began(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="one", window="day", limit_nanousd=USD))

    async def main() -> None:
        held = await budgets.reserve(SUBJECT, need())
        await asyncio.sleep(2 * 86_400)
        budgets.tallies_of(SUBJECT)
        held.settle(5_000, 10)

    loop.run(main())
    assert left_of(budgets) == {"one": (0, 0)}


def test_a_clock_that_was_wrong_for_a_while_moves_no_budget_and_forgets_nothing(loop: VirtualLoop) -> None:
    day_s = 86_400.0
    today = 20_780 * day_s
    now_s = today + 3_600
    budgets = Budgets([Budget(name="one", window="day", limit_nanousd=1_000_000)], clock=lambda: now_s)

    async def spend(nanousd: int) -> None:
        (await budgets.reserve(SUBJECT, need(10))).settle(nanousd, 10)

    async def calls() -> None:
        nonlocal now_s
        for wrong_s in (4_000 * day_s, -400 * day_s):
            await spend(1_000)
            now_s += wrong_s
            await spend(600_000)
            now_s -= wrong_s
        await spend(998_000)
        assert [each.spent_usd for each in budgets.status()] == [Decimal("0.001")]
        assert budgets.status()[0].resets_at == datetime.fromtimestamp(today + day_s, UTC)
        with pytest.raises(BudgetExceeded):
            await budgets.reserve(SUBJECT, need(10))
        now_s = today + day_s  # a second is taken back at midnight: neither day has its budget twice
        await spend(600_000)
        now_s -= 1
        await spend(400_000)
        with pytest.raises(BudgetExceeded):
            await budgets.reserve(SUBJECT, need(10))

    loop.run(calls())


def test_levels_are_told_once_in_each_window_and_a_listener_that_fails_harms_nobody(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="one", window="day", limit_nanousd=1_000_000, provider="acme"))
    heard: list[BudgetLevel] = []

    def fails(level: BudgetLevel) -> None:
        raise ValueError(level.budget)

    budgets.on_level += [fails, heard.append]

    async def day() -> None:
        for _ in range(10):
            (await budgets.reserve(SUBJECT, need(5, 10))).settle(100_000, 10)

    loop.run(day())
    assert [(level.level, level.spent_nanousd, level.provider) for level in heard] == [
        (0.8, 800_000, "acme"),
        (1.0, 1_000_000, "acme"),
    ]
    loop.run(asyncio.sleep(86_400))
    loop.run(day())
    assert [level.level for level in heard] == [0.8, 1.0, 0.8, 1.0]


def test_one_of_a_budget_for_each_does_not_use_up_anothers(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="mine", limit_nanousd=60_000, each="key"), max_wait_s=0)
    loop.run(budgets.reserve(SUBJECT, need(5, 10))).settle(60_000, 10)
    with pytest.raises(
        BudgetExceeded, match=r'"mine\[alice\]" is used up: \$0\.00006 of \$0\.00006 spent; it begins anew'
    ):
        loop.run(budgets.reserve(SUBJECT, need(5, 10)))
    loop.run(budgets.reserve(OTHER, need(5, 10)))
    assert [each.name for each in budgets.status("alice")] == ["mine[alice]"]


def test_the_error_says_all_that_one_wants_to_know(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="day", window="day", limit_nanousd=1_000_000, is_hard=True), max_wait_s=0)
    loop.run(budgets.reserve(SUBJECT, need(5, 10))).settle(990_000, 10)
    with pytest.raises(BudgetExceeded) as caught:
        loop.run(budgets.reserve(SUBJECT, need(100, 100)))
    error = caught.value
    assert (error.budget, error.limit_nanousd, error.spent_nanousd, error.code) == (
        "day", 1_000_000, 990_000, "budget_exceeded",
    )  # fmt: skip
    assert error.message.startswith(
        'the budget "day" has not enough left for a call that may need $0.00026: $0.00099 of'
    )
    assert 0 < (error.retry_after_s or 0) <= 86_400


def test_no_budget_holds_anything_of_a_call_that_is_refused_by_another(loop: VirtualLoop) -> None:
    budgets = budgets_of(
        loop, Budget(name="a", limit_nanousd=USD), Budget(name="b", limit_tokens=10, is_hard=True), max_wait_s=0
    )
    with pytest.raises(BudgetExceeded):
        loop.run(budgets.reserve(SUBJECT, need(100)))
    assert left_of(budgets) == {"a": (0, 0), "b": (0, 0)}


@pytest.mark.slow
def test_made_up_names_do_not_fill_the_memory(loop: VirtualLoop) -> None:
    budgets = budgets_of(loop, Budget(name="tag", limit_nanousd=USD, each="tag"))

    def asked(number: int) -> Any:
        return budgets.tallies_of(Subject("acme", "large", tags=(f"t{number}",)))

    for number in range(60_000):
        asked(number)
    assert len(budgets._tallies) <= 50_000 and len(budgets._by_subject) <= 10_000


def test_a_callers_own_budget_is_found_among_thousands_and_in_its_order(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    whose = Budget.whose

    def counted(self: Budget, subject: Subject) -> tuple[str, ...]:
        nonlocal looks
        looks += 1
        return whose(self, subject)

    monkeypatch.setattr(Budget, "whose", counted)
    of_keys = [Budget(name=f"k{number}", key=f"k{number}") for number in range(2000)]
    budgets = budgets_of(loop, Budget(name="a", key="k*"), *of_keys, Budget(name="z"), Budget(name="y", each="key"))
    for number in range(2000):
        found = budgets.tallies_of(Subject("acme", "large", f"k{number}"))
        assert [tally.name for tally in found] == ["a", f"k{number}", "z", f"y[k{number}]"]
    assert [tally.name for tally in budgets.tallies_of(Subject("acme", "large"))] == ["z"]
    assert looks == 2000 * 4 + 3
    assert [status.name for status in budgets.status("k7")] == ["a", "k7", "z", "y[k7]"]


def test_sums_that_count_something_are_not_looked_through_for_each_newcomer(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genai_spine.engine.costs.budgets._MOST_TALLIES", 100)
    budgets = budgets_of(loop, Budget(name="tag", limit_nanousd=USD, each="tag"))
    looks, before = 0, budgets._tallies
    for number in range(1000):
        (tally,) = budgets.tallies_of(Subject("acme", "large", tags=(f"t{number}",)))
        tally.spent_nanousd = 1
        looks += budgets._tallies is not before
        before = budgets._tallies
    assert looks < 10 and len(budgets._tallies) == 1000


@pytest.mark.parametrize("limit", [float("nan"), Decimal("sNaN"), float("-inf"), float("inf"), -1, "a lot", True])
async def test_a_limit_that_is_no_amount_is_refused(limit: Any) -> None:
    async with ProviderManager([SimulatedProvider()]) as manager:
        with pytest.raises(InvalidRequest, match="cost_limit: expected an amount in USD, 0 or more"):
            await manager.complete("hi", cost_limit=limit)
        answer = await manager.complete("hi", cost_limit=limit, raise_errors=False)
        assert not answer.success and "cost_limit" in str(answer.error)


async def test_a_program_sets_a_limit_for_one_call() -> None:
    async with ProviderManager([SimulatedProvider()]) as manager:
        assert (await manager.complete("hi", cost_limit=0)).notices == ()  # it costs nothing
        events = [event async for event in manager.stream("hi", cost_limit=0.5)]
        assert events[0].notices == ()
        assert manager.budgets.status() == []


@pytest.mark.parametrize("options", [{}, {"tools": [{"name": "\udcff"}]}], ids=["text", "tool"])
async def test_what_could_not_be_sent_costs_nothing(options: dict[str, Any]) -> None:
    settings = {"providers": {"openai": {"api_key": "k"}}, "costs": {"daily_limit": 1.0}}
    async with ProviderManager.from_settings(settings) as manager:
        for _ in range(3):
            with pytest.raises(InvalidRequest, match="stands for no character"):
                await manager.complete("a\udcff", model="gpt-4o", max_tokens=1000, **options)
            with pytest.raises(InvalidRequest, match="stands for no character"):
                async for _ in manager.stream("a\udcff", model="gpt-4o", max_tokens=1000, **options):
                    pass
        assert {(each.spent_usd, each.reserved_usd) for each in manager.budgets.status()} == {(0, 0)}


@pytest.mark.parametrize(
    ("model", "fee"),
    [("gpt-4o-search-preview", 25), ("gpt-4o-mini-search-preview-2025-03-11", 25), ("gpt-5-search-api", 10)],
)
async def test_a_model_that_searches_before_each_answer_costs_its_fee(model: str, fee: int) -> None:
    """Chat Completions tells no searches in its usage; the fee was in no cost and in no bound."""
    with running_simulator() as simulator:
        table = {"openai": {"base_url": simulator.urls.openai, "api_key": "k"}}
        async with ProviderManager.from_settings(table) as manager:
            answer = await manager.complete("hi", model=f"openai/{model}", max_tokens=10, cost_limit=0.05)
            assert answer.cost_usd is not None and fee / 1000 < answer.cost_usd < fee / 1000 + 0.001
            with pytest.raises(BudgetExceeded):
                await manager.complete("hi", model=f"openai/{model}", max_tokens=10, cost_limit=0.009)

"""Two attempts for one answer: who wins, what is raised, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import suppress
from contextvars import ContextVar
from itertools import product
from typing import Any

import pytest

from genai_spine import ServerError
from genai_spine.engine import tasks
from genai_spine.engine.hedge import Alarm, race

AT_ONCE, NEVER = 0.0, 3600.0


class Runner:
    """An attempt that does what the test says, when it says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.started = asyncio.Event()
        self.ends: list[str] = []

    async def __call__(self) -> str:
        self.started.set()
        try:
            answer = await self.outcome
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # settling takes a moment
            self.ends.append("cancelled")
            raise
        except ServerError:
            self.ends.append("failed")
            raise
        self.ends.append("answered")
        return answer

    def answers(self) -> None:
        self.outcome.set_result(self.name)

    def fails(self) -> None:
        self.outcome.set_exception(ServerError(self.name))


@pytest.fixture
async def two() -> tuple[Runner, Runner]:
    return Runner("first"), Runner("second")


@pytest.fixture(autouse=True)
async def nothing_is_left() -> Any:
    before = asyncio.all_tasks()
    yield
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not tasks._ending


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_alarm_that_is_given_is_the_one_that_wakes_also_where_nobody_waits_for_it_yet(
    two: tuple[Runner, Runner],
) -> None:
    first, second = two
    alarm = Alarm()
    racing = asyncio.create_task(race(first, second, 0.01, alarm=alarm))
    await first.started.wait()
    assert len(alarm) == 1
    await second.started.wait()
    assert len(alarm) == 0
    second.answers()
    assert await racing == "second"


async def test_each_second_runs_in_the_context_of_its_own_call() -> None:
    whose: ContextVar[str] = ContextVar("whose")
    alarm, seen = Alarm(), list[str]()

    async def call(name: str) -> str:
        whose.set(name)

        async def second() -> str:
            seen.append(whose.get())
            return name

        return await race(asyncio.Event().wait, second, 0.01, alarm=alarm)  # type: ignore[arg-type]  # never over

    assert await asyncio.gather(call("one"), call("other")) == ["one", "other"]
    assert seen == ["one", "other"]


async def test_a_first_that_is_in_time_has_no_second(two: tuple[Runner, Runner]) -> None:
    first, second = two
    first.answers()
    assert await race(first, second, NEVER, may_start=pytest.fail) == "first"
    assert not second.started.is_set()


async def test_a_first_that_fails_before_the_second_starts_fails_at_once(two: tuple[Runner, Runner]) -> None:
    first, second = two
    first.fails()
    with pytest.raises(ServerError, match="first"):
        await race(first, second, NEVER, may_start=pytest.fail)
    assert not second.started.is_set()


async def test_a_second_that_is_quicker_wins_and_the_first_is_cancelled(two: tuple[Runner, Runner]) -> None:
    first, second = two
    racing = asyncio.create_task(race(first, second, AT_ONCE))
    await second.started.wait()
    second.answers()
    assert await racing == "second"
    assert (first.ends, second.ends) == (["cancelled"], ["answered"])


async def test_a_first_that_is_quicker_after_all_wins_and_the_second_is_cancelled(two: tuple[Runner, Runner]) -> None:
    first, second = two
    racing = asyncio.create_task(race(first, second, AT_ONCE))
    await second.started.wait()
    first.answers()
    assert await racing == "first"
    assert (first.ends, second.ends) == (["answered"], ["cancelled"])


async def test_without_leave_no_second_starts_and_the_first_is_waited_for(two: tuple[Runner, Runner]) -> None:
    first, second = two
    asked = asyncio.Event()
    racing = asyncio.create_task(race(first, second, AT_ONCE, may_start=lambda: bool(asked.set())))
    await asked.wait()
    await turns()
    assert not second.started.is_set() and not racing.done()
    first.answers()
    assert await racing == "first"


@pytest.mark.parametrize("loser", [0, 1])
async def test_when_one_fails_the_other_is_waited_for(two: tuple[Runner, Runner], loser: int) -> None:
    racing = asyncio.create_task(race(*two, AT_ONCE))
    await two[1].started.wait()
    two[loser].fails()
    await turns()
    assert not racing.done()
    two[1 - loser].answers()
    assert await racing == two[1 - loser].name


@pytest.mark.parametrize("earlier", [0, 1])
async def test_when_both_fail_the_first_attempts_error_is_raised(two: tuple[Runner, Runner], earlier: int) -> None:
    racing = asyncio.create_task(race(*two, AT_ONCE))
    await two[1].started.wait()
    two[earlier].fails()
    await turns()
    two[1 - earlier].fails()
    with pytest.raises(ServerError, match="first"):
        await racing


async def test_a_loser_that_answers_in_the_same_moment_has_its_answer_put_away(two: tuple[Runner, Runner]) -> None:
    first, second = two
    away: list[str] = []

    async def discard(answer: str) -> None:
        await asyncio.sleep(0)
        away.append(answer)

    racing = asyncio.create_task(race(first, second, AT_ONCE, discard=discard))
    await second.started.wait()
    second.answers()
    first.answers()
    assert await racing == "first"
    assert away == ["second"]


async def test_an_answer_that_cannot_be_put_away_does_not_spoil_the_other(two: tuple[Runner, Runner]) -> None:
    first, second = two

    async def discard(answer: str) -> None:
        raise OSError(answer)

    racing = asyncio.create_task(race(first, second, AT_ONCE, discard=discard))
    await second.started.wait()
    first.answers()
    second.answers()
    assert await racing == "first"


@pytest.mark.parametrize("after_s", [AT_ONCE, NEVER])
async def test_the_callers_leaving_cancels_all_that_run(two: tuple[Runner, Runner], after_s: float) -> None:
    first, second = two
    racing = asyncio.create_task(race(first, second, after_s))
    await (second if after_s == AT_ONCE else first).started.wait()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert first.ends == ["cancelled"]
    assert second.ends == (["cancelled"] if after_s == AT_ONCE else [])


async def test_the_callers_leaving_in_the_moment_of_an_answer_leaves_nothing_open(two: tuple[Runner, Runner]) -> None:
    first, second = two
    away: list[str] = []

    async def discard(answer: str) -> None:
        away.append(answer)

    racing = asyncio.create_task(race(first, second, AT_ONCE, discard=discard))
    await second.started.wait()
    second.answers()
    await asyncio.sleep(0)  # the answer is there, and has not come through to the race
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert (first.ends, away) == (["cancelled"], ["second"])


async def test_a_first_that_answers_though_it_is_cancelled_wins_all_the_same(two: tuple[Runner, Runner]) -> None:
    _, second = two
    away: list[str] = []

    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return "first"

    async def discard(answer: str) -> None:
        away.append(answer)

    racing = asyncio.create_task(race(stubborn, second, AT_ONCE, discard=discard))
    await second.started.wait()
    second.answers()
    assert await racing == "first"
    assert away == ["second"] and not racing.cancelling()


async def test_a_second_that_clings_to_its_work_does_not_hold_up_the_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    release, clings = asyncio.Event(), asyncio.Event()
    away: list[str] = []

    async def stubborn() -> str:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                clings.set()
                await release.wait()
        return "late"

    async def prompt() -> str:
        await clings.wait()
        return "prompt"

    async def discard(answer: str) -> None:
        away.append(answer)

    monkeypatch.setattr(tasks.end, "__defaults__", (None, 0.001))
    assert await race(prompt, stubborn, AT_ONCE, discard=discard) == "prompt"
    assert len(tasks._ending) == 1, "it ends behind the caller's back"
    release.set()
    await asyncio.wait(tasks._ending)
    assert away == ["late"]


async def test_a_race_leaves_the_callers_own_timeout_alone(two: tuple[Runner, Runner]) -> None:
    first, second = two

    async def asked() -> str:
        async with asyncio.timeout(3600):
            return await race(first, second, AT_ONCE)

    racing = asyncio.create_task(asked())
    await second.started.wait()
    second.answers()
    assert await racing == "second"
    assert not racing.cancelling()


async def test_an_error_goes_when_its_caller_is_done_with_it(two: tuple[Runner, Runner]) -> None:
    racing = asyncio.create_task(race(*two, AT_ONCE))
    await two[1].started.wait()
    for runner in two:
        runner.fails()
    held = weakref.ref((await asyncio.gather(racing, return_exceptions=True))[0])
    gc.disable()
    try:
        del racing
        for runner in two:
            del runner.outcome
        await turns()
        assert held() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------- every order of events


EVENTS = ("first answers", "first fails", "second answers", "second fails", "caller leaves")
ORDERS = [(event,) for event in EVENTS] + [
    (one, *between, other)
    for one, between, other in product(EVENTS, [(), ("a few turns of the loop",)], EVENTS)
    if one.split()[0] != other.split()[0]
]


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
async def test_in_any_order_each_attempt_ends_once_and_its_answer_has_one_owner(
    two: tuple[Runner, Runner], order: tuple[str, ...]
) -> None:
    owned: list[str] = []

    async def discard(answer: str) -> None:
        owned.append(answer)

    racing = asyncio.create_task(race(*two, AT_ONCE, discard=discard))
    await two[1].started.wait()
    for event in order:
        who, does = event.split(maxsplit=1)
        if who == "a":
            await turns()
        elif who == "caller":
            racing.cancel()
        elif not (runner := two[who == "second"]).outcome.done():
            getattr(runner, does)()
    await turns()
    if not racing.done():
        racing.cancel()
    with suppress(ServerError, asyncio.CancelledError):
        owned.append(await racing)
    assert [len(runner.ends) for runner in two] == [1, 1]
    assert sorted(owned) == sorted(runner.name for runner in two if runner.ends == ["answered"])

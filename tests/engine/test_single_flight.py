"""Identical calls share one: who gets what, who may leave, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from genai_spine import (
    APIConnectionError,
    BadRequest,
    ConfigError,
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    RateLimitError,
    ServerError,
    SpineError,
)
from genai_spine.engine import tasks
from genai_spine.engine.single_flight import SingleFlight
from genai_spine.model.errors import LimitReached, TargetClosed


class Work:
    """Work that ends when the test says so."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.times = 0
        self.is_cancelled = False

    async def __call__(self) -> Any:
        self.times += 1
        try:
            return await self.outcome
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def callers(flights: SingleFlight, work: Work, count: int) -> list[asyncio.Task[Any]]:
    found = [asyncio.create_task(flights.share("key", work)) for _ in range(count)]
    await turns()
    return found


async def test_one_alone_gets_its_answer() -> None:
    flights, work = SingleFlight(), Work()
    (alone,) = await callers(flights, work, 1)
    assert "key" in flights
    work.outcome.set_result("answer")
    assert await alone == "answer"
    assert len(flights) == 0 and "key" not in flights


async def test_many_share_one() -> None:
    flights, work = SingleFlight(), Work()
    found = await callers(flights, work, 20)
    work.outcome.set_result("answer")
    assert await asyncio.gather(*found) == ["answer"] * 20
    assert work.times == 1
    assert len(flights) == 0


async def test_other_keys_are_other_work() -> None:
    flights, one, other = SingleFlight(), Work(), Work()
    found = [asyncio.create_task(flights.share(key, work)) for key, work in (("a", one), ("b", other))]
    await turns()
    other.outcome.set_result("b")
    one.outcome.set_result("a")
    assert await asyncio.gather(*found) == ["a", "b"]


async def test_what_is_done_is_not_kept_not_even_for_a_turn_of_the_loop() -> None:
    flights, work, later = SingleFlight(), Work(), Work()
    (early,) = await callers(flights, work, 1)
    work.outcome.set_result("early")
    await asyncio.sleep(0)
    assert "key" not in flights and not early.done(), "the work is done, and its caller has not taken the answer yet"
    late = asyncio.create_task(flights.share("key", later))
    later.outcome.set_result("later")
    assert (await early, await late) == ("early", "later")
    assert len(flights) == 0


async def test_who_leaves_does_not_end_it_for_the_others() -> None:
    flights, work = SingleFlight(), Work()
    first, second, third = await callers(flights, work, 3)
    first.cancel()
    third.cancel()
    await turns()
    assert first.cancelled() and third.cancelled() and not work.is_cancelled
    work.outcome.set_result("answer")
    assert await second == "answer"


async def test_the_last_that_leaves_cancels_it_and_sees_it_end() -> None:
    flights, work = SingleFlight(), Work()
    first, second = await callers(flights, work, 2)
    first.cancel()
    await turns()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert work.is_cancelled
    assert len(flights) == 0


async def test_who_comes_after_the_last_left_has_work_of_its_own() -> None:
    flights, work, later = SingleFlight(), Work(), Work()
    (gone,) = await callers(flights, work, 1)
    gone.cancel()
    late = asyncio.create_task(flights.share("key", later))
    await turns()
    assert gone.cancelled() and work.is_cancelled
    later.outcome.set_result("later")
    assert await late == "later"


async def test_an_error_reaches_all_each_with_an_instance_of_its_own() -> None:
    flights, work = SingleFlight(), Work()
    found = await callers(flights, work, 5)
    error = RateLimitError("slow down", provider="p", retry_after_s=7.0, status_code=429)
    work.outcome.set_exception(error)
    errors = await asyncio.gather(*found, return_exceptions=True)
    assert len({id(each) for each in errors}) == 5
    for each in errors:
        assert isinstance(each, RateLimitError)
        assert (each.message, each.provider, each.retry_after_s, str(each)) == ("slow down", "p", 7.0, "slow down")
        assert each.__cause__ is error
    assert len({len(traceback.extract_tb(each.__traceback__)) for each in errors if each}) == 1


async def test_an_error_of_one_alone_is_the_very_error() -> None:
    flights, work = SingleFlight(), Work()
    (alone,) = await callers(flights, work, 1)
    error = ServerError("x")
    work.outcome.set_exception(error)
    with pytest.raises(ServerError) as raised:
        await alone
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [
        ServerError("x", body={"a": 1}, request_id="r", sent=False),
        BadRequest("x", code="c"),
        ProviderTimeout("x", code="total_timeout"),
        APIConnectionError("x"),
        LimitReached("x", retry_after_s=3.0),
        TargetClosed("x", retry_after_s=3.0),
        InvalidRequest("x", param="messages[0]"),
        ConfigError("x"),
        SpineError("x"),
        KeyError("x"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_of_all_kinds_can_be_shared(error: Exception) -> None:
    flights, work = SingleFlight(), Work()
    found = await callers(flights, work, 2)
    work.outcome.set_exception(error)
    for each in await asyncio.gather(*found, return_exceptions=True):
        assert type(each) is type(error)
        assert each is not error and isinstance(each, Exception)
        assert vars(each) == vars(error)
        assert str(each) == str(error)


async def test_an_error_that_cannot_be_copied_is_shared_as_it_is() -> None:
    class Odd(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one)
            self.two = two

    flights, work = SingleFlight(), Work()
    found = await callers(flights, work, 2)
    odd = Odd("one", "two")
    work.outcome.set_exception(odd)
    assert await asyncio.gather(*found, return_exceptions=True) == [odd, odd]
    assert odd.__cause__ is None


async def test_work_that_was_cancelled_from_elsewhere_is_an_error_not_a_cancellation() -> None:
    flights, work = SingleFlight(), Work()
    found = await callers(flights, work, 2)
    work.outcome.cancel()
    for each in await asyncio.gather(*found, return_exceptions=True):
        assert isinstance(each, ProviderError) and each.code == "cancelled"


async def test_an_error_that_nobody_stayed_for_is_not_reported_as_lost() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    flights, work = SingleFlight(), Work()
    (gone,) = await callers(flights, work, 1)
    work.outcome.set_exception(ServerError("x"))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises((asyncio.CancelledError, ServerError)):
        await gone
    del gone, work
    gc.collect()
    await turns()
    assert reported == []


@pytest.mark.parametrize("count", [1, 2])
async def test_an_error_goes_when_its_callers_are_done_with_it(count: int) -> None:
    async def work() -> None:
        await turns()
        raise ServerError("x")

    flights = SingleFlight()
    errors = await asyncio.gather(*(flights.share("key", work) for _ in range(count)), return_exceptions=True)
    held = [weakref.ref(error) for error in errors if error is not None]
    gc.disable()
    try:
        del errors
        await turns()
        assert [error() for error in held] == [None] * count
    finally:
        gc.enable()


# ---------------------------------------------------------------- in any order


class SingleFlightMachine(RuleBasedStateMachine):
    """Callers come and go, work ends well or badly, in any order, with or without a turn of the loop between."""

    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.reported: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.reported.append(context))
        self.flights = SingleFlight()
        self.work: dict[str, Work] = {}
        self.callers: dict[asyncio.Task[Any], Work] = {}
        self.left: set[asyncio.Task[Any]] = set()
        self.begun: list[Work] = []

    @rule(target=waiting, key=st.sampled_from("abc"))
    def a_caller_comes(self, key: str) -> asyncio.Task[Any]:
        async def come() -> asyncio.Task[Any]:
            fresh = Work()
            if key not in self.work:
                self.work[key] = fresh
                self.begun.append(fresh)
            caller = asyncio.create_task(self.flights.share(key, fresh))
            self.callers[caller] = self.work[key]
            await turns(2)  # its work has begun
            return caller

        return self.loop.run_until_complete(come())

    @rule(caller=consumes(waiting))
    def a_caller_leaves(self, caller: asyncio.Task[Any]) -> None:
        if not caller.done() and not self.callers[caller].outcome.done():
            caller.cancel()
            self.left.add(caller)
            work = self.callers[caller]
            if all(each in self.left for each, its in self.callers.items() if its is work):
                self._is_over(work)
        self.loop.run_until_complete(turns())

    @rule(key=st.sampled_from("abc"), fails=st.booleans())
    def work_ends(self, key: str, fails: bool) -> None:
        work = self.work.get(key)
        if work is not None:
            if fails:
                work.outcome.set_exception(ServerError(key))
            else:
                work.outcome.set_result(object())
            self._is_over(work)
        self.loop.run_until_complete(turns())

    def _is_over(self, work: Work) -> None:
        self.work = {key: each for key, each in self.work.items() if each is not work}

    @invariant()
    def one_work_for_each_key_with_callers(self) -> None:
        assert len(self.flights) == len(self.work)
        assert all(key in self.flights for key in self.work)
        assert all(work.times == 1 for work in self.begun), "each is begun once, by its first caller"
        assert all(not work.is_cancelled for work in self.work.values())

    @invariant()
    def each_caller_has_what_its_work_brought(self) -> None:
        errors: list[BaseException] = []
        for caller, work in self.callers.items():
            if caller in self.left:
                assert caller.cancelled()
            elif not work.outcome.done():
                assert not caller.done()
            elif (error := work.outcome.exception()) is not None:
                raised = caller.exception()
                assert isinstance(raised, ServerError) and raised.message == str(error)
                errors.append(raised)
            else:
                assert caller.result() is work.outcome.result()
        assert len({id(error) for error in errors}) == len(errors)

    @invariant()
    def work_without_callers_is_cancelled(self) -> None:
        for work in self.begun:
            alone = all(caller in self.left for caller, its in self.callers.items() if its is work)
            assert work.is_cancelled == alone

    def teardown(self) -> None:
        for caller in self.callers:
            caller.cancel()
        self.loop.run_until_complete(turns())
        assert not asyncio.all_tasks(self.loop)
        assert not tasks._ending
        assert len(self.flights) == 0
        self.callers.clear()
        gc.collect(0)
        self.loop.close()
        assert self.reported == []


TestSingleFlight = SingleFlightMachine.TestCase
TestSingleFlight.settings = settings(max_examples=60, stateful_step_count=25)

"""One call: which targets are asked, how often, until when, and what the caller hears in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genai_spine import (
    AuthenticationError,
    CompletionRequest,
    CompletionResponse,
    LLMProvider,
    ModelCard,
    ProviderManager,
    ProviderTimeout,
    RateLimitError,
    RetryConfig,
    ServerError,
    Text,
    TokenUsage,
)
from genai_spine.engine.record import CallRecord
from genai_spine.engine.routing.decision import Decision
from genai_spine.engine.traffic import LEAST_S
from genai_spine.model.errors import (
    APIConnectionError,
    ContentFiltered,
    ContextLengthExceeded,
    LimitReached,
    TargetClosed,
)
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.policy.route import Choice
from genai_spine.providers.registry import settings_of
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator.script import Step, parse_fault

USAGE = TokenUsage(input_tokens=3, output_tokens=2)


class Scripted(LLMProvider):
    """Does what the script says, an error, a number of seconds to wait or an answer, and then answers."""

    def __init__(self, name: str, *script: Any, window: int | None = None) -> None:
        self.name = name
        self.script = list(script)
        self.window = window
        self.calls = 0
        self.cancelled = 0

    @property
    def default_model(self) -> str | None:
        return "m"

    def card(self, model: str | None = None) -> ModelCard:
        return ModelCard(id=model or "m", provider=self.name, context_window=self.window)

    async def _next(self) -> str:
        self.calls += 1
        step = self.script.pop(0) if self.script else f"from {self.name}"
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            try:
                await asyncio.sleep(step)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return f"from {self.name}"
        return str(step)

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        return CompletionResponse(model="m", parts=(Text(text=await self._next()),), usage=USAGE)

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        text = await self._next()
        yield MessageStart(id="1", model="m")
        yield PartStart(index=0, part=Text(text=""))
        yield PartDelta(index=0, text=text)
        yield PartEnd(index=0)
        yield MessageEnd(finish_reason=None, usage=USAGE)


def manager_of(*providers: LLMProvider, **tree: Any) -> ProviderManager:
    tree = {"retry": {"initial_delay": 0.001}, **tree}
    tables = {provider.name: {"type": "simulated"} for provider in providers}
    settings = settings_of({"providers": {"fallback_order": [], **tables}, **tree})
    manager = ProviderManager(providers[:1], settings=settings)
    for provider in providers[1:]:
        manager.with_fallback(provider)
    return manager


def breaker(manager: ProviderManager, provider: str) -> str:
    return manager.targets.of(Choice(provider=provider, model="m")).breaker.state(time.monotonic())


# ---------------------------------------------------------------- time


async def test_one_deadline_is_over_all_attempts() -> None:
    slow = [Scripted(name, 5.0) for name in ("a", "b", "c")]
    manager = manager_of(*slow)
    begun = time.monotonic()
    with pytest.raises(ProviderTimeout, match="the time of the whole call is over"):
        await manager.complete("Hi", timeout=0.15)
    assert time.monotonic() - begun < 2
    assert [provider.calls for provider in slow] == [1, 0, 0]
    assert slow[0].cancelled == 1


async def test_the_second_attempt_has_what_the_first_has_left() -> None:
    first, second = Scripted("a", 0.1, 0.1), Scripted("b", 5.0)
    first.script = [ServerError("x"), ServerError("x"), ServerError("x")]
    manager = manager_of(first, second)
    with pytest.raises(ProviderTimeout):
        await manager.complete("Hi", timeout=0.2)
    assert (first.calls, second.calls, second.cancelled) == (3, 1, 1)


async def test_a_provider_that_asks_for_more_time_than_there_is_is_not_waited_for() -> None:
    first, second = Scripted("a", RateLimitError("busy", retry_after_s=5)), Scripted("b")
    manager = manager_of(first, second)
    response = await manager.complete("Hi", timeout=2)
    assert (response.content, first.calls) == ("from b", 1)


async def test_with_a_hair_of_time_left_nobody_else_is_asked() -> None:
    traffic = manager_of(Scripted("a"), Scripted("b")).traffic
    decision = Decision(choices=(Choice(provider="a", model="m"), Choice(provider="b", model="m")))
    late, target = ProviderTimeout("late"), traffic.targets.of(decision.choices[0])
    for left_s, goes_on in ((LEAST_S / 4, False), (60.0, True)):
        ends_at_s = time.monotonic() + left_s
        assert traffic.goes_on(late, decision, ends_at_s) is goes_on
        wait_s = traffic.wait_before_retry_s(late, 0, target, ends_at_s, is_last=True)
        assert (wait_s is not None) is goes_on


async def test_a_first_token_that_does_not_come_is_asked_for_elsewhere() -> None:
    first, second = Scripted("a", 5.0, 5.0, 5.0), Scripted("b")
    manager = manager_of(first, second, timeouts={"first_token": 0.05}, retry={"max_retries": 0})
    assert "".join([text async for text in manager.text_stream("Hi")]) == "from b"
    assert first.cancelled == 1


async def test_a_route_has_timeouts_of_its_own() -> None:
    slow = Scripted("a", 5.0, 5.0)
    route = {"targets": ["a/m"], "timeouts": {"total": 0.05}}
    quick = {"targets": ["a/m", "b/m"], "timeouts": {"first_token": 0.05}}
    manager = manager_of(slow, Scripted("b"), routes={"short": route, "quick": quick})
    with pytest.raises(ProviderTimeout):
        await manager.complete("Hi", model="short")
    assert "".join([text async for text in manager.text_stream("Hi", model="quick")]) == "from b"
    assert (slow.calls, slow.cancelled) == (2, 2)


# ---------------------------------------------------------------- the breaker


async def test_a_target_that_fails_too_often_is_left_alone_and_then_asked_once() -> None:
    errors = [ServerError("down") for _ in range(4)]
    first, second = Scripted("a", *errors), Scripted("b")
    tree = {"breaker": {"min_calls": 4, "open_for": 0.05}, "retry": {"max_retries": 0}}
    manager = manager_of(first, second, **tree)
    for _ in range(4):
        assert (await manager.complete("Hi")).content == "from b"
    assert breaker(manager, "a") == "open"
    record = CallRecord()
    assert (await manager.complete("Hi", record=record)).content == "from b"
    assert (first.calls, len(record.attempts)) == (4, 1)
    assert [(passed.choice.provider, passed.reason) for passed in record.passed_over] == [
        ("a", "left alone after too many failures")
    ]
    await asyncio.sleep(0.06)
    assert (await manager.complete("Hi")).content == "from a"
    assert breaker(manager, "a") == "closed"


async def test_the_last_candidate_is_asked_whatever_the_breaker_says() -> None:
    only = Scripted("a", *[ServerError("down") for _ in range(5)])
    manager = manager_of(only, breaker={"min_calls": 4}, retry={"max_retries": 0})
    for _ in range(5):
        with pytest.raises(ServerError):
            await manager.complete("Hi")
    assert breaker(manager, "a") == "open"
    assert (await manager.complete("Hi")).content == "from a"
    assert breaker(manager, "a") == "closed"


async def test_unless_settings_say_that_it_is_refused() -> None:
    only = Scripted("a", *[ServerError("down") for _ in range(5)])
    manager = manager_of(only, breaker={"min_calls": 4, "last": "refuse"}, retry={"max_retries": 0})
    for _ in range(4):
        with pytest.raises(ServerError):
            await manager.complete("Hi")
    with pytest.raises(TargetClosed) as caught:
        await manager.complete("Hi")
    assert (only.calls, caught.value.status_code) == (4, 503)
    assert caught.value.retry_after_s is not None


async def test_a_callers_own_haste_closes_a_target_to_nobody() -> None:
    slow = Scripted("a", *[5.0] * 10)
    manager = manager_of(slow, breaker={"min_calls": 4})
    for _ in range(10):
        with pytest.raises(ProviderTimeout):
            await manager.complete("Hi", timeout=0.01)
    assert breaker(manager, "a") == "closed"


async def test_a_providers_own_patience_for_the_first_token_is_that_of_every_attempt() -> None:
    with running_simulator() as broken, running_simulator() as slow:
        tables = {
            "a": {"type": "openai_compatible", "base_url": broken.urls.openai},
            "b": {"type": "openai_compatible", "base_url": slow.urls.openai, "timeouts": {"first_token": 10}},
        }
        settings = {"providers": tables, "timeouts": {"first_token": 0.2}, "retry": {"max_retries": 0}}
        async with ProviderManager.from_settings(settings) as manager:
            for fallbacks in ((), ("b/m",)):
                broken.run("status=503")
                slow.run("stall=first; for_s=0.5")
                stream = manager.text_stream("Hi", model="a/m" if fallbacks else "b/m", fallbacks=fallbacks)
                assert "".join([text async for text in stream]) == "You said: Hi"


async def test_what_a_call_waits_for_a_limit_is_of_its_time() -> None:
    with running_simulator() as simulator:
        simulator.run(*["stall=head; for_s=0.6"] * 2)
        table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "max_concurrency": 1}
        settings = {"providers": {"a": table}, "timeouts": {"total": 1}, "limits": {"max_wait": 5}}
        async with ProviderManager.from_settings(settings) as manager:
            asked = [manager.complete("Hi", model="a/m") for _ in range(2)]
            first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, CompletionResponse)
        assert isinstance(second, ProviderTimeout)
        assert second.code == "total_timeout"


# ---------------------------------------------------------------- again, or elsewhere


async def test_retries_end_with_their_budget() -> None:
    provider = Scripted("a", *[ServerError("down") for _ in range(1000)])
    manager = manager_of(provider, retry={"max_retries": 3, "initial_delay": 0, "max_delay": 0, "budget": 0.1})
    for _ in range(100):
        with pytest.raises(ServerError):
            await manager.complete("Hi")
    # 100 calls, their tenth, the reserve of ten that a quiet start has, and one that is free every ten seconds.
    assert 110 <= provider.calls <= 121


async def test_a_key_that_was_refused_is_followed_by_the_next_at_once() -> None:
    refused = AuthenticationError("no such key")
    refused.has_another_key = True
    provider = Scripted("a", refused)
    manager = manager_of(provider, retry={"max_retries": 0, "budget": 0})
    assert (await manager.complete("Hi")).content == "from a"
    assert provider.calls == 2


async def test_the_retry_settings_of_a_program_hold_as_those_of_a_file_do() -> None:
    first, second = Scripted("a", *[ServerError("down") for _ in range(9)]), Scripted("b")
    first.script.append(ContextLengthExceeded("too long"))
    manager = ProviderManager([first, second], retry=RetryConfig(budget=0, max_retries=2, on_context_length="error"))
    for _ in range(9):
        with pytest.raises(ServerError):
            await manager.complete("Hi", model="a/m")
    assert first.calls == 9
    with pytest.raises(ContextLengthExceeded):
        await manager.complete("Hi", model="a/m", fallbacks=("b/m",))
    assert second.calls == 0


async def test_a_call_is_one_request_of_its_callers_though_budgets_send_it_elsewhere() -> None:
    with running_simulator() as simulator:
        table = {"type": "openai_compatible", "base_url": simulator.urls.openai, "cost": {"input_cost_per_1m": 1}}
        costs = {"limits": {"a_daily": 0.0000001}}
        settings = {"providers": {"a": table, "b": table}, "limits": {"requests_per_min": 4}, "costs": costs}
        async with ProviderManager.from_settings(settings) as manager:
            for _ in range(4):
                record = CallRecord(caller="alice")
                response = await manager.complete("Hi", model="a/m", fallbacks=("b/m",), record=record)
                assert response.provider == "b"
            with pytest.raises(LimitReached):
                await manager.complete("Hi", model="a/m", fallbacks=("b/m",), record=CallRecord(caller="alice"))


async def test_each_key_is_tried_once_and_then_as_often_as_a_single_one() -> None:
    with running_simulator() as busy, running_simulator() as free:
        busy.run(Step(times="always", fault=parse_fault("status=429; retry_after=0")))
        tables = {
            "a": {"type": "openai_compatible", "base_url": busy.urls.openai, "api_keys": ["k1", "k2", "k3"]},
            "b": {"type": "openai_compatible", "base_url": free.urls.openai, "api_key": "k"},
        }
        settings = {"providers": tables, "retry": {"max_retries": 2, "initial_delay": 0}}
        async with ProviderManager.from_settings(settings) as manager:
            response = await manager.complete("Hi", model="a/m", fallbacks=("b/m",), timeout=10)
            assert response.provider == "b"
            assert len(busy.received) == 3 + 2


@pytest.mark.parametrize(("policy", "asked"), [("error", []), ("fallback", ["c"])])
async def test_a_prompt_that_is_too_long_goes_to_a_larger_window_where_settings_say_so(
    policy: str, asked: list[str]
) -> None:
    first = Scripted("a", ContextLengthExceeded("too long"), window=1000)
    others = [Scripted("b", window=500), Scripted("c", window=9000)]
    manager = manager_of(first, *others, retry={"on_context_length": policy})
    if policy == "error":
        with pytest.raises(ContextLengthExceeded):
            await manager.complete("Hi")
    else:
        assert (await manager.complete("Hi")).content == "from c"
    assert [other.name for other in others if other.calls] == asked


@pytest.mark.parametrize("policy", ["error", "fallback"])
async def test_what_a_safety_system_refuses_goes_elsewhere_where_settings_say_so(policy: str) -> None:
    manager = manager_of(Scripted("a", ContentFiltered("no")), Scripted("b"), retry={"on_content_filter": policy})
    if policy == "error":
        with pytest.raises(ContentFiltered):
            await manager.complete("Hi")
    else:
        assert (await manager.complete("Hi")).content == "from b"


async def test_when_all_are_busy_the_caller_hears_when_the_first_is_free() -> None:
    first = Scripted("a", RateLimitError("busy", retry_after_s=90))
    second = Scripted("b", RateLimitError("busy", retry_after_s=60))
    with pytest.raises(RateLimitError) as caught:
        await manager_of(first, second).complete("Hi")
    assert caught.value.retry_after_s == 60
    assert "a: busy; b: busy" in caught.value.message


# ---------------------------------------------------------------- money


async def test_an_attempt_that_may_be_billed_is_told() -> None:
    broken = APIConnectionError("the connection broke", sent=True)
    refused = APIConnectionError("refused", sent=False)
    told = await manager_of(Scripted("a", broken)).complete("Hi")
    untold = await manager_of(Scripted("a", refused)).complete("Hi")
    assert [(notice.code, notice.message) for notice in told.notices] == [
        ("possibly_billed", "an attempt at a ended after it was sent; it may be billed")
    ]
    assert untold.notices == ()


# ---------------------------------------------------------------- hedging


HEDGE = {"hedge": {"budget": 1.0, "after": 0.03}, "retry": {"max_retries": 0}}


@pytest.mark.parametrize("streams", [False, True])
async def test_the_hedge_wins_and_the_loser_is_cancelled_and_told(streams: bool) -> None:
    first, second = Scripted("a", 5.0), Scripted("b")
    manager = manager_of(first, second, **HEDGE)
    record = CallRecord()
    if streams:
        events = [event async for event in manager.stream("Hi", record=record)]
        assert isinstance(events[0], MessageStart)
        notices = events[0].notices
    else:
        response = await manager.complete("Hi", record=record)
        notices = response.notices
        assert response.content == "from b"
    assert first.cancelled == 1
    assert [(attempt.provider, attempt.is_hedge, attempt.left) for attempt in record.attempts] == [
        ("a", False, True),
        ("b", True, False),
    ]
    assert [notice.code for notice in notices] == ["possibly_billed"]
    assert all(attempt.is_settled for attempt in record.attempts)


async def test_the_hedge_loses() -> None:
    first, second = Scripted("a", 0.1), Scripted("b", 5.0)
    manager = manager_of(first, second, **HEDGE)
    assert (await manager.complete("Hi")).content == "from a"
    assert (second.calls, second.cancelled) == (1, 1)


# ---------------------------------------------------------------- what is held


async def test_nothing_is_in_flight_when_all_is_over() -> None:
    first, second = Scripted("a", ServerError("x"), 5.0), Scripted("b", 5.0)
    manager = manager_of(first, second, retry={"max_retries": 1, "initial_delay": 0})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await manager.complete("Hi")
    stream = manager.stream("Hi")
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    assert [target.in_flight for target in manager.targets] == [0] * len(manager.targets)
    assert len(manager.targets) >= 1

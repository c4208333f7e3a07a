"""How slow a stream may be, and how long one may take to say something; and that every attempt is settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider
from genai_spine.engine.streams import event_stream, first_event
from genai_spine.engine.streams.floor import LETTERS_PER_TOKEN, WINDOW_S, Floor
from genai_spine.model.content import Text
from genai_spine.model.errors import ProviderTimeout, ServerError, SpineError, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import TokenUsage
from genai_spine.providers.agent import AgentProvider
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import AgentSettings, Duration, ProviderSettings, TimeoutSettings

# ── the floor ─────────────────────────────────────────────────────────────────────────────────────


def tokens(count: float) -> list[StreamEvent]:
    return [PartDelta(0, "x" * int(count * LETTERS_PER_TOKEN))]


def test_a_stream_at_the_floor_goes_on_for_ever() -> None:
    floor = Floor(2.0)
    for _ in range(500):
        floor.add(tokens(2), 1.0)


def test_a_stream_below_the_floor_is_broken_once_the_window_is_full() -> None:
    floor = Floor(2.0)
    for _ in range(int(WINDOW_S)):
        floor.add(tokens(1), 1.0)
    with pytest.raises(StreamBroken, match=r"too slow: 1\.0 tokens per second") as broken:
        floor.add(tokens(1), 1.0)
    assert broken.value.code == "too_slow"


def test_the_wait_for_the_first_words_is_no_slowness() -> None:
    floor = Floor(2.0)
    floor.add([], WINDOW_S)
    floor.add(tokens(1), 2 * WINDOW_S)
    for _ in range(100):
        floor.add(tokens(2), 1.0)


def test_what_was_quick_before_the_window_does_not_count() -> None:
    floor = Floor(2.0)
    floor.add(tokens(10_000), 1.0)
    for _ in range(int(WINDOW_S) - 1):
        floor.add(tokens(0), 1.0)
    with pytest.raises(StreamBroken):
        floor.add(tokens(0), 1.0)


# ── the first event ───────────────────────────────────────────────────────────────────────────────


def over_http(first_token: float) -> HttpProvider:
    timeouts = TimeoutSettings(first_token=Duration(first_token))
    return HttpProvider("vllm", ProviderSettings(), name="up", timeouts=timeouts)


async def saying(*, after_s: float) -> AsyncGenerator[str, None]:
    await asyncio.sleep(after_s)
    yield "Hi"


async def test_what_comes_in_time_is_given() -> None:
    assert await first_event.first_of(saying(after_s=0), over_http(30), "m") == "Hi"


async def test_what_does_not_come_is_a_timeout_of_the_provider() -> None:
    provider = over_http(0.05)
    with pytest.raises(ProviderTimeout, match=r"no first token within 0\.05 s") as late:
        await first_event.first_of(saying(after_s=60), provider, "m")
    assert (late.value.provider, late.value.model, late.value.fallback) == ("up", "m", True)
    assert provider.metrics.error_count == 1
    await asyncio.sleep(0)  # the task lives on: it is not cancelled


async def test_an_agents_model_has_the_time_of_its_provider() -> None:
    agent = AgentProvider(over_http(0.05), AgentSettings(model="m"))
    with pytest.raises(ProviderTimeout, match=r"no first token within 0\.05 s"):
        await first_event.first_of(saying(after_s=60), agent, "m")


async def test_who_is_cancelled_meanwhile_is_cancelled() -> None:
    waiting = asyncio.create_task(first_event.first_of(saying(after_s=60), over_http(30), "m"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_was_cancelled_before_hears_of_the_timeout() -> None:
    async def after_a_cancellation() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await first_event.first_of(saying(after_s=60), over_http(0.05), "m")

    waiting = asyncio.create_task(after_a_cancellation())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(ProviderTimeout, match="no first token"):
        await waiting


async def test_many_wait_each_for_its_own_time() -> None:
    late = [first_event.first_of(saying(after_s=60), over_http(0.05), "m") for _ in range(20)]
    soon = [first_event.first_of(saying(after_s=0.3), over_http(30), "m") for _ in range(20)]
    found = await asyncio.gather(*late, *soon, return_exceptions=True)
    assert [isinstance(each, ProviderTimeout) for each in found] == [True] * 20 + [False] * 20
    assert found[20:] == ["Hi"] * 20


# ── settled once ──────────────────────────────────────────────────────────────────────────────────


class Watcher:
    def __init__(self) -> None:
        self.began = 0
        self.settled: list[dict[str, Any]] = []
        self.max_tokens: int | None = None

    def meter(self) -> None:
        return None

    def has_begun(self) -> None:
        self.began += 1

    def settle(
        self,
        *,
        usage: TokenUsage | None = None,
        model: str | None = None,
        error: SpineError | None = None,
        left: bool = False,
    ) -> None:
        self.settled.append({"usage": usage, "error": error, "left": left})


INPUT = TokenUsage(input_tokens=9)
WHOLE = TokenUsage(input_tokens=9, output_tokens=2)


class Teller(LLMProvider):
    name = "teller"

    def __init__(self, *events: StreamEvent | Exception) -> None:
        self.events = events

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise NotImplementedError

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        for event in self.events:
            if isinstance(event, Exception):
                raise event
            yield event


START = MessageStart(model="m", usage=INPUT)
OPEN = PartStart(index=0, part=Text(text=""))
WORD = PartDelta(0, "a")
END = (PartEnd(index=0), MessageEnd(usage=WHOLE))


async def begun(watcher: Watcher, *events: StreamEvent | Exception) -> tuple[Teller, event_stream.EventStream]:
    provider = Teller(*events)
    return provider, await event_stream.begin(provider, CompletionRequest(messages="Hi"), watcher)  # type: ignore[arg-type]


async def test_a_whole_stream_is_settled_with_its_usage() -> None:
    watcher = Watcher()
    _, stream = await begun(watcher, START, OPEN, WORD, WORD, *END)
    events = [event async for batch in stream.batches() for event in batch]
    assert events == [START, OPEN, WORD, WORD, *END]
    assert (watcher.began, watcher.settled) == (1, [{"usage": WHOLE, "error": None, "left": False}])


async def test_what_comes_after_the_end_is_nobodys() -> None:
    watcher = Watcher()
    _, stream = await begun(watcher, START, OPEN, WORD, *END, ServerError("late"))
    assert len([batch async for batch in stream.batches()]) > 1
    assert watcher.settled == [{"usage": WHOLE, "error": None, "left": False}]


async def test_a_broken_stream_is_settled_with_its_error_and_what_was_told() -> None:
    watcher, error = Watcher(), ServerError("Oh")
    _, stream = await begun(watcher, START, OPEN, WORD, error)
    with pytest.raises(ServerError):
        [batch async for batch in stream.batches()]
    assert watcher.settled == [{"usage": INPUT, "error": error, "left": False}]


async def test_a_stream_without_an_end_is_a_broken_one() -> None:
    watcher = Watcher()
    provider, stream = await begun(watcher, START, OPEN, WORD)
    with pytest.raises(StreamBroken):
        [batch async for batch in stream.batches()]
    assert isinstance(watcher.settled[0]["error"], StreamBroken)
    assert provider.metrics.error_count == 1


async def test_a_caller_who_leaves_settles_it_and_what_was_told_is_counted() -> None:
    watcher = Watcher()
    provider, stream = await begun(watcher, START, OPEN, WORD, WORD, *END)
    await stream.aclose()
    assert watcher.settled == [{"usage": INPUT, "error": None, "left": True}]
    assert (provider.usage().call_count, provider.usage().total_input) == (1, 9)


@pytest.mark.parametrize(
    "events", [(), (START,), (START, OPEN), (START, OPEN, ServerError("Oh")), (ServerError("Oh"),)]
)
async def test_what_breaks_before_a_word_is_left_to_who_asked(events: tuple[Any, ...]) -> None:
    watcher = Watcher()
    with pytest.raises((StreamBroken, ServerError)):
        await begun(watcher, *events)
    assert (watcher.began, watcher.settled) == (0, [])


async def test_two_streams_of_one_exchange_have_nothing_in_common() -> None:
    one, other = Watcher(), Watcher()
    (_, first), (_, second) = await asyncio.gather(
        begun(one, START, OPEN, WORD, *END), begun(other, START, OPEN, WORD, WORD, *END)
    )
    await first.aclose()
    assert [len(each.settled) for each in (one, other)] == [1, 0]
    assert len([event async for batch in second.batches() for event in batch]) == 6

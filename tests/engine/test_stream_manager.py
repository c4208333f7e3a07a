"""Streams of a program's own: listed, cancelled, read ahead so far and no further."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider, StreamManager
from genai_spine.engine.streams.open_streams import BUFFERED_EVENTS, StreamCancelled
from genai_spine.model.content import Text
from genai_spine.model.errors import ProviderTimeout, ServerError, SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect
from genai_spine.testing.fixtures import eventually


class Teller(LLMProvider):
    """Tells so many words, and then what it is told to do."""

    name = "teller"

    def __init__(self, words: int = 3, then: Exception | None = None, waits: bool = False) -> None:
        self.words = words
        self.then = then
        self.waits = waits
        self.told = 0
        self.is_closed = False

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise NotImplementedError

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        try:
            yield MessageStart(model=request.model or "m")
            yield PartStart(index=0, part=Text(text=""))
            for _ in range(self.words):
                self.told += 1
                yield PartDelta(0, "a")
            if self.waits:
                await asyncio.sleep(60)
            if self.then is not None:
                raise self.then
            yield PartEnd(index=0)
            yield MessageEnd()
        finally:
            self.is_closed = True


async def test_a_stream_is_listed_until_it_is_read() -> None:
    streams, provider = StreamManager(), Teller()
    stream = streams.start_stream(provider, "Hi", model="story")
    (info,) = streams.active_streams
    assert (info.id, info.provider, info.model) == (stream.id, "teller", "story")
    assert collect([event async for event in stream]).content == "aaa"
    assert streams.active_streams == []
    assert stream.done.is_set()
    assert stream.error is None


async def test_nobody_reads_ahead_without_end() -> None:
    streams, provider = StreamManager(), Teller(words=1000)
    stream = streams.start_stream(provider, "Hi")
    await eventually(lambda: provider.told >= BUFFERED_EVENTS - 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert provider.told <= BUFFERED_EVENTS
    assert collect([event async for event in stream]).content == "a" * 1000


async def test_a_cancelled_stream_lets_its_provider_go_and_says_so() -> None:
    streams, provider = StreamManager(), Teller(waits=True)
    stream = streams.start_stream(provider, "Hi")
    assert isinstance(await anext(stream), MessageStart)
    assert streams.cancel(stream.id)
    with pytest.raises(StreamCancelled):
        [event async for event in stream]
    assert provider.is_closed
    assert not streams.cancel(stream.id)
    assert len(streams) == 0


async def test_a_stream_that_breaks_raises_what_broke_it() -> None:
    stream = StreamManager().start_stream(Teller(then=ServerError("Oh")), "Hi")
    with pytest.raises(ServerError, match="Oh"):
        [event async for event in stream]
    assert isinstance(stream.error, ServerError)


async def test_silence_is_not_waited_for_without_end() -> None:
    provider = Teller(waits=True)
    stream = StreamManager().start_stream(provider, "Hi", timeout_s=0.05)
    with pytest.raises(ProviderTimeout, match="silent"):
        [event async for event in stream]
    assert provider.is_closed


async def test_a_time_of_the_providers_own_is_not_taken_for_silence() -> None:
    stream = StreamManager().start_stream(Teller(then=TimeoutError("slow queue")), "Hi")
    with pytest.raises(SpineError, match="the provider gave up: slow queue"):
        [event async for event in stream]


async def test_a_stream_that_is_cancelled_at_once_ends_too() -> None:
    streams = StreamManager()
    stream = streams.start_stream(Teller(), "Hi")
    stream.cancel()
    with pytest.raises(StreamCancelled):
        await anext(stream)
    assert len(streams) == 0

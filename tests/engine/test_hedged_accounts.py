"""Two attempts under way for one answer: which of them ends the call in the ledger, and what the call costs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from genai_spine import CompletionRequest, CompletionResponse, LLMProvider, ProviderManager, ServerError
from genai_spine.engine.record import CallRecord
from genai_spine.model.content import Text
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import TokenUsage
from genai_spine.providers.registry import settings_of

WHOLE: tuple[StreamEvent, ...] = (
    MessageStart(model="m"),
    PartStart(index=0, part=Text(text="")),
    PartDelta(0, "Hi"),
    PartEnd(index=0),
    MessageEnd(usage=TokenUsage(input_tokens=9, output_tokens=2)),
)


class Streamer(LLMProvider):
    """Gives its whole stream in one piece once it may, or a word of it and then an error."""

    def __init__(self, name: str, *, after: asyncio.Event | None = None, breaks: bool = False) -> None:
        self.name = name
        self.asked = asyncio.Event()
        self._after = after
        self._breaks = breaks

    @property
    def default_model(self) -> str | None:
        return "m"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        raise NotImplementedError

    async def stream(self, request: CompletionRequest) -> AsyncIterator[StreamEvent]:
        async for events in self.batches(request):
            for event in events:
                yield event

    async def batches(self, request: CompletionRequest) -> Any:
        if self._after is not None:
            await self._after.wait()
        self.asked.set()  # who waits for this goes on before the race hears of the answer
        if self._breaks:
            yield list(WHOLE[:3])
            raise ServerError("broken", provider=self.name)
        yield list(WHOLE)


def manager_of(directory: Path, *providers: LLMProvider) -> ProviderManager:
    settings = {
        "providers": {},
        "retry": {"max_retries": 0},
        "hedge": {"budget": 1.0, "after": 0.001},
        "ledger": {"url": f"sqlite:///{directory}/spine.db"},
    }
    manager = ProviderManager([providers[0]], settings=settings_of(settings))
    for provider in providers[1:]:
        manager.with_fallback(provider)
    return manager


def written(directory: Path) -> tuple[list[Any], list[Any]]:
    with closing(sqlite3.connect(directory / "spine.db")) as database:
        calls = database.execute("SELECT status, provider, attempts FROM call").fetchall()
        return calls, database.execute("SELECT provider, status FROM attempt ORDER BY id").fetchall()


async def test_an_answer_that_came_too_late_does_not_end_the_call(tmp_path: Path) -> None:
    """The hedge has its whole stream in the moment in which the first begins, and is not shown; the first breaks."""
    hedge = Streamer("hedge")
    first = Streamer("first", after=hedge.asked, breaks=True)
    record = CallRecord()
    async with manager_of(tmp_path, first, hedge) as manager:
        events = manager.stream("Hi", record=record)
        shown = [await anext(events) for _ in WHOLE[:3]]
        assert record.attempts[1].is_settled and not record.is_closed
        with pytest.raises(ServerError):
            await anext(events)
    assert shown[-1] == WHOLE[2]
    assert [attempt.provider for attempt in record.attempts] == ["first", "hedge"]
    assert written(tmp_path) == ([("failed", "first", 2)], [("first", "failed"), ("hedge", "answered")])


async def test_an_answer_that_is_whole_when_it_wins_is_written_before_its_end_is_given(tmp_path: Path) -> None:
    never = asyncio.Event()
    first, hedge = Streamer("first", after=never), Streamer("hedge")
    record = CallRecord()
    async with manager_of(tmp_path, first, hedge) as manager:
        async for _ in manager.stream("Hi", record=record):
            assert record.is_closed
    assert written(tmp_path) == ([("answered", "hedge", 2)], [("first", "left"), ("hedge", "answered")])

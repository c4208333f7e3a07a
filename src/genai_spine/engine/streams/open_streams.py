"""The streams that are under way: told of, and cancelled.

    streams = StreamManager()
    stream = streams.start_stream(provider, "Tell me a story.", model="claude-sonnet-4-5")
    async for event in stream: ...

A gateway notes those that it writes with `opened` and `closed`. No prompt and no key is kept here. Must not know:
HTTP, dialects.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import msgspec

from genai_spine.engine.ids import Ids
from genai_spine.model.errors import ProviderError, ProviderTimeout, SpineError
from genai_spine.model.events import StreamEvent
from genai_spine.model.keywords import as_request
from genai_spine.model.request import CompletionRequest
from genai_spine.providers.provider import LLMProvider

BUFFERED_EVENTS = 100
TIMEOUT_S = 30.0
_ids = Ids("stream-")


class StreamCancelled(ProviderError):
    """Somebody ended the stream: by `spine streams cancel`, `DELETE /v1/streams/{id}` or `StreamManager.cancel`."""

    status_code = 499
    code = "stream_cancelled"
    retryable = False
    fallback = False


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a stream under way. `begun` is in seconds since 1970."""

    id: str
    provider: str
    model: str | None
    begun: float
    age_s: float
    dialect: str | None = None
    bytes_out: int | None = None
    """Written to the caller so far; None for a program's own."""
    is_draining: bool = False
    """Whether its caller has left, and it is read on to learn its usage."""


class ActiveStream:
    """One stream under way."""

    __slots__ = ("begun", "dialect", "id", "model", "provider")

    def __init__(self, id: str, provider: str, model: str | None, dialect: str | None = None) -> None:
        self.id = id
        self.provider = provider
        self.model = model
        self.dialect = dialect
        self.begun = time.time()

    def cancel(self) -> None:
        """End it: whoever reads it is told, and the provider's side is closed."""
        raise NotImplementedError

    def info(self) -> StreamInfo:
        return StreamInfo(
            id=self.id,
            provider=self.provider,
            model=self.model,
            dialect=self.dialect,
            begun=self.begun,
            age_s=max(0.0, time.time() - self.begun),
        )


class StreamManager:
    """Those of one manager or gateway."""

    __slots__ = ("_active",)

    def __init__(self) -> None:
        self._active: dict[str, ActiveStream] = {}

    def opened(self, stream: ActiveStream) -> None:
        self._active[stream.id] = stream

    def closed(self, stream: ActiveStream) -> None:
        self._active.pop(stream.id, None)

    @property
    def active_streams(self) -> list[StreamInfo]:
        """Those under way, the oldest first."""
        return [stream.info() for stream in self._active.values()]

    def cancel(self, id: str) -> bool:
        """End a stream; False where there is none of this id."""
        stream = self._active.get(id)
        if stream is None:
            return False
        stream.cancel()
        return True

    def __iter__(self) -> Iterator[ActiveStream]:
        return iter(list(self._active.values()))

    def __len__(self) -> int:
        return len(self._active)

    def start_stream(
        self, provider: LLMProvider, request: Any, *, timeout_s: float | None = TIMEOUT_S, **options: Any
    ) -> StreamContext:
        """A stream of this provider, read ahead by at most 100 events. `timeout_s` is the longest silence.

        Call it in a running event loop.
        """
        wanted = as_request(request, options)
        stream = StreamContext(provider, wanted.aimed_at(wanted.model, stream=True), timeout_s, self.closed)
        self.opened(stream)
        return stream


class StreamContext(ActiveStream):
    """A stream that is read in the background: `async for event in stream`. Cancel it where it is not read to its end.

    `done` is set when the provider's side has ended; `error` says why, where it did not end well.
    """

    __slots__ = ("_closed", "_events", "_news", "_room", "_task", "_timeout_s", "done", "error", "request")

    def __init__(
        self,
        provider: LLMProvider,
        request: CompletionRequest,
        timeout_s: float | None,
        closed: Callable[[ActiveStream], None],
    ) -> None:
        super().__init__(_ids.new(), provider.name, provider.card(request.model).id)
        self.request = request
        self.done = asyncio.Event()
        self.error: SpineError | None = None
        self._timeout_s = timeout_s
        self._closed = closed
        self._events: deque[StreamEvent] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._read(provider.batches(request)))
        self._task.add_done_callback(self._ended)

    async def _read(self, batches: AsyncGenerator[list[StreamEvent], None]) -> None:
        try:
            async with aclosing(batches):
                while events := await self._next(batches):
                    for event in events:
                        await self._keep(event)
        except SpineError as error:
            self.error = error

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.error = StreamCancelled("the stream was cancelled", provider=self.provider)
        elif (failure := task.exception()) is not None:
            self.error = SpineError(f"the stream failed: {failure}")
        self._closed(self)
        self.done.set()
        self._news.set()

    async def _next(self, batches: AsyncGenerator[list[StreamEvent], None]) -> list[StreamEvent] | None:
        bound = asyncio.timeout(self._timeout_s)
        try:
            async with bound:
                return await anext(batches, None)
        except TimeoutError:
            if not bound.expired():  # the provider's own
                raise
            message = f"silent for {self._timeout_s:g} s inside the answer"
            raise ProviderTimeout(message, code="idle_timeout", provider=self.provider) from None

    async def _keep(self, event: StreamEvent) -> None:
        while len(self._events) >= BUFFERED_EVENTS:
            self._room.clear()
            await self._room.wait()
        self._events.append(event)
        self._news.set()

    def cancel(self) -> None:
        self._task.cancel()

    def __aiter__(self) -> StreamContext:
        return self

    async def __anext__(self) -> StreamEvent:
        """Raises: SpineError where the stream did not end well."""
        while not self._events:
            if self.done.is_set():
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self._events.popleft()

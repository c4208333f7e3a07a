"""One attempt's stream through the model: held until it says something, read to its end, settled once.

    stream = await begin(provider, request, attempt)     raises as long as another target can still be asked
    stream.first; async for events in stream.rest        raises ProviderError where the stream breaks

Must not know: dialects, routes, what happens after a break (continuation.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Protocol, TypeVar

import msgspec

from genai_spine.engine.costs.spending import Meter, metered
from genai_spine.engine.streams.first_event import first_of
from genai_spine.engine.streams.floor import Floor, over_events
from genai_spine.model.errors import ProviderError, SpineError, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, StreamEvent, promises
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import TokenUsage
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider

T = TypeVar("T")

DRAIN_S = 0.05
"""How long the end of an answer's bytes is waited for when the answer itself is whole."""


class Watched(Protocol):
    """Who is told how a stream goes: an `Attempt` (attempt.py)."""

    @property
    def max_tokens(self) -> int | None: ...
    def meter(self) -> Meter | None: ...
    def has_begun(self) -> None: ...
    def settle(
        self,
        *,
        usage: TokenUsage | None = None,
        model: str | None = None,
        error: SpineError | None = None,
        left: bool = False,
    ) -> None: ...


class EventStream(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that has begun. Whoever has it reads `rest` to its end, or closes it."""

    provider: str
    model: str
    """By the provider's own name of it."""
    asked_model: str | None
    first: list[StreamEvent]
    rest: AsyncGenerator[list[StreamEvent], None]
    echoes: bool = False
    """Whether it may begin with what it goes on with (`Continuation.echoes`)."""

    async def batches(self) -> AsyncGenerator[list[StreamEvent], None]:
        """All of it, from the first on."""
        async with aclosing(self.rest):
            yield self.first
            async for events in self.rest:
                yield events

    async def aclose(self) -> None:
        await self.rest.aclose()


async def begin(
    provider: LLMProvider, request: CompletionRequest, attempt: Watched, *, min_tokens_per_s: float = 0.0
) -> EventStream:
    """Returns once there is an event worth showing. Until then the attempt is the caller's to settle.

    Raises: ProviderError, InvalidRequest; StreamBroken for a stream that ends before it has said anything.
    """
    batches = _read(provider, request, attempt, min_tokens_per_s)
    first = await first_of(batches, provider, request.model)
    return EventStream(
        provider=provider.name,
        model=provider.card(request.model).id,
        asked_model=request.model,
        first=first,
        rest=batches,
        echoes=_echoes(provider),
    )


def _echoes(provider: LLMProvider) -> bool:
    continues = provider.row.continues if isinstance(provider, HttpProvider) else None
    return continues is not None and continues.echoes


async def _read(
    provider: LLMProvider, request: CompletionRequest, attempt: Watched, min_tokens_per_s: float
) -> AsyncGenerator[list[StreamEvent], None]:
    begun = time.perf_counter()
    usage: TokenUsage | None = None
    model: str | None = None
    broken: SpineError | None = None
    held: list[StreamEvent] = []
    has_begun = ended = False
    try:
        async with aclosing(provider.batches(request)) as batches:
            source = over_events(batches, Floor(min_tokens_per_s)) if min_tokens_per_s else batches
            if (meter := attempt.meter()) is not None:
                source = metered(source, meter)
            async for events in source:
                held += events
                if all(map(promises, events)):
                    continue
                usage = _usage_told(held)
                model = start.model if type(start := held[0]) is MessageStart else None
                has_begun, ended = True, type(held[-1]) is MessageEnd
                attempt.has_begun()
                if ended:
                    attempt.settle(usage=usage, model=model)  # the caller sees the end when it is written down
                yield held
                break
            if not ended:
                async for events in source:
                    if type(end := events[-1]) is MessageEnd:
                        usage, ended = end.usage or usage, True
                        attempt.settle(usage=usage, model=model)
                        yield events
                        break
                    yield events
            if ended:
                await _drained(batches)
            elif has_begun:
                stopped = StreamBroken("the provider's stream stopped before its end")
                raise provider.failed(stopped, request.model, begun)
    except SpineError as error:
        broken = error
        raise
    except (GeneratorExit, asyncio.CancelledError):
        if has_begun and usage is not None and not ended:  # what the provider has counted, it charges
            provider.observe(request.model or "", usage, time.perf_counter() - begun)
        raise
    finally:
        if has_begun and not ended:
            attempt.settle(usage=usage, model=model, error=broken, left=broken is None)
        broken = None  # else the error and this frame keep each other, and the prompt, alive


def _usage_told(events: list[StreamEvent]) -> TokenUsage | None:
    """What the beginning of a stream says of its usage; where it is all of it, its end."""
    if type(end := events[-1]) is MessageEnd and end.usage is not None:
        return end.usage
    return start.usage if type(start := events[0]) is MessageStart else None


async def _drained(batches: AsyncGenerator[list[StreamEvent], None]) -> None:
    """Read on to the end of the answer's bytes, which is there as a rule, so that the connection can be kept.
    What comes after the stream's own ending is nobody's (FAULTS 24)."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(DRAIN_S):
            await anext(batches, None)

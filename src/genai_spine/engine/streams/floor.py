"""The least speed of a stream: `streams.min_tokens_per_s`, over 30 seconds.

Only the time that is spent waiting for the provider counts, from its first words on, so that a slow reader makes no
provider slow. Tokens are
estimated from the letters of text, thoughts and arguments. Silence is not measured here: that is the idle timeout's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from genai_spine.dialects.interface import StreamDecoder
from genai_spine.model.errors import StreamBroken
from genai_spine.model.events import PartDelta, StreamEvent

WINDOW_S = 30.0
LETTERS_PER_TOKEN = 4


class Floor:
    """Of one stream."""

    __slots__ = ("_least", "_letters", "_pieces", "_waited_s")

    def __init__(self, min_tokens_per_s: float) -> None:
        self._least = min_tokens_per_s * LETTERS_PER_TOKEN
        self._pieces: deque[tuple[float, int]] = deque()
        self._letters = 0
        self._waited_s = 0.0

    def add(self, events: Iterable[StreamEvent], waited_s: float) -> None:
        """What came after so long a wait. Raises: StreamBroken where the stream has become too slow."""
        letters = sum([len(event.text) for event in events if type(event) is PartDelta])
        if not self._pieces:  # how long it may take to say something is for the first token's timeout
            if not letters:
                return
            waited_s = 0.0
        now_s = self._waited_s = self._waited_s + waited_s
        self._pieces.append((now_s, letters))
        self._letters += letters
        if now_s < WINDOW_S:
            return
        while self._pieces[0][0] <= now_s - WINDOW_S:
            self._letters -= self._pieces.popleft()[1]
        if self._letters < self._least * WINDOW_S:
            speed = self._letters / LETTERS_PER_TOKEN / WINDOW_S
            raise StreamBroken(
                f"the provider's stream is too slow: {speed:.1f} tokens per second (streams.min_tokens_per_s)",
                code="too_slow",
            )


async def over_events(
    batches: AsyncGenerator[list[StreamEvent], None], floor: Floor
) -> AsyncGenerator[list[StreamEvent], None]:
    """The same events. Raises: StreamBroken."""
    asked_s = time.monotonic()
    async for events in batches:
        floor.add(events, time.monotonic() - asked_s)
        yield events
        asked_s = time.monotonic()


async def over_bytes(chunks: AsyncIterator[bytes], decoder: StreamDecoder, floor: Floor) -> AsyncGenerator[bytes, None]:
    """The same bytes, read along. Raises: StreamBroken, BadReply."""
    asked_s = time.monotonic()
    async for data in chunks:
        floor.add(decoder.feed(data), time.monotonic() - asked_s)
        yield data
        asked_s = time.monotonic()

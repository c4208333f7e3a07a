"""Streams of server-sent events that say one text and nothing else: predictions and plain text generation."""

from __future__ import annotations

from abc import abstractmethod

from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.model.content import Text
from genai_spine.model.errors import StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire.sse import SSEEvent, SSEParser


class OneTextDecoder(FrameDecoder):
    """What the events are called and hold is for the dialect to say, in `_take`."""

    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._is_started = False
        self._is_open = False
        self._is_done = False

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for _, event in self._parser.frames(data):
            if event is not None:
                self._take(event, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event, events)
        if not self._is_done:
            raise StreamBroken("the stream ended before the answer did")

    @abstractmethod
    def _take(self, event: SSEEvent, events: list[StreamEvent]) -> None:
        """Add what an event says, by the methods below."""

    def _start(self, events: list[StreamEvent]) -> None:
        if not self._is_started:
            self._is_started = True
            events.append(MessageStart(model=self._model))

    def _write(self, text: str, events: list[StreamEvent]) -> None:
        if not text:
            return
        if not self._is_open:
            self._is_open = True
            events.append(PartStart(index=0, part=Text(text="")))
        events.append(PartDelta(0, text))

    def _finish(self, end: MessageEnd, events: list[StreamEvent]) -> None:
        self._is_done = True
        if self._is_open:
            events.append(PartEnd(index=0))
        events.append(end)

"""A stream of NDJSON lines to events.

Source: docs.ollama.com/api/streaming and /errors (2026-11). A tool call comes whole, in a line of its
own or in the last one; an error comes as a line with `error` alone; only `done: true` is an end.
"""

from __future__ import annotations

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import schema as wire
from genai_spine.model.content import Part, Text, Thinking
from genai_spine.model.errors import StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import replay_part
from genai_spine.wire import json
from genai_spine.wire.ndjson import NDJSONParser

_line = msgspec.json.Decoder(wire.Reply)


class OllamaStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = NDJSONParser()
        self._started = False
        self._done = False
        self._created_at: str | None = None
        self._next = 0
        self._open: int | None = None  # the part that takes text, of the kind below
        self._kind: type | None = None
        self._calls = 0

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for line in self._parser.feed(data):
            self._take(line, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for line in self._parser.close():
            self._take(line, events)
        if not self._done:
            raise StreamBroken("the stream ended before the answer did")

    def _take(self, line: bytes, events: list[StreamEvent]) -> None:
        if self._done:
            return
        reply = json.decode_outbound(line, _line)
        if reply.error != wire.NULL:
            raise wire.error_inside(reply.error)
        if not self._started:
            self._started = True
            self._created_at = reply.created_at
            created_s = rfc3339.seconds_of(reply.created_at)
            events.append(MessageStart(model=reply.model or self._model, created_s=created_s))
        message = wire.message_of(reply)
        if message is not None:
            if message.thinking:
                self._write(Thinking, message.thinking, events)
            if message.content:
                self._write(Text, message.content, events)
            for data in message.images or ():
                self._whole(wire.image_of(data), events)
            for call in message.tool_calls or ():
                self._whole(wire.tool_call_of(call, self._created_at, self._calls), events)
                self._calls += 1
        if reply.done:
            self._end(reply, line, events)

    def _write(self, kind: type[Text] | type[Thinking], text: str, events: list[StreamEvent]) -> None:
        if self._kind is not kind or self._open is None:
            self._close_text(events)
            self._open, self._kind = self._next, kind
            self._next += 1
            events.append(PartStart(index=self._open, part=kind(text="")))
        events.append(PartDelta(self._open, text))

    def _close_text(self, events: list[StreamEvent]) -> None:
        if self._open is not None:
            events.append(PartEnd(index=self._open))
            self._open = self._kind = None

    def _whole(self, part: Part, events: list[StreamEvent]) -> None:
        self._close_text(events)
        events.extend(replay_part(self._next, part))
        self._next += 1

    def _end(self, reply: wire.Reply, line: bytes, events: list[StreamEvent]) -> None:
        self._done = True
        self._close_text(events)
        events.append(
            MessageEnd(
                finish_reason=wire.finish_of(reply.done_reason, called=self._calls > 0),
                raw_finish_reason=reply.done_reason or None,
                usage=wire.usage_of(reply),
                extra=wire.extra_of(line, self._created_at),
            )
        )

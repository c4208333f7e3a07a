"""A stream of Anthropic's events to ours.

Source: platform.claude.com/docs/en/build-with-claude/streaming (2026-11): message_start, then for each
content block content_block_start, content_block_delta*, content_block_stop, then message_delta and
message_stop; pings anywhere; an error event in place of the rest; events of new types may come at any time.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.blocks import part_of_block
from genai_spine.dialects.anthropic_messages.citations import citations_of
from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, kept, unknown
from genai_spine.model.content import Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire import json
from genai_spine.wire.sse import SSEParser


class Delta(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None


class Event(msgspec.Struct):
    type: str
    index: int = 0
    delta: Delta | None = None
    content_block: msgspec.Raw = msgspec.Raw(b"")  # a union with None would take null only


class Typed(msgspec.Struct):
    type: str | None = None


_event = msgspec.json.Decoder(Event)
_typed = msgspec.json.Decoder(Typed)

_WITH_BLOCKS = frozenset({"content_block_start", "content_block_delta", "content_block_stop"})
_DELTA_KNOWN = ("stop_reason", "stop_sequence")


class _OpenBlock:
    """A block between its start and its stop. `index` is None where it is shown only when it is whole."""

    __slots__ = ("changed", "index", "is_text", "members", "part", "pending", "signature", "started_input")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.is_text = isinstance(part, Text)
        self.index: int | None = None
        self.started_input = ""
        self.signature = ""
        self.pending: list[str] = []  # partial JSON, of a call or of an opaque block
        self.members: dict[str, Any] = {}  # of an opaque block, or a text's citations
        self.changed = False


class MessagesStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._started = False
        self._done = False
        self._next = 0
        self._open: dict[int, _OpenBlock] = {}
        self._stop: str | None = None
        self._stop_sequence: str | None = None
        self._usage: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        frames = self._parser.plain_frames(data, b"event: ")
        if frames is None:
            for frame in self._parser.feed(data):
                self._take(frame.data, events)
        else:
            self._take_plain(frames, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event.data, events)
        if not self._done:
            # A stop reason without message_stop is a whole answer: only the last, empty event is missing.
            if self._stop is None:
                raise StreamBroken("the stream ended before the answer did")
            self._end(events)

    # ------------------------------------------------------------ one event

    def _take_plain(self, frames: list[bytes], events: list[StreamEvent]) -> None:
        """Text, the bulk of every stream, with as little done for each piece as can be."""
        decode, open_blocks, show = _event.decode, self._open, events.append
        for frame in frames:
            data = frame.partition(b"\ndata: ")[2]
            if len(data) > json.SHORT_FRAME or not data.isascii():
                self._take(data, events)
                continue
            try:
                event = decode(data)
            except json.UNREADABLE:
                self._take(data, events)
                continue
            delta = event.delta
            if delta is not None and delta.type == "text_delta" and event.type == "content_block_delta":
                block = open_blocks.get(event.index)
                if block is not None and block.is_text and block.index is not None and delta.text:
                    show(PartDelta(block.index, delta.text))
                    continue
            self._apply(event, data, events)

    def _take(self, data: bytes, events: list[StreamEvent]) -> None:
        if self._done or not data:
            return
        decode = json.decode_frame if len(data) <= json.SHORT_FRAME else json.decode_outbound
        try:
            event = decode(data, _event)
        except BadReply:
            # What we do not know may have any shape.
            if (kind := json.decode_outbound(data, _typed).type) in _WITH_BLOCKS or kind is None:
                raise
            event = Event(type=kind)
        self._apply(event, data, events)

    def _apply(self, event: Event, data: bytes, events: list[StreamEvent]) -> None:
        if self._done:
            return
        match event.type:
            case "content_block_delta":
                self._delta(event, data, events)
            case "content_block_start":
                self._block_start(event, events)
            case "content_block_stop":
                self._block_stop(self._block(event.index), events)
                del self._open[event.index]
            case "message_start":
                self._message_start(_members(data).get("message"), events)
            case "message_delta":
                self._begin_if_unsaid(events)
                self._message_delta(_members(data))
            case "message_stop":
                self._end(events)
            case "error":
                raise wire.error_of(_members(data), None, {})

    def _message_start(self, message: Any, events: list[StreamEvent]) -> None:
        if not isinstance(message, dict):
            raise BadReply("a message_start without a message")
        if self._started:
            return
        self._started = True
        self._usage = wire.merged_usage({}, message.get("usage"))
        self._extra.update(unknown(message, wire.KNOWN_TOP_LEVEL))
        model, message_id = message.get("model"), message.get("id")
        events.append(
            MessageStart(
                model=model if isinstance(model, str) and model else self._model,
                id=message_id if isinstance(message_id, str) and message_id else None,
                usage=wire.usage_of(self._usage),
            )
        )

    def _begin_if_unsaid(self, events: list[StreamEvent]) -> None:
        # llama.cpp's server begins with the first piece of text; where there is none, with the message_delta.
        if not self._started:
            self._started = True
            events.append(MessageStart(model=self._model))

    def _message_delta(self, members: dict[str, Any]) -> None:
        delta = members.get("delta")
        if isinstance(delta, dict):
            reason, sequence = delta.get("stop_reason"), delta.get("stop_sequence")
            self._stop = reason if isinstance(reason, str) and reason else self._stop
            self._stop_sequence = sequence if isinstance(sequence, str) else self._stop_sequence
            self._extra.update(unknown(delta, _DELTA_KNOWN))
        self._usage = wire.merged_usage(self._usage, members.get("usage"))
        self._extra.update(unknown(members, ("type", "delta", "usage")))

    # ------------------------------------------------------------ blocks

    def _block(self, index: int) -> _OpenBlock:
        block = self._open.get(index)
        if block is None:
            raise BadReply(f"an event for content block {index}, which is not open")
        return block

    def _block_start(self, event: Event, events: list[StreamEvent]) -> None:
        if not event.content_block:
            raise BadReply("a content_block_start without a block")
        if event.index in self._open:
            raise BadReply(f"content block {event.index} began twice")
        self._begin_if_unsaid(events)
        part = part_of_block(event.content_block)
        block = self._open[event.index] = _OpenBlock(part)
        match part:
            case Opaque():
                return
            case ToolCall():
                # The input is {} here and comes in deltas; a service that sends it whole sends no deltas.
                block.started_input = part.arguments
                part = msgspec.structs.replace(part, arguments="")
            case Thinking():
                block.signature = part.signature or ""
                part = msgspec.structs.replace(part, signature=None) if part.signature is not None else part
            case _:
                pass
        block.part = part
        block.index = self._begin(part, events)

    def _begin(self, part: Part, events: list[StreamEvent]) -> int:
        index = self._next
        self._next += 1
        events.append(PartStart(index=index, part=part))
        return index

    def _delta(self, event: Event, data: bytes, events: list[StreamEvent]) -> None:
        block, delta = self._block(event.index), event.delta
        if delta is None:
            raise BadReply("a content_block_delta without a delta")
        if block.index is None:
            self._opaque_delta(block, _members(data)["delta"])
            return
        kind = type(block.part)
        match delta.type:
            case "text_delta" if kind is Text:
                if delta.text:
                    events.append(PartDelta(block.index, delta.text))
            case "thinking_delta" if kind is Thinking:
                if delta.thinking:
                    events.append(PartDelta(block.index, delta.thinking))
            case "input_json_delta" if kind is ToolCall:
                if delta.partial_json:
                    block.changed = True
                    events.append(PartDelta(block.index, delta.partial_json))
            case "signature_delta" if kind is Thinking:
                block.signature += delta.signature or ""
            case "citations_delta" if kind is Text:
                block.members = block.members or kept(block.part.provider_metadata, wire.DIALECT)
                _append(block.members, "citations", _members(data)["delta"].get("citation"))
            case "text_delta" | "thinking_delta" | "input_json_delta":
                raise BadReply(f"a {delta.type} for a block of another type")

    def _opaque_delta(self, block: _OpenBlock, delta: dict[str, Any]) -> None:
        """Joins a delta to a block that only Anthropic knows: texts and lists grow, the rest is set."""
        if not block.changed:
            block.changed = True
            raw = block.part.raw if isinstance(block.part, Opaque) else msgspec.Raw(b"{}")
            block.members = _members(raw)
        for key, value in delta.items():
            present = block.members.get(key)
            if key == "partial_json" and isinstance(value, str):
                block.pending.append(value)
            elif key == "citation":
                _append(block.members, "citations", value)
            elif isinstance(value, str) and isinstance(present, str) and key != "type":
                block.members[key] = present + value
            elif isinstance(value, list) and isinstance(present, list):
                present.extend(value)
            elif key != "type" and value is not None:
                block.members[key] = value

    def _block_stop(self, block: _OpenBlock, events: list[StreamEvent]) -> None:
        if block.index is None:
            index = self._begin(_whole(block), events)
            events.append(PartEnd(index=index))
            return
        if isinstance(block.part, ToolCall) and not block.changed:
            events.append(PartDelta(block.index, block.started_input))
        metadata = keep(wire.DIALECT, block.members)
        cited = citations_of(block.members.get("citations")) if block.is_text and block.members else ()
        signature = block.signature or None
        events.append(PartEnd(index=block.index, signature=signature, citations=cited, provider_metadata=metadata))

    # ------------------------------------------------------------ the end

    def _end(self, events: list[StreamEvent]) -> None:
        self._done = True
        if not self._started:
            raise BadReply("a stream without an answer in it")
        for index in sorted(self._open):
            self._block_stop(self._open[index], events)
        self._open.clear()
        events.append(
            MessageEnd(
                finish_reason=wire.finish_of(self._stop),
                raw_finish_reason=self._stop,
                stop_sequence=self._stop_sequence,
                usage=wire.usage_of(self._usage),
                extra=keep(wire.DIALECT, self._extra),
            )
        )


def _whole(block: _OpenBlock) -> Part:
    """The opaque block as it would stand in a plain answer."""
    if not isinstance(block.part, Opaque) or not block.changed:
        return block.part
    if encoded := "".join(block.pending).encode():
        json.read_kept(encoded, json.ANY)
        block.members["input"] = msgspec.Raw(encoded)
    raw = msgspec.Raw(msgspec.json.encode(block.members))
    return Opaque(dialect=wire.DIALECT, kind=block.part.kind, raw=raw)


def _append(members: dict[str, Any], key: str, value: Any) -> None:
    present = members.get(key)
    members[key] = [*present, value] if isinstance(present, list) else [value]


def _members(data: bytes | msgspec.Raw) -> dict[str, Any]:
    members = json.read_kept(data, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("an event that is not an object")
    return members

"""A ConverseStream to our events.

    messageStart, then for each block [contentBlockStart] contentBlockDelta* contentBlockStop, then messageStop
    and metadata; an exception in place of the rest; events of new types may come at any time.

Only tool calls and tool results have a contentBlockStart: any other block begins with its first delta. `p` in
a payload is padding, against those who would guess words from lengths.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from genai_spine.dialects.bedrock_converse import schema as wire
from genai_spine.dialects.bedrock_converse.blocks import (
    SERVER_TOOL,
    citations_of,
    decoded,
    part_of_block,
    redacted_of,
)
from genai_spine.dialects.bedrock_converse.errors import checked
from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.model.content import Part, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire import json
from genai_spine.wire.eventstream import EventMessage, EventStreamParser


class Payload(msgspec.Struct):
    """Of any event; each has some of these."""

    contentBlockIndex: int = 0
    start: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    stopReason: str | None = None


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str


class _TextDelta(msgspec.Struct, gc=False):
    delta: _Text
    contentBlockIndex: int = 0


_payload = msgspec.json.Decoder(Payload)
_text_delta = msgspec.json.Decoder(_TextDelta)
_NO_TEXT = Text(text="")
_PADDING = "p"


class _OpenBlock:
    """A block between its first event and its stop. `index` is None where it is shown only when it is whole."""

    __slots__ = ("changed", "data", "index", "kind", "members", "pending", "signature")

    def __init__(self, kind: str, members: dict[str, Any]) -> None:
        self.kind = kind
        self.members = members  # of a block that is shown whole, or a text's citations
        self.index: int | None = None
        self.signature = ""
        self.pending: list[str] = []  # text of a block that is shown whole: of a call, partial JSON
        self.data = b""  # of a hidden thought, or an image
        self.changed = False


class ConverseStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = EventStreamParser()
        self._started = False
        self._done = False
        self._next = 0
        self._open: dict[int, _OpenBlock] = {}
        self._stop: str | None = None
        self._usage: Any = None
        self._extra: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for message in self._parser.feed(data):
            if message.headers.get(":event-type") != "contentBlockDelta" or not self._take_text(message, events):
                self._take(message, events)

    def _take_text(self, message: EventMessage, events: list[StreamEvent]) -> bool:
        """Text of a block that is open, the bulk of every stream, with as little done for each piece as can be;
        whether it was that."""
        payload = message.payload
        try:
            json.check_utf8(payload)
            piece = _text_delta.decode(payload)
        except json.UNREADABLE:
            return False
        block = self._open.get(piece.contentBlockIndex)
        if block is None or block.kind != "text" or block.index is None or not (text := piece.delta.text):
            return False
        if self._done or message.headers.get(":message-type") != "event":
            return False
        block.changed = True
        events.append(PartDelta(block.index, text))
        return True

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        self._parser.close()
        if not self._done:
            # A stop reason without metadata is a whole answer: only its counters are missing.
            if self._stop is None:
                raise StreamBroken("the stream ended before the answer did")
            self._end(events)

    # ------------------------------------------------------------ one event

    def _take(self, message: EventMessage, events: list[StreamEvent]) -> None:
        if self._done:
            return
        if message.headers.get(":message-type") != "event":
            checked(message)
        kind = message.headers.get(":event-type")
        if kind not in _EVENTS:
            return
        decode = json.decode_frame if len(message.payload) <= json.SHORT_FRAME else json.decode_outbound
        payload = decode(message.payload, _payload)
        if not self._started:
            self._started = True
            events.append(MessageStart(model=self._model))
        match kind:
            case "contentBlockDelta":
                self._delta(payload, events)
            case "contentBlockStart":
                self._block_start(payload, events)
            case "contentBlockStop":
                if (block := self._open.pop(payload.contentBlockIndex, None)) is not None:
                    self._block_stop(block, events)
            case "messageStop":
                self._stop = payload.stopReason or self._stop
                self._extra.update(unknown(_members(message), ("stopReason", _PADDING)))
            case "metadata":
                members = _members(message)
                self._usage = members.pop("usage", None)
                self._extra.update(unknown(members, (_PADDING,)))
                if self._stop is not None:
                    self._end(events)

    def _block_start(self, payload: Payload, events: list[StreamEvent]) -> None:
        for kind, members in (payload.start or {}).items():
            if not isinstance(members, dict):
                raise BadReply("a contentBlockStart that is not an object")
            if payload.contentBlockIndex in self._open:
                raise BadReply(f"content block {payload.contentBlockIndex} began twice")
            block = self._open[payload.contentBlockIndex] = _OpenBlock(kind, members)
            if kind == "toolUse" and members.get("type") != SERVER_TOOL:
                block.index = self._begin(_call_of(members), events)

    def _begin(self, part: Part, events: list[StreamEvent]) -> int:
        index = self._next
        self._next += 1
        events.append(PartStart(index=index, part=part))
        return index

    # ------------------------------------------------------------ deltas

    def _delta(self, payload: Payload, events: list[StreamEvent]) -> None:
        for kind, value in (payload.delta or {}).items():
            match kind:
                case "text":
                    block = self._shown(payload, "text", _NO_TEXT, events)
                    self._grow(block, value, events)
                case "citation":
                    block = self._shown(payload, "text", _NO_TEXT, events)
                    block.members.setdefault("citations", []).append(value)
                case "reasoningContent":
                    self._reasoning(payload, _object(value), events)
                case "toolUse":
                    self._input(payload, _object(value).get("input"), events)
                case _:
                    self._hidden(payload, kind, value)

    def _shown(self, payload: Payload, kind: str, part: Part, events: list[StreamEvent]) -> _OpenBlock:
        """The open block of this kind that is shown as it grows; a new one where none is open."""
        block = self._open.get(payload.contentBlockIndex)
        if block is None:
            block = self._open[payload.contentBlockIndex] = _OpenBlock(kind, {})
            block.index = self._begin(part, events)
        elif block.kind != kind:
            raise BadReply(f"a delta of {kind} for a block of {block.kind}")
        return block

    def _grow(self, block: _OpenBlock, text: Any, events: list[StreamEvent]) -> None:
        if not isinstance(text, str):
            raise BadReply("a delta that is not text")
        if text and block.index is not None:
            block.changed = True
            events.append(PartDelta(block.index, text))

    def _reasoning(self, payload: Payload, delta: dict[str, Any], events: list[StreamEvent]) -> None:
        if "redactedContent" in delta:
            block = self._open.setdefault(payload.contentBlockIndex, _OpenBlock("redactedContent", {}))
            if block.kind != "redactedContent":
                raise BadReply(f"a hidden thought in a block of {block.kind}")
            block.data += _bytes(delta["redactedContent"])
            return
        block = self._shown(payload, "reasoningContent", Thinking(), events)
        self._grow(block, delta.get("text", ""), events)
        if isinstance(signature := delta.get("signature"), str):
            block.signature += signature

    def _input(self, payload: Payload, text: Any, events: list[StreamEvent]) -> None:
        block = self._open.get(payload.contentBlockIndex)
        if block is None or block.kind != "toolUse":
            raise BadReply("a tool's input without the tool")
        if block.index is not None:
            self._grow(block, text, events)
        elif isinstance(text, str):
            block.pending.append(text)

    def _hidden(self, payload: Payload, kind: str, value: Any) -> None:
        """A block that is shown when it is whole: lists and texts grow, an image's bytes are joined."""
        block = self._open.setdefault(payload.contentBlockIndex, _OpenBlock(kind, {}))
        if block.index is not None or block.kind != kind:
            raise BadReply(f"a delta of {kind} for a block of {block.kind}")
        if isinstance(value, str):
            block.pending.append(value)
            return
        if isinstance(value, list):
            block.members.setdefault("content", []).extend(value)
            return
        for name, member in _object(value).items():
            source = member if name == "source" and isinstance(member, dict) else {}
            if isinstance(source.get("bytes"), str):
                block.data += _bytes(source["bytes"])
            else:
                block.members[name] = member

    # ------------------------------------------------------------ the end

    def _block_stop(self, block: _OpenBlock, events: list[StreamEvent]) -> None:
        if block.index is None:
            events.append(PartEnd(index=self._begin(_whole(block), events)))
            return
        if block.kind == "toolUse" and not block.changed:
            events.append(PartDelta(block.index, "{}"))
        members = block.members if block.kind == "text" else {}
        events.append(
            PartEnd(
                index=block.index,
                signature=block.signature or None,
                citations=citations_of(members.get("citations")),
                provider_metadata=keep(wire.DIALECT, members),
            )
        )

    def _end(self, events: list[StreamEvent]) -> None:
        self._done = True
        for block in self._open.values():
            self._block_stop(block, events)
        events.append(
            MessageEnd(
                finish_reason=wire.finish_of(self._stop),
                raw_finish_reason=self._stop,
                usage=wire.usage_of(self._usage, self._extra),
                extra=keep(wire.DIALECT, self._extra),
            )
        )


_EVENTS = frozenset(
    ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
)


def _call_of(members: dict[str, Any]) -> ToolCall:
    call_id, name = members.get("toolUseId"), members.get("name")
    if not isinstance(call_id, str) or not isinstance(name, str):
        raise BadReply("a tool call without an id or a name")
    return ToolCall(id=call_id, name=name)


def _whole(block: _OpenBlock) -> Part:
    """The block as it would stand in a plain answer."""
    if block.kind == "redactedContent":
        return Thinking(redacted=redacted_of(block.data))
    members, text = block.members, "".join(block.pending)
    if block.data:
        members = {**members, "source": {"bytes": base64.b64encode(block.data).decode()}}
    if block.kind == "toolUse":
        members = {**members, "input": json.read_kept(text.encode(), json.ANY) if text else {}}
    whole = members if members or not text else text
    return part_of_block(msgspec.Raw(msgspec.json.encode({block.kind: whole})))


def _members(message: EventMessage) -> dict[str, Any]:
    return _object(json.read_kept(message.payload, json.ANY))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadReply("an event with a member that is not an object")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise BadReply("bytes that are not base64")
    return decoded(value)

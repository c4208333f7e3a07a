"""Events to a stream of Anthropic's: blocks one after the other, ended by `message_stop`."""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.anthropic_messages import schema as wire
from genai_spine.dialects.anthropic_messages.blocks import call_id, finished, image_source
from genai_spine.dialects.anthropic_messages.citations import citations_written
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.signed_calls import proof_of
from genai_spine.model.content import Audio, Image, Opaque, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire.json import encode as _encode
from genai_spine.wire.json import on_one_line
from genai_spine.wire.sse import encode_event

_AFTER = b"}}\n\n"
_DELTAS: dict[type, tuple[str, str]] = {
    Text: ("text_delta", "text"),
    Refusal: ("text_delta", "text"),
    Audio: ("text_delta", "text"),
    Thinking: ("thinking_delta", "thinking"),
    ToolCall: ("input_json_delta", "partial_json"),
}
_IN_DELTA = ("stop_details", "container")
"""Members of a plain answer that a stream brings inside `message_delta.delta`."""


class MessagesStreamEncoder:
    """Text deltas, the bulk of every stream, are written behind a prepared head.

    Blocks come strictly one by one here: what belongs to a part that began while another was open waits.
    """

    def __init__(self) -> None:
        self._count = 0  # blocks begun
        self._index = -1  # the middle's index of the open block
        self._part: Part | None = None
        self._before = b""
        self._custom: list[str] = []
        self._is_first = True  # of a call's arguments nothing has gone out
        self._waiting: dict[int, list[StreamEvent]] = {}
        self._seen: list[Part] = []
        self._held = b""  # how a text begins that is still empty: text blocks must not be, when they come back

    def encode(self, event: StreamEvent) -> bytes:
        if type(event) is PartDelta:
            if event.index == self._index:
                return self._delta(event.text)
            if event.index in self._waiting:
                self._waiting[event.index].append(event)
            return b""
        match event:
            case PartStart():
                self._seen.append(event.part)
                if self._part is None and not self._waiting:
                    return self._start(event)
                self._waiting[event.index] = [event]
                return b""
            case PartEnd():
                if event.index in self._waiting:
                    self._waiting[event.index].append(event)
                    return b""
                return self._stop(event) + self._go_on() if event.index == self._index else b""
            case MessageStart():
                return self._message_start(event)
            case MessageEnd():
                return self._message_end(event)
            case _:
                return b""

    def error(self, error: SpineError, request_id: str) -> bytes:
        written = wire.error_written(error, status_for_caller(error), request_id)
        return encode_event(_encode(written), b"error")

    # ------------------------------------------------------------ blocks

    def _start(self, event: PartStart) -> bytes:
        part = event.part
        if (proof := proof_of(part)) is not None:
            return self._start(PartStart(index=event.index, part=proof)) + self._stop(None) + self._begin(event)
        return self._begin(event)

    def _begin(self, event: PartStart) -> bytes:
        part = event.part
        block, text = _begun(part)
        if block is None:
            return b""
        at = self._count
        self._count += 1
        self._index, self._part, self._custom, self._is_first = event.index, part, [], True
        written = _event("content_block_start", {"index": at, "content_block": block})
        kind, field = _DELTAS.get(type(part), ("", ""))
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
        self._before = head % at + f'{{"type":"{kind}","{field}":'.encode()
        if text:
            return written + self._delta(text)
        if isinstance(part, Text | Refusal):
            self._held = written
            return b""
        return written

    def _delta(self, text: str) -> bytes:
        part = self._part
        if self._held:
            if not text:
                return b""
            begun, self._held = self._held, b""
            return begun + self._delta(text)
        if type(part) is ToolCall:
            if part.kind == "custom":
                self._custom.append(text)  # free text is no JSON: it is said as a whole at the end
                return b""
            if self._is_first:
                if text.strip() in ("", "null"):  # no arguments: an input of null is no object, and refused later
                    return b""
                self._is_first = False
        encoded = _encode(text)
        return self._before + (encoded if encoded.isascii() else on_one_line(encoded)) + _AFTER

    def _more(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._count - 1, "delta": delta})

    def _stop(self, event: PartEnd | None) -> bytes:
        part, written = self._part, b""
        metadata = (event.provider_metadata if event else None) or getattr(part, "provider_metadata", None)
        match part:
            case Thinking(redacted=None):
                if signature := (event.signature if event else None) or part.signature:
                    written = self._more({"type": "signature_delta", "signature": signature})
            case Text():
                cited = event.citations if event else part.citations
                for citation in _citations(kept(metadata, wire.DIALECT)) or citations_written(cited):
                    written += self._more({"type": "citations_delta", "citation": citation})
            case ToolCall(kind="custom"):
                whole = _encode({"input": "".join(self._custom)}).decode()
                written = self._more({"type": "input_json_delta", "partial_json": whole})
            case _:
                pass
        self._index, self._part = -1, None
        if self._held:
            begun, self._held = self._held, b""
            if not written:
                self._count -= 1
                return b""
            written = begun + written
        return written + _event("content_block_stop", {"index": self._count - 1})

    def _go_on(self) -> bytes:
        """Writes what waited, up to the first part that is still open."""
        written: list[bytes] = []
        while self._waiting and self._part is None:
            index = next(iter(self._waiting))
            for event in self._waiting.pop(index):
                match event:
                    case PartStart():
                        written.append(self._start(event))
                    case PartDelta() if index == self._index:
                        written.append(self._delta(event.text))
                    case PartEnd() if index == self._index:
                        written.append(self._stop(event))
                    case _:
                        pass
        return b"".join(written)

    # ------------------------------------------------------------ the message

    def _message_start(self, event: MessageStart) -> bytes:
        message: dict[str, Any] = {
            "id": wire.message_id(event.id),
            "type": "message",
            "role": "assistant",
            "model": event.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": wire.usage_written(event.usage),
        }
        return _event("message_start", {"message": message})

    def _message_end(self, event: MessageEnd) -> bytes:
        written = b""
        while self._part is not None or self._waiting:
            written += (self._stop(None) if self._part is not None else b"") + self._go_on()
        extra = kept(event.extra, wire.DIALECT)
        reason = wire.stop_written(event.finish_reason, event.raw_finish_reason, event.stop_sequence, self._seen)
        delta: dict[str, Any] = {"stop_reason": reason, "stop_sequence": event.stop_sequence}
        delta.update({key: extra.pop(key) for key in _IN_DELTA if key in extra})
        last = {"delta": delta, "usage": wire.usage_written(event.usage), **extra}
        return written + _event("message_delta", last) + _event("message_stop", {})


def _begun(part: Part) -> tuple[dict[str, Any] | msgspec.Raw | None, str]:
    """The block as it starts, still empty, and what the part already had of text."""
    match part:
        case Text() | Refusal():
            block = finished({"type": "text", "text": ""}, part)
            if "citations" in block:
                block["citations"] = []
            return block, part.text
        case Audio(transcript=str(transcript)):
            return {"type": "text", "text": ""}, transcript
        case Thinking(redacted=str(data)):
            return finished({"type": "redacted_thinking", "data": data}, part), ""
        case Thinking():
            return finished({"type": "thinking", "thinking": "", "signature": ""}, part), part.text
        case ToolCall():
            block = {"type": "tool_use", "id": call_id(part.id), "name": part.name, "input": {}}
            return finished(block, part), part.arguments
        case Opaque(dialect=wire.DIALECT):
            return part.raw, ""
        case Image() if (source := image_source(part)) is not None:  # as in a plain answer
            return finished({"type": "image", "source": source}, part), ""
        case _:
            return None, ""


def _citations(metadata: dict[str, Any]) -> list[Any]:
    citations = metadata.get("citations")
    return citations if isinstance(citations, list) else []


def _event(name: str, members: dict[str, Any]) -> bytes:
    return encode_event(_encode({"type": name, **members}), name.encode())

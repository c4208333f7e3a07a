"""Anthropic's messages relayed: usage, stop reason and errors are read from bytes that go through as they are.

event: message_stop\\ndata: {"type":"message_stop"}
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.relay import ABSENT, Answer, StreamTap, object_or_none, refuse_error, require
from genai_spine.wire.json import OBJECT, decode_frame, decode_outbound, encode
from genai_spine.wire.sse import SSEEvent


class _Message(Struct, gc=False):
    """`message` of message_start, and a whole answer."""

    content: Raw = ABSENT
    usage: Raw = ABSENT
    stop_reason: str | None = None
    model: str | None = None
    error: Raw = ABSENT


class _Event(Struct, gc=False):
    type: str | None = None
    message: Raw = ABSENT
    delta: Raw = ABSENT
    usage: Raw = ABSENT
    error: Raw = ABSENT


class MessagesTap(StreamTap):
    """Usage is in message_start and, cumulative, in message_delta; of each member the last value holds."""

    __slots__ = ()

    _PREFIX = b"event: "

    def _read_plain(self, frames: Sequence[bytes], out: list[bytes]) -> None:
        for frame in frames:
            name, _, data = frame.partition(b"\ndata: ")
            if self._read(SSEEvent(data, name or None)):
                out.append(frame)
            if self.finished:
                return

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        decoded = decode_frame(data, _event)
        match decoded.type:
            case "content_block_delta":
                pass
            case "message_start" if decoded.message != ABSENT:
                message = decode_frame(decoded.message, _message)
                self.model = message.model
                self.finish_reason = message.stop_reason
                self._add_usage(message.usage)
            case "message_delta":
                if decoded.delta != ABSENT:
                    delta = decode_frame(decoded.delta, _message)
                    self.finish_reason = delta.stop_reason or self.finish_reason
                self._add_usage(decoded.usage)
            case "message_stop":
                self.finished = True
            case _:
                refuse_error(decoded.error, data, event.event)
        return True

    def _add_usage(self, usage: Raw) -> None:
        if not bytes(usage).startswith(b"{"):
            return
        if self.usage is None:
            self.usage = usage
            return
        known: dict[str, Raw] = decode_frame(self.usage, OBJECT)
        new: dict[str, Raw] = decode_frame(usage, OBJECT)
        known.update({name: value for name, value in new.items() if value != Raw(b"null")})
        self.usage = Raw(encode(known))


_event = msgspec.json.Decoder(_Event)
_message = msgspec.json.Decoder(_Message)


def open_tap(*, strip_usage: bool = False) -> StreamTap:
    return MessagesTap()


def tap_answer(body: bytes) -> Answer:
    message = decode_outbound(body, _message)
    refuse_error(message.error, body)
    require(bytes(message.content).startswith(b"["), "content")
    return Answer(model=message.model, finish_reason=message.stop_reason, usage=object_or_none(message.usage))

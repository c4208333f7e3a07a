"""Anthropic's messages relayed: usage, stop reason and errors are read from bytes that go through as they are.

event: message_stop\\ndata: {"type":"message_stop"}
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.relay import ABSENT, Answer, NamedFramesTap, object_or_none, refuse_error, require
from genai_spine.model.errors import BadReply
from genai_spine.wire.json import OBJECT, decode_frame, encode
from genai_spine.wire.sse import SSEEvent, encode_event


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


class MessagesTap(NamedFramesTap):
    """Usage is in message_start and, cumulative, in message_delta; of each member the last value holds.

    llama.cpp leaves message_start out where the answer's first token is a part of a character or the end
    (0.3.36, 2026-11), and clients refuse the rest: then they get one without counts.
    """

    __slots__ = ("_has_begun", "_lacks_start", "_model")

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._has_begun = False
        self._lacks_start = False

    def feed(self, data: bytes) -> bytes:
        out = super().feed(data)
        if self._lacks_start and out:
            self._lacks_start = False
            return _missing_start(self._model) + out
        return out

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        decoded = decode_frame(data, _event)
        match decoded.type:
            case "content_block_delta":
                pass
            case "content_block_start":
                self._begin()
            case "message_start" if decoded.message != ABSENT:
                self._has_begun = True
                message = decode_frame(decoded.message, _message)
                self.model = message.model
                self.finish_reason = message.stop_reason
                self._add_usage(message.usage)
            case "message_delta":
                self._begin()
                if decoded.delta != ABSENT:
                    delta = decode_frame(decoded.delta, _message)
                    self.finish_reason = delta.stop_reason or self.finish_reason
                self._add_usage(decoded.usage)
            case "message_stop":
                if not self._has_begun:
                    raise BadReply("a stream without an answer in it")
                self.finished = True
            case _:
                refuse_error(decoded.error, data, event.event)
        return True

    def _begin(self) -> None:
        self._lacks_start = self._lacks_start or not self._has_begun
        self._has_begun = True

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


def _missing_start(model: str) -> bytes:
    message: dict[str, object] = {
        "id": "msg_unnamed",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    return encode_event(encode({"type": "message_start", "message": message}), b"message_start")


def open_tap(*, model: str = "", strip_usage: bool = False) -> NamedFramesTap:
    """`model` is the one that was asked."""
    return MessagesTap(model)


def tap_answer(body: bytes) -> Answer:
    message = decode_frame(body, _message)
    refuse_error(message.error, body)
    require(bytes(message.content).startswith(b"["), "content")
    return Answer(model=message.model, finish_reason=message.stop_reason, usage=object_or_none(message.usage))

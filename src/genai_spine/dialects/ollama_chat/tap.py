"""Ollama's chat and generate relayed: counts, done reason and errors are read from lines that go through as they are.

{"model":"llama3.2","done":true,"done_reason":"stop","prompt_eval_count":9}
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.relay import ABSENT, Answer, StreamTap, refuse_error, require
from genai_spine.wire.json import decode_frame
from genai_spine.wire.ndjson import NDJSONParser


class _Line(Struct, gc=False):
    """A line of a stream and a whole answer alike; `response` is that of /api/generate."""

    done: bool | None = None
    done_reason: str | None = None
    model: str | None = None
    error: Raw = ABSENT
    message: Raw = ABSENT
    response: Raw = ABSENT


class ChatTap(StreamTap):
    __slots__ = ()

    _FRAME_END = b"\n"

    def _new_parser(self) -> NDJSONParser:
        return NDJSONParser()

    def _read(self, event: bytes) -> bool:
        line = decode_frame(event, _line)
        refuse_error(line.error, event)
        if self.model is None:
            self.model = line.model
        if line.done:
            self.usage = Raw(event)
            self.finish_reason = line.done_reason or "stop"
            self.finished = True
        return True


_line = msgspec.json.Decoder(_Line)


def open_tap(*, model: str = "", strip_usage: bool = False) -> StreamTap:
    return ChatTap()


def tap_answer(body: bytes) -> Answer:
    line = decode_frame(body, _line)
    refuse_error(line.error, body)
    require(len(line.message) + len(line.response) > 0, "message")
    return Answer(model=line.model, finish_reason=line.done_reason, usage=Raw(body))

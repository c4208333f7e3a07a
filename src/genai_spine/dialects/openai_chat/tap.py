"""An OpenAI chat relayed: usage, finish reason and errors are read from bytes that go through as they are.

data: {"choices":[],"usage":{"prompt_tokens":9}}     data: [DONE]
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.relay import ABSENT, Answer, StreamTap, object_or_none, refuse_error, require, served_as
from genai_spine.model.errors import BadReply
from genai_spine.wire.json import UNREADABLE, decode_frame
from genai_spine.wire.sse import SSEEvent, encode_event


class _Choice(Struct, gc=False):
    finish_reason: str | None = None
    index: int | None = 0


class _Chunk(Struct, gc=False):
    """A chunk or an answer. Decoding it takes 0.4 µs, bare validation 0.25: byte tests would save nothing."""

    choices: list[_Choice] | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT
    model: str | None = None


class _Answer(_Chunk, gc=False):
    """What carries the usage: there, how the call was served is looked at, too."""

    service_tier: Raw = ABSENT


class ChatTap(StreamTap):
    """Ends with `[DONE]`, or, with Hugging Face, Perplexity and transformers (recordings, 2026-11), after the
    last finish reason without one: then the caller gets the `[DONE]` that its client may wait for."""

    __slots__ = ("_ended", "_opened", "_strip_usage")

    def __init__(self, strip_usage: bool) -> None:
        super().__init__()
        self._strip_usage = strip_usage
        self._opened: set[int | None] = set()  # choices, by index
        self._ended: set[int | None] = set()

    def _read(self, event: SSEEvent) -> bool:
        data = event.data
        if len(data) < 16 and data.strip() == b"[DONE]":
            if not self._opened:
                raise BadReply("a stream without an answer in it")
            self.finished = True
            return True
        chunk = decode_frame(data, _chunk)
        if chunk.error or event.event:
            refuse_error(chunk.error, data, event.event)
        if self.model is None and chunk.model:
            self.model = chunk.model
        for choice in chunk.choices or ():
            self._opened.add(choice.index)
            if choice.finish_reason:
                self._ended.add(choice.index)
                self.finish_reason = self.finish_reason or choice.finish_reason
        if len(chunk.usage) > 4 and bytes(chunk.usage).startswith(b"{"):
            self.usage = served_as(decode_frame(data, _answer).service_tier, chunk.usage)
            # The chunk of usage alone is what forcing adds. Usage within other chunks harms no client.
            return not self._strip_usage or bool(chunk.choices)
        return True

    def _read_plain(self, frames: Sequence[bytes], out: list[bytes]) -> None:
        # Nearly every chunk says nothing of itself: it is looked at here, and only what does is read.
        decode, opened, forward = _chunk.decode, self._opened, out.append
        for frame in frames:
            try:
                chunk = decode(frame)
                choices = chunk.choices
                says_nothing = (
                    choices is not None
                    and len(choices) == 1
                    and choices[0].finish_reason is None
                    and choices[0].index in opened
                    and len(chunk.usage) <= 4
                    and not chunk.error
                    and frame.isascii()
                )
            except UNREADABLE:  # or [DONE]
                says_nothing = False
            if says_nothing or self._read(SSEEvent(frame)):
                forward(frame)
            if self.finished:
                return

    def _ending(self) -> bytes:
        if self._opened and self._opened == self._ended:
            return encode_event(b"[DONE]")
        return super()._ending()


_chunk = msgspec.json.Decoder(_Chunk)
_answer = msgspec.json.Decoder(_Answer)


def open_tap(*, model: str = "", strip_usage: bool = False) -> StreamTap:
    """`strip_usage` takes out the chunk that `rewrite(force_usage=True)` caused."""
    return ChatTap(strip_usage)


def tap_answer(body: bytes) -> Answer:
    chunk = decode_frame(body, _answer)
    if chunk.error:
        refuse_error(chunk.error, body)
    choices = chunk.choices
    require(choices is not None, "choices")
    finish = choices[0].finish_reason or None if choices else None
    usage = object_or_none(chunk.usage)
    if chunk.service_tier:
        usage = served_as(chunk.service_tier, usage)
    return Answer(model=chunk.model, finish_reason=finish, usage=usage)

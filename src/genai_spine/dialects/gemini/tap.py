"""Gemini's answers relayed: usage, finish reason and errors are read from bytes that go through as they are.

    data: {"candidates": [{"content": …, "finishReason": "STOP"}], "usageMetadata": {…}, "modelVersion": "…"}

No event ends a stream: the body's end after a finish reason does, or after the word that the prompt was blocked,
which a caller of this dialect reads in `promptFeedback` as the service wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from genai_spine.dialects.gemini.schema import finish_name
from genai_spine.dialects.relay import ABSENT, Answer, StreamTap, object_or_none, refuse_error, require
from genai_spine.wire.json import decode_frame
from genai_spine.wire.sse import SSEEvent


class _Candidate(Struct, gc=False, rename="camel"):
    finish_reason: str | int | None = None


class _Feedback(Struct, gc=False, rename="camel"):
    block_reason: str | int | None = None


class _Chunk(Struct, gc=False, rename="camel"):
    """A chunk, and a whole answer."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Raw = ABSENT
    model_version: str | None = None
    error: Raw = ABSENT

    @property
    def finish(self) -> str | None:
        """Why the answer ends here; of a blocked prompt, why it was."""
        reason = self.candidates[0].finish_reason if self.candidates else None
        if reason is None and self.prompt_feedback is not None:
            reason = self.prompt_feedback.block_reason
        return finish_name(reason)


class GeminiTap(StreamTap):
    """Counts are of the whole so far: the last with a total stands (schema.newer_usage)."""

    __slots__ = ()

    def _read(self, event: SSEEvent) -> bool:
        if event.data.strip() == b"[DONE]":  # of a proxy that speaks OpenAI's format, too
            return False
        chunk = decode_frame(event.data, _chunk)
        refuse_error(chunk.error, event.data, event.event)
        self.model = self.model or chunk.model_version
        self.finish_reason = chunk.finish or self.finish_reason
        usage = bytes(chunk.usage_metadata)
        if self.usage is None or b'"totalTokenCount"' in usage:
            self.usage = object_or_none(chunk.usage_metadata) or self.usage
        return True

    def _read_frames(self, frames: Sequence[tuple[bytes, Any]], out: list[bytes]) -> None:
        for raw, event in frames:
            # An error may come as bare JSON.
            super()._read_frames([(raw, event or (SSEEvent(raw.strip()) if raw.startswith(b"{") else None))], out)

    def _ending(self) -> bytes:
        bare = bytes(self._parser.tail).strip()
        if bare.startswith(b"{"):  # an error that no blank line ends
            refuse_error(decode_frame(bare, _chunk).error, bare)
        return b"" if self.finish_reason is not None else super()._ending()


_chunk = msgspec.json.Decoder(_Chunk)


def open_tap(*, model: str = "", strip_usage: bool = False) -> StreamTap:
    return GeminiTap()


def tap_answer(body: bytes) -> Answer:
    chunk = decode_frame(body, _chunk)
    refuse_error(chunk.error, body)
    require(bool(chunk.candidates) or chunk.prompt_feedback is not None, "candidates")
    return Answer(model=chunk.model_version, finish_reason=chunk.finish, usage=object_or_none(chunk.usage_metadata))

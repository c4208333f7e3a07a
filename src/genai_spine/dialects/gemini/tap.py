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
from genai_spine.dialects.gemini.search_count import SEARCHES, searches_charged
from genai_spine.dialects.relay import ABSENT, Answer, StreamTap, object_or_none, refuse_error, require, with_member
from genai_spine.wire.json import decode_frame, read_or_none
from genai_spine.wire.sse import SSEEvent


class _Candidate(Struct, gc=False, rename="camel"):
    finish_reason: str | int | None = None
    grounding_metadata: Raw = ABSENT


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

    @property
    def grounding(self) -> Raw:
        return self.candidates[0].grounding_metadata if self.candidates else ABSENT


def _with_searches(usage: Raw | None, model: str | None, grounding: Raw) -> Raw | None:
    if usage is None or grounding == ABSENT:
        return usage
    count = searches_charged(model, read_or_none(bytes(grounding)))
    return with_member(SEARCHES, b"%d" % count, usage) if count else usage


class GeminiTap(StreamTap):
    """Counts are of the whole so far: the last with a total stands (schema.newer_usage)."""

    __slots__ = ("_counted", "_grounding")

    def __init__(self) -> None:
        super().__init__()
        self._counted: Raw | None = None
        """The last counts with a total; `usage` also holds the searches."""
        self._grounding = ABSENT

    def _read(self, event: SSEEvent) -> bool:
        if event.data.strip() == b"[DONE]":  # of a proxy that speaks OpenAI's format, too
            return False
        chunk = decode_frame(event.data, _chunk)
        refuse_error(chunk.error, event.data, event.event)
        self.model = self.model or chunk.model_version
        self.finish_reason = chunk.finish or self.finish_reason
        usage = bytes(chunk.usage_metadata)
        if self._counted is None or b'"totalTokenCount"' in usage:
            self._counted = object_or_none(chunk.usage_metadata) or self._counted
        self._grounding = chunk.grounding or self._grounding
        self.usage = _with_searches(self._counted, self.model, self._grounding)
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
    usage = _with_searches(object_or_none(chunk.usage_metadata), chunk.model_version, chunk.grounding)
    return Answer(model=chunk.model_version, finish_reason=chunk.finish, usage=usage)

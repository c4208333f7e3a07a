"""Events to a stream of Gemini's: each event a chunk of the answer, the last with finish reason and usage.

Nothing stands after it: the body's end is the stream's. No event holds a character at which Python ends a line:
Google's SDK reads by such lines (google-genai 2.34, httpx' iter_lines), and its service escapes them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects import rfc3339
from genai_spine.dialects.failure import status_for_caller
from genai_spine.dialects.gemini import errors
from genai_spine.dialects.gemini import schema as wire
from genai_spine.dialects.gemini.citations import grounding_written, is_grounded
from genai_spine.dialects.gemini.parts import call_part, media_part, proof_written, text_part, thought_part, whole_args
from genai_spine.dialects.metadata import kept
from genai_spine.model.content import Audio, Document, Image, Opaque, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import Collector
from genai_spine.wire.json import encode_line as _encode
from genai_spine.wire.sse import encode_event


def written_part(part: Part) -> dict[str, Any] | msgspec.Raw | None:
    """A part of an answer; None for what clients of this dialect could not show."""
    match part:
        case Text() | Refusal():
            return text_part(part.text, part)
        case Thinking():
            return {**proof_written(part), **thought_part(part)}
        case ToolCall():
            return call_part(part, whole_args(part))
        case Opaque(dialect=wire.DIALECT):
            return part.raw
        case Audio(data=None, transcript=str(transcript)):
            return {"text": transcript}
        case Image() | Audio() | Document():
            return media_part(part)
        case _:
            return None


class GeminiStreamEncoder:
    """Texts and thoughts without metadata of this dialect go out as they come, behind a prepared head; every other part
    when it is whole, for a call has no pieces here and a signature stands with all of its part."""

    def __init__(self) -> None:
        self._tail = b""
        self._members: dict[str, Any] = {}
        self._heads: dict[int, tuple[bytes, bytes]] = {}
        self._whole: dict[int, Collector] = {}
        self._ended: set[int] = set()  # of those that wait for one that began before
        self._thoughts: dict[int, Thinking] = {}
        self._texts: dict[int, list[str]] = {}  # of those that are written as they come
        self._said: list[Text] = []

    def encode(self, event: StreamEvent) -> bytes:
        match event:
            case PartDelta():
                if (head := self._heads.get(event.index)) is not None:
                    self._texts[event.index].append(event.text)
                    return head[0] + _encode(event.text) + head[1]
                if event.index in self._whole:
                    self._whole[event.index].add(event)
                return b""
            case PartStart():
                return self._start(event)
            case PartEnd():
                return self._stop(event)
            case MessageStart():
                self._begin(event)
                return b""
            case MessageEnd():
                return self._end(event)

    def error(self, error: SpineError, request_id: str) -> bytes:
        return encode_event(_encode(errors.error_written(error, status_for_caller(error), request_id)))

    # ------------------------------------------------------------ parts

    def _start(self, event: PartStart) -> bytes:
        part = event.part
        if isinstance(part, Text | Thinking | Refusal) and _is_plain(part):
            more = b""
            if isinstance(part, Thinking):
                more, self._thoughts[event.index] = b',"thought":true', part
            head = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":'
            self._texts[event.index] = []
            self._heads[event.index] = head, more + b'}]},"index":0}]' + self._tail
            return self.encode(PartDelta(event.index, part.text)) if part.text else b""
        self._whole[event.index] = Collector()
        self._whole[event.index].add(event)
        return b""

    def _stop(self, event: PartEnd) -> bytes:
        if self._heads.pop(event.index, None) is not None:
            text = "".join(self._texts.pop(event.index))
            if (thought := self._thoughts.pop(event.index, None)) is not None:
                return self._proof(thought, event)
            self._said.append(Text(text=text, citations=event.citations))
            return b""
        if event.index not in self._whole:
            return b""
        self._whole[event.index].add(event)
        self._ended.add(event.index)
        return self._waited()

    def _waited(self, *, is_last: bool = False) -> bytes:
        """The parts that are whole, in the order in which they began: by that results tell calls apart."""
        out = b""
        for index in list(self._whole):
            if index not in self._ended and not is_last:
                break
            self._ended.discard(index)
            part = self._whole.pop(index).parts()[0]
            if isinstance(part, Text):
                self._said.append(part)
            if written := written_part(part):
                out += self._part(written)
        return out

    def _proof(self, thought: Thinking, end: PartEnd) -> bytes:
        """Behind the words that it proves."""
        proven = Thinking(signature=end.signature or thought.signature)
        return self._part({"text": "", "thought": True, **proof}) if (proof := proof_written(proven)) else b""

    def _part(self, written: dict[str, Any] | msgspec.Raw) -> bytes:
        return self._chunk({"content": {"role": "model", "parts": [written]}, "index": 0}, {})

    # ------------------------------------------------------------ the message

    def _begin(self, event: MessageStart) -> None:
        self._members = {"modelVersion": event.model}
        if event.created_s is not None:
            self._members["createTime"] = rfc3339.text_of(event.created_s)
        if event.id is not None:
            self._members["responseId"] = event.id
        self._tail = b"," + _encode(self._members)[1:] + b"\n\n"

    def _end(self, event: MessageEnd) -> bytes:
        before = self._waited(is_last=True)
        extra = kept(event.extra, wire.DIALECT)
        candidate = extra.pop("candidate", None)
        extra.pop("candidates", None)  # a stream has one
        # Clients read the text of every chunk.
        last: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": ""}]}}
        last["finishReason"] = wire.finish_written(event.finish_reason, event.raw_finish_reason)
        own = candidate if isinstance(candidate, dict) else {}
        cited = {} if is_grounded(own) else grounding_written(self._said)
        last |= {"index": 0, **cited, **own}
        usage = wire.usage_written(event.usage)
        return before + self._chunk(last, {**({"usageMetadata": usage} if usage else {}), **extra})

    def _chunk(self, candidate: dict[str, Any], members: dict[str, Any]) -> bytes:
        return encode_event(_encode({"candidates": [candidate], **self._members, **members}))


def _is_plain(part: Text | Thinking | Refusal) -> bool:
    """Words, and nothing beside them for clients of this dialect."""
    is_readable = not isinstance(part, Thinking) or part.redacted is None
    return is_readable and not kept(part.provider_metadata, wire.DIALECT)

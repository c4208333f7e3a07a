"""Events to a stream of `chat.completion.chunk`s, ended by `[DONE]`."""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.audio import audio_written
from genai_spine.dialects.openai_chat.citations import annotations_written, searched
from genai_spine.dialects.openai_chat.images import images_written, is_shown
from genai_spine.dialects.openai_chat.thoughts import detail_of_thinking, needs_detail
from genai_spine.dialects.openai_chat.usage import usage_written
from genai_spine.model.content import Audio, Image, Metadata, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire.json import encode, on_one_line
from genai_spine.wire.sse import encode_event


class _OpenThought:
    """A thought that is being written, and its place among the thoughts."""

    __slots__ = ("part", "position", "texts")

    def __init__(self, part: Thinking, position: int) -> None:
        self.part = part
        self.position = position
        self.texts = [part.text]


class _Half:
    """What stands before and after a text in its chunks, and how long the text is so far."""

    __slots__ = ("after", "before", "is_content", "length")

    def __init__(self, before: bytes, after: bytes, *, is_content: bool) -> None:
        self.before = before
        self.after = after
        self.is_content = is_content
        self.length = 0


class ChatStreamEncoder:
    """Text deltas, the bulk of every stream, are written between two prepared halves of a chunk."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._head: dict[str, Any] = {}
        self._halves: dict[int, _Half] = {}
        self._content_length = 0  # of the texts that have ended
        self._annotations: list[dict[str, Any]] = []
        self._calls: dict[int, int] = {}
        self._empty_calls: dict[int, ToolCall] = {}  # those of which no arguments have come
        self._thoughts: dict[int, _OpenThought] = {}
        self._count_of_thoughts = 0
        self._count_of_images = 0
        self._metadata: dict[int, Metadata] = {}  # of texts, from their start
        self._undetailed: dict[str, Any] | None = None  # a thought just ended, as a detail not written so far

    def encode(self, event: StreamEvent) -> bytes:
        if type(event) is PartDelta:
            if self._thoughts or self._empty_calls:
                self._note(event)
            half = self._halves[event.index]
            half.length += len(event.text)
            text = encode(event.text)
            return half.before + (text if text.isascii() else on_one_line(text)) + half.after
        match event:
            case PartStart():
                return self._part_start(event)
            case PartEnd():
                return self._part_end(event)
            case MessageStart():
                self._head = {
                    "id": event.id or "chatcmpl-unnamed",
                    "object": "chat.completion.chunk",
                    "created": event.created_s or 0,
                    "model": event.model,
                }
                return self._chunk({"role": "assistant", "content": ""})
            case MessageEnd():
                return self._end(event)
            case PartDelta():
                raise AssertionError("written above")

    def _note(self, event: PartDelta) -> None:
        index = event.index
        if index in self._thoughts:
            self._thoughts[index].texts.append(event.text)
        elif event.text:
            self._empty_calls.pop(index, None)

    def error(self, error: SpineError, request_id: str) -> bytes:
        return encode_event(encode(wire.error_written(error, request_id)))

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return encode_event(encode({**self._head, "choices": [choice]}))

    def _halve(self, index: int, delta: dict[str, Any]) -> None:
        """Prepares the chunk around a text: `delta` holds "\\0" as a mark where it goes."""
        # The last one: model and id are the provider's, and may hold anything.
        before, _, after = self._chunk(delta).rpartition(b'"\\u0000"')
        self._halves[index] = _Half(before, after, is_content="content" in delta)

    def _part_start(self, event: PartStart) -> bytes:
        part, index = event.part, event.index
        match part:
            case ToolCall():
                position = self._calls.setdefault(index, len(self._calls))
                if not part.arguments:
                    self._empty_calls[index] = part
                field, text = ("custom", "input") if part.kind == "custom" else ("function", "arguments")
                self._halve(index, {"tool_calls": [{"index": position, field: {text: "\0"}}]})
                return self._chunk({"tool_calls": [{"index": position, **wire.tool_call_written(part)}]})
            case Thinking():
                before = b""
                if (detail := self._undetailed) is not None:
                    # Two thoughts in a row: what tells them apart is that the first is said whole.
                    self._undetailed = None
                    before = self._chunk({"reasoning_details": [detail]})
                self._thoughts[index] = _OpenThought(part, self._count_of_thoughts)
                self._count_of_thoughts += 1
                self._halve(index, {"reasoning_content": "\0"})
                return before + self._chunk({"reasoning_content": part.text}) if part.text else before
            case Text() | Refusal():
                self._undetailed = None
                if part.provider_metadata is not None:
                    self._metadata[index] = part.provider_metadata
                field = "content" if isinstance(part, Text) else "refusal"
                self._halve(index, {field: "\0"})
                return self.encode(PartDelta(index, part.text)) if part.text else b""
            case Audio():
                return self._chunk({"audio": audio_written(part)})
            case Image() if is_shown(part):
                self._count_of_images += 1
                return self._chunk({"images": images_written([part], self._count_of_images - 1)})
            case _:
                return b""

    def _part_end(self, event: PartEnd) -> bytes:
        if (thought := self._thoughts.pop(event.index, None)) is not None:
            return self._thought_end(event, thought)
        metadata = self._metadata.pop(event.index, None)
        members = kept(event.provider_metadata or metadata, wire.DIALECT)
        if (half := self._halves.get(event.index)) is not None and half.is_content:
            before, self._content_length = self._content_length, self._content_length + half.length
            if event.citations and "annotations" not in members:
                self._annotations += annotations_written(event.citations, before=before, length=half.length)
        return self._chunk(members) if members else b""

    def _thought_end(self, event: PartEnd, thought: _OpenThought) -> bytes:
        """A thought with a signature or redacted goes out once more, whole, as an entry of `reasoning_details`:
        what a caller must send back, beside the `reasoning_content` that it may show."""
        whole = msgspec.structs.replace(
            thought.part,
            text="".join(thought.texts),
            signature=event.signature or thought.part.signature,
            provider_metadata=event.provider_metadata or thought.part.provider_metadata,
        )
        detail = detail_of_thinking(whole, thought.position)
        if needs_detail(whole):
            return self._chunk({"reasoning_details": [detail]})
        self._undetailed = detail
        return b""

    def _end(self, event: MessageEnd) -> bytes:
        written = b""
        for index, call in self._empty_calls.items():
            if wire.has_empty_arguments(call, event.finish_reason):
                half = self._halves[index]
                written += half.before + b'"{}"' + half.after
        extra = kept(event.extra, wire.DIALECT)
        if self._annotations and not searched(extra):
            written += self._chunk({"annotations": self._annotations})
        choice = wire.pop_choice(extra)
        extra.pop("choices", None)
        last = {
            "index": 0,
            "delta": choice.pop("message", {}),
            "finish_reason": wire.finish_written(event.finish_reason),
            **choice,
        }
        written += encode_event(encode({**self._head, "choices": [last], **extra}))
        if self._include_usage and event.usage is not None:
            usage = usage_written(event.usage)
            written += encode_event(encode({**self._head, "choices": [], "usage": usage}))
        return written + b"data: [DONE]\n\n"

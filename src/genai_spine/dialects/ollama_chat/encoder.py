"""Events to NDJSON lines, for `/api/chat` and `/api/generate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from genai_spine.dialects import rfc3339
from genai_spine.dialects.metadata import kept
from genai_spine.dialects.ollama_chat import schema as wire
from genai_spine.model.content import Image, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import CompletionResponse
from genai_spine.wire import json


class Shape(Protocol):
    """Where one endpoint keeps an answer's text, and beside it its thought, calls and images."""

    def __call__(self, content: str, **more: Any) -> dict[str, Any]: ...


def chat_shape(content: str, **more: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **more}}


def generate_shape(content: str, **more: Any) -> dict[str, Any]:
    return {"response": content, **more}


def answer(response: CompletionResponse, shape: Shape) -> bytes:
    """The whole answer as one object."""
    texts: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    calls: list[dict[str, Any]] = []
    for part in response.parts:
        match part:
            case Text() | Refusal():
                texts.append(part.text)
            case Thinking():
                thoughts.append(part.text)
            case Image(data=str(data)):
                images.append(data)
            case ToolCall():
                calls.append(_call(part, part.arguments, len(calls)))
            case _:
                pass
    more: dict[str, Any] = {}
    if any(thoughts):
        more["thinking"] = "".join(thoughts)
    if images:
        more["images"] = images
    if calls:
        more["tool_calls"] = calls
    extra = kept(response.extra, wire.DIALECT)
    if response.duration_s is not None:
        extra.setdefault("total_duration", int(response.duration_s * 1e9))
    created_at = extra.pop("created_at", None) or rfc3339.text_of(response.created_s)
    head = {"model": response.model, "created_at": created_at}
    finish = wire.finish_written(response.finish_reason, response.raw_finish_reason)
    counts = wire.usage_written(response.usage)
    return json.encode({**head, **shape("".join(texts), **more), **_ending(finish, counts, extra)})


def _ending(finish: str, counts: Mapping[str, int], extra: dict[str, Any]) -> dict[str, Any]:
    durations = dict.fromkeys(wire.DURATIONS, 0)
    return {"done": True, "done_reason": finish, **durations, **counts, **extra}


def _call(call: ToolCall, text: str, position: int) -> dict[str, Any]:
    """Arguments are an object here: free text, and what was cut off, goes out as `{"input": text}`."""
    arguments = wire.object_of(text) if call.kind == "function" else None
    return {
        "id": call.id,
        "function": {
            "index": position,
            "name": call.name,
            "arguments": wire.on_one_line(arguments) if arguments is not None else wire.wrapped(text),
        },
    }


class OllamaStreamEncoder:
    """Text deltas, the bulk of every stream, are written between two prepared halves of a line."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._head: dict[str, Any] = {}
        self._halves: dict[int, tuple[bytes, bytes]] = {}
        self._calls: dict[int, tuple[ToolCall, list[str]]] = {}
        self._ended: set[int] = set()  # of those that wait for one that began before
        self._called = 0

    def encode(self, event: StreamEvent) -> bytes:
        match event:
            case PartDelta():
                if (halves := self._halves.get(event.index)) is None:
                    self._calls[event.index][1].append(event.text)
                    return b""
                return halves[0] + json.encode_line(event.text) + halves[1]
            case PartStart():
                return self._part_start(event)
            case PartEnd():
                if event.index not in self._calls:
                    return b""
                self._ended.add(event.index)
                return self._waited()
            case MessageStart():
                self._head = {"model": event.model, "created_at": rfc3339.text_of(event.created_s)}
                return b""
            case MessageEnd():
                return self._end(event)

    def error(self, error: SpineError, request_id: str) -> bytes:
        return json.on_one_line(wire.error_written(error, request_id)) + b"\n"

    def _line(self, content: str, **more: Any) -> bytes:
        return json.encode_line({**self._head, **self._shape(content, **more), "done": False}) + b"\n"

    def _part_start(self, event: PartStart) -> bytes:
        match event.part:
            case Text(text=text) | Refusal(text=text):
                self._halves[event.index] = _halved(self._line("\0"))
                return self._line(text) if text else b""
            case Thinking(text=text):
                self._halves[event.index] = _halved(self._line("", thinking="\0"))
                return self._line("", thinking=text) if text else b""
            case ToolCall() as call:
                self._calls[event.index] = (call, [call.arguments])
            case Image(data=str(data)):
                return self._line("", images=[data])
            case _:
                pass
        return b""

    def _waited(self, *, is_last: bool = False) -> bytes:
        """The calls that are whole, in the order in which they began: arguments are objects, which cannot be cut."""
        out = b""
        for index in list(self._calls):
            if index not in self._ended and not is_last:
                break
            self._ended.discard(index)
            call, texts = self._calls.pop(index)
            out += self._line("", tool_calls=[_call(call, "".join(texts), self._called)])
            self._called += 1
        return out

    def _end(self, event: MessageEnd) -> bytes:
        calls = self._waited(is_last=True)
        extra = kept(event.extra, wire.DIALECT)
        head = {**self._head, "created_at": extra.pop("created_at", None) or self._head.get("created_at")}
        finish = wire.finish_written(event.finish_reason, event.raw_finish_reason)
        ending = _ending(finish, wire.usage_written(event.usage), extra)
        return calls + json.encode_line({**head, **self._shape(""), **ending}) + b"\n"


def _halved(line: bytes) -> tuple[bytes, bytes]:
    """The line around the text, whose place the last NUL marks."""
    before, _, after = line.rpartition(b'"\\u0000"')
    return before, after

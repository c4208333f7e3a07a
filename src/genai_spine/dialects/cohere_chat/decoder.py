"""A stream of Cohere's events to ours.

Source: docs.cohere.com/v2/docs/streaming, /docs/tool-use-streaming and /docs/rag-streaming (2026-11), and
recordings: message-start; content-start, content-delta*, content-end for each entry of the content;
tool-plan-delta*; tool-call-start, tool-call-delta*, tool-call-end for each call; citation-start and citation-end
among the deltas of what they cite; message-end, which carries an error where it went wrong; `[DONE]`.

Contents and calls are numbered each from 0. A part that takes text is open until the next one begins, so that a
citation finds it after its content-end, too; one that comes later still is kept in the answer's `extra`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.cohere_chat import schema as wire
from genai_spine.dialects.cohere_chat.answer import extra_of
from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import unknown
from genai_spine.model.content import Metadata, Part, Text, Thinking
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.wire import json
from genai_spine.wire.sse import SSEParser


class Content(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None


class ContentMessage(msgspec.Struct, gc=False):
    content: Content | None = None


class ContentDelta(msgspec.Struct, gc=False):
    message: ContentMessage | None = None


class TextEvent(msgspec.Struct, gc=False):
    """A content-delta, which nearly all events are; of another event only the type is read."""

    type: str
    index: int = 0
    delta: ContentDelta | None = None
    logprobs: Any = None


class Typed(msgspec.Struct, gc=False):
    type: str


_text_event = msgspec.json.Decoder(TextEvent)
_typed = msgspec.json.Decoder(Typed)

_KNOWN_AT_START = ("id", "type", "delta")
_KNOWN_AT_END = ("finish_reason", "usage", "error", "error_type")
_EMPTY_AT_START = ("role", "content", "tool_plan", "tool_calls", "citations")


class CohereStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._started = False
        self._done = False
        self._kinds: list[str] = []  # of the parts so far, in the wire's words
        self._contents: dict[int, int] = {}  # by Cohere's index, the index of the part
        self._calls: dict[int, int] = {}
        self._open_calls: list[int] = []
        self._open: int | None = None  # the text, thought or plan that has no PartEnd so far
        self._metadata: Metadata | None = None  # of that
        self._citations: list[Any] = []  # of that
        self._homeless: list[Any] = []  # citations of parts that have ended
        self._logprobs: list[Any] = []
        self._extra: dict[str, Any] = {}
        self._message_extra: dict[str, Any] = {}

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for event in self._parser.feed(data):
            self._take(event.data, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event.data, events)
        if not self._done:
            raise StreamBroken("the stream ended before the answer did")

    # ------------------------------------------------------------ one event

    def _take(self, data: bytes, events: list[StreamEvent]) -> None:
        if self._done or not data.strip() or data.strip() == b"[DONE]":
            return
        try:
            decode = json.decode_frame if len(data) <= json.SHORT_FRAME else json.decode_outbound
            event = decode(data, _text_event)
        except BadReply:
            # Of other events, the members may have other shapes.
            if json.decode_outbound(data, _typed).type == "content-delta":
                raise
            event = None
        if event is not None and event.type == "content-delta":
            self._content_delta(event, events)
            return
        members = json.decode_outbound(data, json.ANY)
        delta = _object(members, "delta")
        message = _object(delta, "message")
        match members["type"]:
            case "message-start":
                self._message_start(members, message, events)
            case "content-start":
                self._content_start(_index(members), message.get("content"), events)
            case "tool-plan-delta":
                self._plan_delta(message.get("tool_plan"), events)
            case "tool-call-start":
                self._call_start(_index(members), message.get("tool_calls"), events)
            case "tool-call-delta":
                self._call_delta(_index(members), message.get("tool_calls"), events)
            case "tool-call-end":
                self._call_end(self._calls.get(_index(members)), events)
            case "citation-start":
                self._citation(message.get("citations"))
            case "message-end":
                self._message_end(members, delta, events)
            case "content-end" | "citation-end":
                pass
            case "debug":
                self._extra.setdefault("debug", []).append(unknown(members, ("type",)))
            case _:
                # An error without a type of its own; new events say nothing that we know.
                if members.get("error") or isinstance(members.get("message"), str):
                    raise wire.error_of(members, None, {})

    def _message_start(self, members: dict[str, Any], message: dict[str, Any], events: list[StreamEvent]) -> None:
        if self._started:
            return
        self._extra.update(unknown(members, _KNOWN_AT_START))
        self._message_extra.update(unknown(message, _EMPTY_AT_START))
        self._start(members.get("id"), events)

    def _start(self, answer_id: Any, events: list[StreamEvent]) -> None:
        self._started = True
        named = answer_id if isinstance(answer_id, str) and answer_id else None
        events.append(MessageStart(id=named, model=self._model))

    # ------------------------------------------------------------ parts

    def _begin(self, part: Part, kind: str, events: list[StreamEvent]) -> int:
        self._close_open(events)
        if not self._started:
            self._start(None, events)
        place = len(self._kinds)
        self._kinds.append(kind)
        events.append(PartStart(index=place, part=part))
        return place

    def _begin_text(self, part: Part, kind: str, events: list[StreamEvent]) -> int:
        place = self._open = self._begin(part, kind, events)
        self._metadata = part.provider_metadata
        return place

    def _close_open(self, events: list[StreamEvent]) -> None:
        if self._open is None:
            return
        metadata = wire.with_citations(self._metadata, self._citations) if self._citations else None
        is_text = self._kinds[self._open] == "text"
        cited = wire.citations_of(self._citations) if is_text else ()
        events.append(PartEnd(index=self._open, citations=cited, provider_metadata=metadata))
        self._open = self._metadata = None
        self._citations = []

    def _content_start(self, index: int, content: Any, events: list[StreamEvent]) -> None:
        part = wire.part_of_content(content)
        if not isinstance(part, Text | Thinking):
            events.append(PartEnd(index=self._begin(part, str(content.get("type")), events)))
            return
        empty = msgspec.structs.replace(part, text="")
        place = self._contents[index] = self._begin_text(empty, content["type"], events)
        if part.text:
            events.append(PartDelta(place, part.text))

    def _content_delta(self, event: TextEvent, events: list[StreamEvent]) -> None:
        if event.logprobs is not None:
            self._logprobs.append(event.logprobs)
        message = event.delta.message if event.delta is not None else None
        content = message.content if message is not None else None
        if content is None:
            return
        text, kind = (content.text, "text") if content.text is not None else (content.thinking, "thinking")
        if not text:
            return
        place = self._contents.get(event.index)
        if place is None:
            part = Text(text="") if kind == "text" else Thinking()
            place = self._contents[event.index] = self._begin_text(part, kind, events)
        elif place != self._open:
            raise BadReply("more text for content that has ended")
        elif self._kinds[place] != kind:
            raise BadReply(f"a delta of {kind} for content of another type")
        events.append(PartDelta(place, text))

    def _plan_delta(self, text: Any, events: list[StreamEvent]) -> None:
        if not isinstance(text, str) or not text:
            return
        if self._open is None or self._kinds[self._open] != wire.PLAN:
            self._begin_text(wire.plan_of(""), wire.PLAN, events)
        assert self._open is not None
        events.append(PartDelta(self._open, text))

    def _call_start(self, index: int, call: Any, events: list[StreamEvent]) -> None:
        if index in self._calls:
            raise BadReply(f"tool call {index} began twice")
        part = wire.tool_call_of(call)
        place = self._calls[index] = self._begin(msgspec.structs.replace(part, arguments=""), "tool_call", events)
        self._open_calls.append(place)
        if part.arguments:
            events.append(PartDelta(place, part.arguments))

    def _call_delta(self, index: int, call: Any, events: list[StreamEvent]) -> None:
        place = self._calls.get(index)
        if place not in self._open_calls:
            raise BadReply(f"a delta for tool call {index}, which is not open")
        if fragment := wire.arguments_of(_object(call, "function").get("arguments")):
            events.append(PartDelta(place, fragment))

    def _call_end(self, place: int | None, events: list[StreamEvent]) -> None:
        if place in self._open_calls:
            self._open_calls.remove(place)
            events.append(PartEnd(index=place))

    def _citation(self, citation: Any) -> None:
        place = wire.cited_part(citation, self._kinds) if isinstance(citation, dict) else None
        (self._citations if place is not None and place == self._open else self._homeless).append(citation)

    # ------------------------------------------------------------ the end

    def _message_end(self, members: dict[str, Any], delta: dict[str, Any], events: list[StreamEvent]) -> None:
        if delta.get("error"):
            raise wire.error_of(delta, None, {})
        if not self._started:
            raise BadReply("a stream without an answer in it")
        self._done = True
        self._close_open(events)
        for place in tuple(self._open_calls):
            self._call_end(place, events)
        if self._logprobs:
            self._extra["logprobs"] = self._logprobs
        self._extra.update(unknown(members, _KNOWN_AT_START))
        self._extra.update(unknown(delta, _KNOWN_AT_END))
        reason = delta.get("finish_reason")
        events.append(
            MessageEnd(
                finish_reason=wire.finish_of(reason),
                raw_finish_reason=reason if isinstance(reason, str) and reason else None,
                usage=wire.usage_of(delta.get("usage")),
                extra=extra_of(self._extra, self._message_extra, self._homeless),
            )
        )


def _object(members: Any, key: str) -> dict[str, Any]:
    value = members.get(key) if isinstance(members, dict) else None
    return value if isinstance(value, dict) else {}


def _index(members: dict[str, Any]) -> int:
    index = members.get("index", 0)
    if type(index) is not int:
        raise BadReply("an event whose index is no number")
    return index

"""Events to an answer and back, written once for all dialects.

`collect(replay(response)) == response` for every response that can stream, that is without `raw`,
`error` and what the engine adds afterwards (`provider`, `cost_usd`, `duration_s`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from genai_spine.model.content import Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.response import CompletionResponse

TEXT_FIELD: dict[type, str] = {Text: "text", Thinking: "text", Refusal: "text", ToolCall: "arguments"}
"""The field that deltas fill, by kind of part; the other kinds arrive whole."""


class Collector:
    """Takes events one by one; `response()` is the answer they make.

    Raises: StreamBroken from `response()` where the stream has no beginning or no end.
    """

    __slots__ = ("_end", "_ends", "_parts", "_start", "_texts")

    def __init__(self) -> None:
        self._start: MessageStart | None = None
        self._parts: dict[int, Part] = {}
        self._texts: dict[int, list[str]] = {}
        self._ends: dict[int, PartEnd] = {}
        self._end: MessageEnd | None = None

    def add(self, event: StreamEvent) -> None:
        match event:
            case PartDelta():
                self._texts[event.index].append(event.text)
            case PartStart():
                self._parts[event.index] = event.part
                self._texts[event.index] = []
            case PartEnd():
                self._ends[event.index] = event
            case MessageStart():
                self._start = event
            case MessageEnd():
                self._end = event

    def parts(self) -> tuple[Part, ...]:
        """The parts as far as they have come."""
        return tuple(self._finished(index) for index in sorted(self._parts))

    def _finished(self, index: int) -> Part:
        part = self._parts[index]
        changes: dict[str, object] = {}
        if texts := self._texts[index]:
            field = TEXT_FIELD[type(part)]
            changes[field] = getattr(part, field) + "".join(texts)
        if end := self._ends.get(index):
            if end.signature is not None:
                changes["signature"] = end.signature
            if end.citations:
                changes["citations"] = end.citations
            if end.provider_metadata is not None:
                changes["provider_metadata"] = end.provider_metadata
        return msgspec.structs.replace(part, **changes) if changes else part

    def response(self) -> CompletionResponse:
        start, end = self._start, self._end
        if start is None or end is None:
            raise StreamBroken("the stream ended before its end: no " + ("start" if start is None else "end"))
        return CompletionResponse(
            id=start.id,
            model=start.model,
            created_s=start.created_s,
            parts=self.parts(),
            finish_reason=end.finish_reason,
            raw_finish_reason=end.raw_finish_reason,
            stop_sequence=end.stop_sequence,
            usage=end.usage if end.usage is not None else start.usage,
            notices=(*start.notices, *end.notices),
            extra=end.extra,
        )


def collect(events: Iterable[StreamEvent]) -> CompletionResponse:
    """The answer that a whole stream makes.

    Raises: StreamBroken where the stream has no beginning or no end.
    """
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.response()


def replay(response: CompletionResponse) -> Iterator[StreamEvent]:
    """The stream that makes this answer: one delta for each part that has text."""
    # Notices first: a caller of the gateway hears of them in the head of the answer.
    yield MessageStart(id=response.id, model=response.model, created_s=response.created_s, notices=response.notices)
    for index, part in enumerate(response.parts):
        yield from replay_part(index, part)
    yield MessageEnd(
        finish_reason=response.finish_reason,
        raw_finish_reason=response.raw_finish_reason,
        stop_sequence=response.stop_sequence,
        usage=response.usage,
        extra=response.extra,
    )


def replay_part(index: int, part: Part) -> Iterator[StreamEvent]:
    """One part as events; a thought's signature and a text's citations come with its end, as on the wire."""
    field = TEXT_FIELD.get(type(part))
    text = getattr(part, field) if field else ""
    signature = part.signature if isinstance(part, Thinking) else None
    citations = part.citations if isinstance(part, Text) else ()
    changes: dict[str, object] = {}
    if text:
        changes[str(field)] = ""
    if signature is not None:
        changes["signature"] = None
    if citations:
        changes["citations"] = ()
    yield PartStart(index=index, part=msgspec.structs.replace(part, **changes) if changes else part)
    if text:
        yield PartDelta(index, text)
    yield PartEnd(index=index, signature=signature, citations=citations)

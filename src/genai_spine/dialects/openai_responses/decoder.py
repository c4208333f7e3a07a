"""A stream of response events to ours.

Source: developers.openai.com/api/reference/resources/responses/streaming-events (2026-11). An item is added, its
texts and arguments come in deltas, and `response.output_item.done` says it whole: that word is the last one, so
that the stream makes what the plain answer says. Items are told by `output_index`: their ids may change on the
way (GitHub Copilot, recorded); where there is none, by their ids (llama.cpp's server of 2026-11). What services do
besides, each seen in recordings: an empty `output` at the end (Codex), items that are added and never done
(OpenRouter), comments before the first event, [DONE] after the last.
Progress of the service's own tools, and events to come, say nothing that their items do not say at the end.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.frame_decoder import FrameDecoder
from genai_spine.dialects.interface import Target
from genai_spine.dialects.lenient import seconds_of
from genai_spine.dialects.metadata import keep, unknown
from genai_spine.dialects.openai_responses import schema as wire
from genai_spine.dialects.openai_responses.errors import error_of
from genai_spine.dialects.openai_responses.items import CALLS, parts_of_item
from genai_spine.dialects.openai_responses.namespaces import known_early, name_of
from genai_spine.dialects.openai_responses.schema import CONTINUES, DIALECT, ITEM, REASONING_TEXT
from genai_spine.dialects.reading import Reader
from genai_spine.model.content import Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import BadReply, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import TEXT_FIELD
from genai_spine.wire import json
from genai_spine.wire.sse import SSEEvent, SSEParser


class Event(msgspec.Struct, gc=False):
    type: str | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None


class Typed(msgspec.Struct, gc=False):
    type: str | None = None


_event = msgspec.json.Decoder(Event)
_typed = msgspec.json.Decoder(Typed)

_TEXT_DELTAS: dict[str, type[Text] | type[Refusal] | type[Thinking] | type[ToolCall]] = {
    "response.output_text.delta": Text,
    "response.refusal.delta": Refusal,
    "response.reasoning_text.delta": Thinking,
    "response.reasoning_summary_text.delta": Thinking,
    "response.function_call_arguments.delta": ToolCall,
    "response.custom_tool_call_input.delta": ToolCall,
}
_SUMMARY = "response.reasoning_summary_text.delta"
_ENDS = frozenset({"response.completed", "response.incomplete"})
_READ = frozenset(
    {
        *_TEXT_DELTAS,
        *_ENDS,
        "response.created",
        "response.failed",
        "response.content_part.added",
        "response.output_item.added",
        "response.output_item.done",
    }
)

_Place = tuple[str, int]
"""Where in its item a part stands: a summary or a content part, and its index; a call is ("call", 0)."""


class _OpenPart:
    __slots__ = ("index", "length", "part")

    def __init__(self, index: int, part: Part) -> None:
        self.index = index
        self.part = part
        self.length = 0  # of the text that has come


class _OpenItem:
    """An item that has begun. `members` is what was said of it when it was added."""

    __slots__ = ("is_done", "members", "parts")

    def __init__(self, members: dict[str, Any]) -> None:
        self.members = members
        self.parts: dict[_Place, _OpenPart] = {}
        self.is_done = False

    def begun(self, place: _Place, kind: type[Part]) -> _OpenPart | None:
        """Takes out what has begun at this place, or else next: Bedrock counts content from 1 (recorded 2026)."""
        if place not in self.parts or type(self.parts[place].part) is not kind:
            open_places = [at for at, part in self.parts.items() if at[0] == place[0] and type(part.part) is kind]
            if not open_places:
                return None
            place = min(open_places)
        return self.parts.pop(place)


class ResponsesStreamDecoder(FrameDecoder):
    def __init__(self, target: Target) -> None:
        self._model = target.model
        self._parser = SSEParser()
        self._started = False
        self._done = False
        self._next = 0  # index of the next part
        self._items: dict[int, _OpenItem] = {}
        self._indexes: dict[str, int] = {}  # of items that are told by their ids
        self._parts: list[Part] = []  # as they began

    def _read(self, data: bytes, events: list[StreamEvent]) -> None:
        for event in self._parser.feed(data):
            self._take(event, events)

    def _end_of_body(self, events: list[StreamEvent]) -> None:
        for event in self._parser.close():
            self._take(event, events)
        if not self._done:
            raise StreamBroken("the stream ended before the answer did")

    # ------------------------------------------------------------ one event

    def _take(self, sse: SSEEvent, events: list[StreamEvent]) -> None:
        data = sse.data
        if self._done or not data or data.strip() == b"[DONE]":
            return
        event = _decode(data)
        kind = event.type or (sse.event.decode("latin-1") if sse.event is not None else "")
        if (part_type := _TEXT_DELTAS.get(kind)) is not None:
            if event.delta:
                self._delta(event, kind, part_type, events)
            return
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._start(_members(data).get("response"), events)
            case "response.output_item.added":
                item = _members(data).get("item")
                self._added(self._index(event, item), item, events)
            case "response.content_part.added":
                self._content_added(event, _members(data).get("part"), events)
            case "response.output_item.done":
                item = _members(data).get("item")
                self._item_done(self._index(event, item), item, events)
            case "response.completed" | "response.incomplete":
                self._end(_members(data).get("response"), events)
            case "response.failed" | "error":
                raise error_of(_members(data), None, {})
            case _ if sse.event == b"error" or (not kind and "error" in _members(data)):
                raise error_of(_members(data), None, {})

    def _start(self, response: Any, events: list[StreamEvent]) -> None:
        if self._started:
            return
        self._started = True
        said = response if isinstance(response, dict) else {}
        events.append(
            MessageStart(
                id=wire.text_of(said.get("id")),
                model=wire.text_of(said.get("model")) or self._model,
                created_s=seconds_of(said.get("created_at")),
            )
        )

    # ------------------------------------------------------------ items

    def _index(self, event: Event, item: Any = None) -> int:
        """Which item an event is about: by its id where no index is said, the next where the id is new."""
        item_id = wire.text_of(item.get("id")) if isinstance(item, dict) else event.item_id
        if event.output_index is None:
            return self._indexes.setdefault(item_id, len(self._items)) if item_id else 0
        if item is not None and item_id:
            self._indexes[item_id] = event.output_index
        return event.output_index

    def _added(self, output_index: int, item: Any, events: list[StreamEvent]) -> None:
        if not isinstance(item, dict):
            return
        if output_index in self._items:
            raise BadReply(f"output item {output_index} was added twice")
        self._items[output_index] = _OpenItem(item)
        if (
            wire.text_of(item.get("type")) in CALLS
            and wire.text_of(item.get("call_id"))
            and wire.text_of(item.get("name"))
        ):
            self._open(self._items[output_index], ("call", 0), ToolCall, events)

    def _item(self, output_index: int) -> _OpenItem:
        """Also of an item that nobody added."""
        found = self._items.get(output_index)
        if found is None:
            found = self._items[output_index] = _OpenItem({})
        return found

    def _content_added(self, event: Event, part: Any, events: list[StreamEvent]) -> None:
        kind = part.get("type") if isinstance(part, dict) else None
        item, place = self._item(self._index(event)), ("content", event.content_index)
        if kind in ("output_text", "refusal") and place not in item.parts:
            self._open(item, place, Text if kind == "output_text" else Refusal, events)

    def _open(self, item: _OpenItem, place: _Place, kind: type[Part], events: list[StreamEvent]) -> _OpenPart:
        """The part begins, with as much of its item as is known: its id above all."""
        if item.is_done:
            raise BadReply("more of an output item that was done")
        members: dict[str, Any] = {}
        if item.parts:
            members = {CONTINUES: True} if kind is Thinking else {}
        elif known := {key: said for key in known_early(item.members) if (said := wire.text_of(item.members.get(key)))}:
            members = {ITEM: known}
        if kind is Thinking and place[0] == "content":
            members[REASONING_TEXT] = True
        metadata = keep(DIALECT, members)
        part: Part
        if kind is ToolCall:
            is_custom = item.members.get("type") == "custom_tool_call"
            part = ToolCall(
                id=str(item.members.get("call_id") or ""),
                name=name_of(item.members),
                kind="custom" if is_custom else "function",
                provider_metadata=metadata,
            )
        elif kind is Thinking:
            part = Thinking(provider_metadata=metadata)
        else:
            part = Text(text="", provider_metadata=metadata) if kind is Text else Refusal(provider_metadata=metadata)
        opened = item.parts[place] = self._begin(part, events)
        return opened

    def _begin(self, part: Part, events: list[StreamEvent]) -> _OpenPart:
        opened = _OpenPart(self._next, part)
        self._next += 1
        self._parts.append(part)
        if not self._started:
            self._start(None, events)
        events.append(PartStart(index=opened.index, part=part))
        return opened

    def _delta(
        self,
        event: Event,
        kind: str,
        part_type: type[Text] | type[Refusal] | type[Thinking] | type[ToolCall],
        events: list[StreamEvent],
    ) -> None:
        item = self._item(self._index(event))
        if part_type is ToolCall:
            place = ("call", 0)
            if place not in item.parts:
                return  # its name comes with its end
        elif kind == _SUMMARY:
            place = ("summary", event.summary_index)
        else:
            place = ("content", event.content_index)
        part = item.parts.get(place) or self._open(item, place, part_type, events)
        if type(part.part) is not part_type:
            raise BadReply(f"a {kind} for a part of another type")
        delta = event.delta or ""
        part.length += len(delta)
        events.append(PartDelta(part.index, delta))

    def _item_done(self, output_index: int, members: Any, events: list[StreamEvent]) -> None:
        """The item as it is in the end: what has not come of it comes now."""
        item = self._item(output_index)
        if item.is_done:
            raise BadReply(f"output item {output_index} was done twice")
        with wire.as_reply():
            parts = parts_of_item(Reader(members, f"output[{output_index}]"))
        for place, part in _placed(parts, members):
            opened = item.begun(place, type(part))
            if opened is None:
                self._whole(part, events)
            else:
                self._finish(opened, part, events)
        for opened in item.parts.values():  # begun, and not there in the end
            events.append(PartEnd(index=opened.index))
        item.parts.clear()
        item.is_done = True

    def _whole(self, part: Part, events: list[StreamEvent]) -> None:
        field = TEXT_FIELD.get(type(part))
        text = getattr(part, field) if field is not None else ""
        signature = part.signature if isinstance(part, Thinking) else None
        cited = part.citations if isinstance(part, Text) else ()
        changes: dict[str, Any] = {field: ""} if field is not None else {}
        if signature is not None:
            changes["signature"] = None
        if cited:
            changes["citations"] = ()
        opened = self._begin(msgspec.structs.replace(part, **changes), events)
        if text:
            events.append(PartDelta(opened.index, text))
        events.append(PartEnd(index=opened.index, signature=signature, citations=cited))

    def _finish(self, opened: _OpenPart, part: Part, events: list[StreamEvent]) -> None:
        text = getattr(part, TEXT_FIELD[type(part)])
        if len(text) > opened.length:
            events.append(PartDelta(opened.index, text[opened.length :]))
        signature = part.signature if isinstance(part, Thinking) else None
        cited = part.citations if isinstance(part, Text) else ()
        metadata = part.provider_metadata
        events.append(PartEnd(index=opened.index, signature=signature, citations=cited, provider_metadata=metadata))

    # ------------------------------------------------------------ the end

    def _end(self, response: Any, events: list[StreamEvent]) -> None:
        if not isinstance(response, dict):
            raise BadReply("the end of a stream without its response")
        self._start(response, events)
        output = response.get("output")
        for index, members in enumerate(output if isinstance(output, list) else ()):
            if not (index in self._items and self._items[index].is_done):
                self._item_done(index, members, events)
        for item in self._items.values():
            events.extend(PartEnd(index=opened.index) for opened in item.parts.values())
            item.parts.clear()
        self._done = True
        finish_reason, raw_finish_reason = wire.ending_of(response, self._parts)
        events.append(
            MessageEnd(
                finish_reason=finish_reason,
                raw_finish_reason=raw_finish_reason,
                usage=wire.usage_of(response.get("usage"), response),
                extra=keep(DIALECT, unknown(response, wire.KNOWN_TOP_LEVEL)),
            )
        )


def _placed(parts: list[Part], members: dict[str, Any]) -> list[tuple[_Place, Part]]:
    """The parts of a whole item with the places that its deltas would name."""
    placed: list[tuple[_Place, Part]] = []
    if members.get("type") in CALLS:
        return [(("call", 0), part) for part in parts]
    if members.get("type") != "reasoning":
        return [(("content", index), part) for index, part in enumerate(parts)]
    pieces = iter(parts)
    for key in ("summary", "content"):
        for index, inner in enumerate(members.get(key) or ()):
            if inner.get("text"):  # an empty one is no part
                placed.append(((key, index), next(pieces)))
    placed.extend((("summary", 0), part) for part in pieces)
    return placed


def _decode(data: bytes) -> Event:
    decode = json.decode_frame if len(data) <= json.SHORT_FRAME else json.decode_outbound
    try:
        return decode(data, _event)
    except BadReply:
        # What we do not know may have any shape.
        if (kind := json.decode_outbound(data, _typed).type) in _READ or kind is None:
            raise
        return Event(type=kind)


def _members(data: bytes) -> dict[str, Any]:
    members = json.decode_outbound(data, json.ANY)
    if not isinstance(members, dict):
        raise BadReply("an event that is not an object")
    return members

"""Events to a stream of response events, ended by `response.completed` with the whole answer in it.

Each event has its number; items are told by `output_index`, the texts in them by `content_index` or
`summary_index`. Source: developers.openai.com/api/reference/resources/responses/streaming-events (2026-11); the
SDKs' own stream helpers check that deltas belong to items which were added and that ids stay what they were.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_chat.schema import has_empty_arguments
from genai_spine.dialects.openai_responses import schema as wire
from genai_spine.dialects.openai_responses.answer import (
    Item,
    content_written,
    head_of,
    item_written,
    minted_id,
    repeated,
    response_written,
    shown,
)
from genai_spine.dialects.openai_responses.errors import error_event
from genai_spine.dialects.openai_responses.grouping import Kind, Piece, call_kind, joins, kind_of_item
from genai_spine.dialects.openai_responses.namespaces import placed
from genai_spine.dialects.openai_responses.schema import DIALECT, ITEM, REASONING_TEXT
from genai_spine.dialects.signed_calls import proof_of
from genai_spine.model.content import Opaque, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import SpineError
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import TEXT_FIELD
from genai_spine.model.request import CompletionRequest
from genai_spine.wire.json import encode as _encode
from genai_spine.wire.json import on_one_line
from genai_spine.wire.sse import encode_event


class _Form(msgspec.Struct, frozen=True):
    """How a part's text is streamed: the event's name before .delta and .done, the member of its end, and the
    index that tells it from others of its item."""

    name: str
    field: str
    index: str | None = "content_index"


_HEAD = ("id", "created_at", "model")
_OURS = frozenset((*_HEAD, "object", "status", "incomplete_details", "error", "output", "usage"))
"""The members of a response that `response_written` gives, and not what is repeated of the request."""

_TEXT = _Form("response.output_text", "text")
_REFUSAL = _Form("response.refusal", "refusal")
_SUMMARY = _Form("response.reasoning_summary_text", "text", "summary_index")
_REASONING = _Form("response.reasoning_text", "text")
_FUNCTION = _Form("response.function_call_arguments", "arguments", None)
_CUSTOM = _Form("response.custom_tool_call_input", "input", None)


def _form_of(part: Part, own: dict[str, Any]) -> _Form | None:
    match part:
        case Text():
            return _TEXT
        case Refusal():
            return _REFUSAL
        case Thinking():
            return _REASONING if own.get(REASONING_TEXT) else _SUMMARY
        case ToolCall(kind=kind):
            return _CUSTOM if kind == "custom" else _FUNCTION
        case _:
            return None


class _OpenItem:
    """An item that was added. It is done when its parts have ended and another has begun."""

    __slots__ = ("id", "kind", "members", "open", "output_index", "pieces", "said")

    def __init__(self, kind: Kind, output_index: int, item_id: str, members: dict[str, Any] | None) -> None:
        self.kind: Kind = kind
        self.output_index = output_index
        self.id = item_id
        self.members = members
        self.pieces: list[_OpenPiece] = []
        self.open = 0  # of its pieces
        self.said: dict[str, int] = {}  # how many pieces there are, by the index that counts them


class _OpenPiece:
    """A part of an item. `before` and `after` stand around the text of a delta, but for its number."""

    __slots__ = ("after", "before", "form", "item", "part", "place", "texts")

    def __init__(self, item: _OpenItem, part: Part, form: _Form | None) -> None:
        self.item = item
        self.part = part
        self.form = form
        self.place: dict[str, Any] = {}
        self.texts: list[str] = []
        self.before = self.after = b""


class ResponsesStreamEncoder:
    def __init__(self, request: CompletionRequest) -> None:
        self._request = request
        self._number = 0
        self._head: dict[str, Any] = head_of(None, None, "")
        self._id: str | None = None
        self._repeated: dict[str, Any] = {}
        self._items: list[_OpenItem] = []  # added and not done
        self._last: _OpenItem | None = None
        self._pieces: dict[int, _OpenPiece] = {}
        self._output: dict[int, Item] = {}
        self._count = 0  # items added

    def follow(self, created: dict[str, Any], number: int) -> None:
        """Goes on where a stream that was relayed broke off: `created` is its response as it began, whatever the
        provider wrote; `number` that of the next event."""
        known = {key: created[key] for key in _HEAD if key in created}
        self._head = {**self._head, **known}
        self._repeated = {key: value for key, value in created.items() if key not in _OURS}
        self._number = number

    def encode(self, event: StreamEvent) -> bytes:
        if type(event) is PartDelta:
            piece = self._pieces.get(event.index)
            return self._delta(piece, event.text) if piece is not None else b""
        match event:
            case PartStart():
                return self._part_start(event)
            case PartEnd():
                piece = self._pieces.get(event.index)
                return self._part_end(piece, event) if piece is not None else b""
            case MessageStart():
                return self._message_start(event)
            case MessageEnd():
                return self._message_end(event)
            case _:
                return b""

    def error(self, error: SpineError, request_id: str) -> bytes:
        """As the service ends a stream that failed (recorded 2026): an `error`, and the response, failed."""
        members = error_event(error, request_id)
        written = self._event("error", members)
        failure = {"code": members["code"] or "server_error", "message": members["message"]}
        ending = {"status": "failed", "incomplete_details": None, "error": failure}
        return written + self._event("response.failed", {"response": self._response(ending, None, {})})

    def _event(self, name: str, members: dict[str, Any]) -> bytes:
        written = {"type": name, "sequence_number": self._number, **members}
        self._number += 1
        return encode_event(_encode(written), name.encode())

    def _response(self, ending: dict[str, Any], usage: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
        output = [self._output[index] for index in sorted(self._output)]
        return response_written(self._head, ending, output, usage, {**self._repeated, **more})

    # ------------------------------------------------------------ parts

    def _part_start(self, event: PartStart) -> bytes:
        if (proof := proof_of(event.part)) is not None:
            before = self._part_begin(PartStart(index=event.index, part=proof))
            return before + self._part_end(self._pieces[event.index], None) + self._part_begin(event)
        return self._part_begin(event)

    def _part_begin(self, event: PartStart) -> bytes:
        part = shown(event.part)
        if part is None:
            return b""
        part = placed(part, self._request)
        own = kept(part.provider_metadata, DIALECT)
        kind = kind_of_item(part, own)
        written = b""
        item = self._last
        if item is None or not joins(kind, own, item.kind):
            written, item = self._add_item(kind, part, own)
        piece = self._pieces[event.index] = _OpenPiece(item, part, _form_of(part, own))
        if kind == "other":
            return written
        item.pieces.append(piece)
        item.open += 1
        field = TEXT_FIELD.get(type(part))
        text = getattr(part, field) if field is not None else ""
        if kind == "message":
            written += self._begin(piece)
        return written + (self._delta(piece, text) if text else b"")

    def _add_item(self, kind: Kind, part: Part, own: dict[str, Any]) -> tuple[bytes, _OpenItem]:
        before = self._done([item for item in self._items if not item.open])
        members = own.get(ITEM)
        members = members if isinstance(members, dict) else None
        position = self._count
        self._count += 1
        if isinstance(part, Opaque) and kind == "other":
            item = self._last = _OpenItem(kind, position, "", None)
            self._output[position] = part.raw
            at = {"output_index": position, "item": part.raw}
            return before + self._event("response.output_item.added", at) + self._item_done(at), item
        name = call_kind(part) if isinstance(part, ToolCall) else kind
        item_id = wire.text_of((members or {}).get("id")) or minted_id(name, self._id, position)
        item = self._last = _OpenItem(kind, position, item_id, members)
        self._items.append(item)
        empty = [Piece(msgspec.structs.replace(part, arguments=""), 0, {})] if isinstance(part, ToolCall) else []
        said = item_written(kind, empty, members, item_id, "in_progress")
        if "status" in said:
            said["status"] = "in_progress"
        return before + self._event("response.output_item.added", {"output_index": position, "item": said}), item

    def _begin(self, piece: _OpenPiece) -> bytes:
        """A content part or a summary begins; prepares what stands around its deltas."""
        item, form = piece.item, piece.form
        written = b""
        place: dict[str, Any] = {"item_id": item.id, "output_index": item.output_index}
        index = form.index if form is not None else "content_index"
        if index is not None:
            place[index] = item.said.get(index, 0)
            item.said[index] = place[index] + 1
        piece.place = place
        if form is _SUMMARY:
            empty = {"type": "summary_text", "text": ""}
            written = self._event("response.reasoning_summary_part.added", {**place, "part": empty})
        elif index is not None:
            written = self._event("response.content_part.added", {**place, "part": _content(piece, {}, "")})
        if form is not None:
            name = f"{form.name}.delta"
            members = _encode({"type": name, **place})
            piece.before = f"event: {name}\ndata: ".encode() + members[:-1] + b',"delta":'
            piece.after = b',"logprobs":[],"sequence_number":' if form is _TEXT else b',"sequence_number":'
        return written

    def _delta(self, piece: _OpenPiece, text: str) -> bytes:
        written = b"" if piece.before else self._begin(piece)
        piece.texts.append(text)
        number = self._number
        self._number += 1
        encoded = _encode(text)
        encoded = encoded if encoded.isascii() else on_one_line(encoded)
        return written + piece.before + encoded + piece.after + b"%d}\n\n" % number

    def _part_end(self, piece: _OpenPiece, event: PartEnd | None) -> bytes:
        """What is only known now goes into the part; a call without arguments waits for the end of the answer."""
        item = piece.item
        if piece not in item.pieces or (item.kind == "call" and not piece.texts and event is not None):
            return b""
        changes: dict[str, Any] = {}
        if (field := TEXT_FIELD.get(type(piece.part))) is not None:
            changes[field] = "".join(piece.texts)
        if event is not None and event.signature is not None:
            changes["signature"] = event.signature
        if event is not None and event.citations:
            changes["citations"] = event.citations
        if event is not None and event.provider_metadata is not None:
            changes["provider_metadata"] = event.provider_metadata
        piece.part = msgspec.structs.replace(piece.part, **changes) if changes else piece.part
        own = kept(piece.part.provider_metadata, DIALECT)
        if piece is item.pieces[0] and isinstance(members := own.get(ITEM), dict):
            item.members = members
        item.open -= 1
        written = self._part_done(piece, Piece(piece.part, 0, own))
        return written if item is self._last or item.open else written + self._done([item])

    def _part_done(self, piece: _OpenPiece, whole: Piece) -> bytes:
        form, place = piece.form, piece.place
        if not place:
            return b""  # a thought without words, a call without arguments
        written = b""
        if form is not None:
            said: dict[str, Any] = {form.field: "".join(piece.texts)}
            if form is _TEXT:
                said["logprobs"] = []
                for index, annotation in enumerate(_annotations(whole)):
                    at = {**place, "annotation_index": index, "annotation": annotation}
                    written += self._event("response.output_text.annotation.added", at)
            elif form is _FUNCTION and isinstance(whole.part, ToolCall):
                said["name"] = (piece.item.members or {}).get("name") or whole.part.name
            written += self._event(f"{form.name}.done", {**place, **said})
        if form is _SUMMARY:
            summary = {"type": "summary_text", "text": "".join(piece.texts)}
            return written + self._event("response.reasoning_summary_part.done", {**place, "part": summary})
        if "content_index" in place:
            content = _content(piece, whole.more, "".join(piece.texts))
            return written + self._event("response.content_part.done", {**place, "part": content})
        return written

    # ------------------------------------------------------------ items

    def _done(self, items: list[_OpenItem], status: str = "completed") -> bytes:
        written: list[bytes] = []
        for item in items:
            self._items.remove(item)
            pieces = [Piece(piece.part, 0, kept(piece.part.provider_metadata, DIALECT)) for piece in item.pieces]
            said = item_written(item.kind, pieces, item.members, item.id, status)
            self._output[item.output_index] = said
            written.append(self._item_done({"output_index": item.output_index, "item": said}))
        return b"".join(written)

    def _item_done(self, members: dict[str, Any]) -> bytes:
        return self._event("response.output_item.done", members)

    # ------------------------------------------------------------ the response

    def _message_start(self, event: MessageStart) -> bytes:
        self._id = event.id
        self._head = head_of(event.id, event.created_s, event.model)
        self._repeated = repeated(self._request)
        ending = {"status": "in_progress", "error": None, "incomplete_details": None}
        response = {"response": self._response(ending, None, {})}
        return self._event("response.created", response) + self._event("response.in_progress", response)

    def _message_end(self, event: MessageEnd) -> bytes:
        written = b""
        for piece in self._pieces.values():
            if piece.item.open and piece.item.kind == "call":
                call = piece.part
                if isinstance(call, ToolCall) and has_empty_arguments(call, event.finish_reason) and not piece.texts:
                    written += self._delta(piece, "{}")
                written += self._part_end(piece, None)
        is_cut = wire.is_cut(event.finish_reason)
        for item in list(self._items):
            is_last = item.output_index == self._count - 1
            written += self._done([item], "incomplete" if is_cut and is_last else "completed")
        ending = wire.ending_written(event.finish_reason, event.raw_finish_reason)
        response = self._response(ending, wire.usage_written(event.usage), kept(event.extra, DIALECT))
        name = ending["status"] if ending["status"] in ("failed", "incomplete") else "completed"
        return written + self._event(f"response.{name}", {"response": response})


def _annotations(whole: Piece) -> list[Any]:
    written = content_written(whole.part, whole.more)
    annotations = written.get("annotations") if isinstance(written, dict) else None
    return annotations if isinstance(annotations, list) else []  # a provider may have written anything


def _content(piece: _OpenPiece, more: dict[str, Any], text: str) -> Item:
    """A content part as it stands with this text."""
    if isinstance(piece.part, Thinking):
        return {"type": "reasoning_text", "text": text}
    field = TEXT_FIELD.get(type(piece.part))
    part = msgspec.structs.replace(piece.part, **{field: text}) if field is not None else piece.part
    return content_written(part, more)

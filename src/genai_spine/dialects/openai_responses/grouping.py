"""Which parts of an assistant make one item: what requests, answers and streams are written by.

A text or a refusal stands in the message before it, unless it begins an item of its own; a thought is an item of
its own, unless it continues the one before. Calls and opaque parts are one item each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from genai_spine.dialects.metadata import kept
from genai_spine.dialects.openai_responses.items import CALLS
from genai_spine.dialects.openai_responses.schema import (
    CONTINUES,
    DIALECT,
    IN_MESSAGE,
    ITEM,
    OURS,
    REASONING_TEXT,
    encrypted_of,
)
from genai_spine.model.content import Part, Refusal, Text, Thinking, ToolCall

Kind = Literal["message", "reasoning", "call", "other"]


class Piece(msgspec.Struct, frozen=True):
    """One part; `at` is its index among the others, `own` what this dialect keeps of it."""

    part: Part
    at: int
    own: dict[str, Any]

    @property
    def more(self) -> dict[str, Any]:
        """Members of the content part itself."""
        return bare(self.own)


class Group(msgspec.Struct):
    """The parts of one item; `members` is what it says beside them, None where this dialect knows nothing of it."""

    kind: Kind
    members: dict[str, Any] | None
    pieces: list[Piece]


def kind_of_item(part: Part, own: dict[str, Any]) -> Kind:
    match part:
        case Text() | Refusal():
            return "message"
        case Thinking():
            return "reasoning"
        case ToolCall():
            return "call"
        case _:
            return "message" if IN_MESSAGE in own else "other"


def joins(kind: Kind, own: dict[str, Any], before: Kind | None) -> bool:
    """Whether a part of this kind goes on with the item before it."""
    if kind == "message":
        return before == "message" and ITEM not in own
    return kind == "reasoning" and before == "reasoning" and CONTINUES in own


def bare(own: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a content part, without what we keep of its item."""
    return {key: value for key, value in own.items() if key not in OURS}


def grouped(parts: Iterable[Part]) -> list[Group]:
    groups: list[Group] = []
    for at, part in enumerate(parts):
        own = kept(part.provider_metadata, DIALECT)
        kind = kind_of_item(part, own)
        if not (groups and joins(kind, own, groups[-1].kind)):
            members = own.get(ITEM)
            groups.append(Group(kind, members if isinstance(members, dict) else None, []))
        groups[-1].pieces.append(Piece(part, at, own))
    return groups


# ---------------------------------------------------------------- items that both ends write alike


def reasoning_item(pieces: Iterable[Piece]) -> dict[str, Any]:
    summary, content, encrypted = [], [], None
    for piece in pieces:
        thought = piece.part
        if not isinstance(thought, Thinking):
            continue
        encrypted = encrypted_of(thought) or encrypted
        if thought.text and piece.own.get(REASONING_TEXT):
            content.append({"type": "reasoning_text", "text": thought.text})
        elif thought.text:
            summary.append({"type": "summary_text", "text": thought.text})
    item: dict[str, Any] = {"type": "reasoning", "summary": summary}
    if content:
        item["content"] = content
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    return item


def call_kind(call: ToolCall) -> str:
    return "custom_tool_call" if call.kind == "custom" else "function_call"


def call_item(call: ToolCall) -> dict[str, Any]:
    kind = call_kind(call)
    return {"type": kind, "call_id": call.id, "name": call.name, CALLS[kind]: call.arguments}
